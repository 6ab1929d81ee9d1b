from typing import Any

import pytest

from foundation.money import Currency
from foundation.rule_sentence import sentence
from foundation.rules import Vocabulary, read_rule

VOCABULARY = Vocabulary(
    ("recency_days", "spend_365d", "basket_mean_90d", "spend_trend"),
    ("lifecycle", "coffee-lovers"),
    {"joined_at": ["instant"], "attributes.vip": ["boolean"], "attributes.tier": ["string"]},
)
RECENT = {"feature": "recency_days", "is": "<", "value": 30}
COFFEE = {
    "count": {"event": "purchase", "where": {"category": ["COFFEE"]}, "days": 30},
    "is": ">=",
    "value": 3,
}
SENT = {"count": {"event": "sent", "where": {"offer": ["X"]}}, "is": ">=", "value": 1}
REDEEMED = {"count": {"event": "redeem", "where": {"offer": ["X"]}}, "is": ">=", "value": 1}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (RECENT, "recency_days is below 30"),
        # Money is compared in minor units and read as money; a trend of money is none.
        (
            {"feature": "spend_365d", "is": ">=", "value": 200},
            "spend_365d is at least 2.00 USD",
        ),
        (
            {"feature": "basket_mean_90d", "is": "<", "value": 150_050.5},
            "basket_mean_90d is below 1500.505 USD",
        ),
        ({"feature": "spend_trend", "is": "<", "value": 0.5}, "spend_trend is below 0.5"),
        (COFFEE, "bought category COFFEE at least 3 times in the last 30 days"),
        (
            {"all": [SENT, {"not": REDEEMED}]},
            "had 'sent' for offer X at least 1 time and not (had 'redeem' for offer X at least 1 "
            "time)",
        ),
        (
            {"any": [{"all": [RECENT, COFFEE]}, {"segment": "coffee-lovers"}]},
            "(recency_days is below 30 and bought category COFFEE at least 3 times in the last 30 "
            "days) or is in segment coffee-lovers",
        ),
        ({"segment": "lifecycle", "in": ["lost", "dormant"]}, "lifecycle is lost or dormant"),
        ({"attribute": "attributes.vip", "is": "=", "value": True}, "attributes.vip is true"),
        ({"attribute": "attributes.tier", "in": ["gold"]}, "attributes.tier is gold"),
        (
            {"attribute": "joined_at", "is": "<", "value": "2026-02-01T00:00:00+01:00"},
            "joined_at is before 2026-01-31T23:00:00+00:00",
        ),
        (
            {"count": {"event": "purchase", "days": 1}, "is": "=", "value": 0},
            "bought exactly 0 times in the last day",
        ),
    ],
)
def test_a_rule_reads_as_a_sentence(document: dict[str, Any], told: str) -> None:
    assert sentence(read_rule(document, VOCABULARY), Currency("USD")) == told

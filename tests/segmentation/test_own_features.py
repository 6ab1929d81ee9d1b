"""What a segment's own rule asks for, which its look-alikes must not be found by."""

from typing import Any

import pytest

from foundation.features import definitions
from foundation.profile import SEGMENTATIONS
from foundation.rules import Vocabulary, read_rule
from segmentation.own_features import MADE_OF, own_features

REGISTRY = definitions(["COFFEE", "TEA"])
NAMES = {feature.name for feature in REGISTRY}
KNOWN = Vocabulary(
    NAMES,
    (*SEGMENTATIONS, "regulars"),
    {"joined_at": ["instant"], "home_store_id": ["string"]},
)


def own(document: Any) -> frozenset[str]:
    return own_features(read_rule(document, KNOWN), REGISTRY)


def test_a_feature_is_asked_for_in_all_its_windows_wherever_it_stands_in_the_rule() -> None:
    evening = {"feature": "evening_share_365d", "is": ">", "value": 0.5}
    basket = {"feature": "basket_mean_90d", "is": ">", "value": 5000}

    found = own({"all": [evening, {"not": {"any": [basket, {"segment": "regulars"}]}}]})

    assert found == {"evening_share_365d", "basket_mean_90d", "basket_mean_365d"}


def test_recency_and_orders_tell_each_other() -> None:
    lately = own({"feature": "recency_days", "is": "<", "value": 30})
    often = own({"feature": "orders_30d", "is": ">=", "value": 1})

    assert {"recency_days", "orders_30d", "spend_7d", "visit_days_365d"} <= lately
    assert {"recency_days", "orders_7d", "orders_365d"} <= often
    assert "spend_30d" not in often


def test_a_counted_category_is_its_share_of_spend_and_counted_orders_are_orders() -> None:
    def bought(where: dict[str, list[str]]) -> frozenset[str]:
        count = {"event": "purchase", "where": where, "days": 30}
        return own({"count": count, "is": ">=", "value": 2})

    assert bought({"category": ["COFFEE"]}) == {"share_coffee_365d"}
    assert bought({"brand": ["own"]}) == frozenset()
    assert bought({}) == own({"feature": "orders_90d", "is": ">", "value": 1})


def test_counted_interactions_are_the_features_of_offers() -> None:
    found = own({"count": {"event": "redeem", "days": 90}, "is": ">=", "value": 1})

    assert found == {feature.name for feature in REGISTRY if feature.view == "offers"}


def test_an_attribute_is_no_feature_except_the_day_she_joined() -> None:
    assert own({"attribute": "home_store_id", "in": ["s-1"]}) == frozenset()
    joined = {"attribute": "joined_at", "is": "<", "value": "2026-01-31T00:00:00Z"}
    assert own(joined) == {"tenure_days"}


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_a_group_asks_for_what_its_segmentation_is_made_of(segmentation: str) -> None:
    assert set(MADE_OF[segmentation]) <= NAMES
    assert set(MADE_OF[segmentation]) <= own({"segment": segmentation, "in": ["any"]})

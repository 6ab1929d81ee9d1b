"""A Thompson policy is learned from decisions of the lake whose windows are over."""

from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.errors import NothingToDo, TooLittleData
from regulars.jobs.learn_policy import Learned, learn_policy
from tests.jobs.test_off_policy import (
    DAY,
    ELIGIBLE,
    RATES,
    START,
    UNTIL,
    answers,
    decided,
    offer,
    put,
)


@pytest.fixture
def log(lake: DuckDbLake) -> DuckDbLake:
    live = [offer(eligible) | {"valid_to": UNTIL + DAY} for eligible in ELIGIBLE]
    put(lake, "offers", [*live, offer(ELIGIBLE[0]) | {"offer_id": "over"}])
    put(lake, "decisions", [
        *(decided(n) for n in range(1_500)),
        decided(2_000, propensity_valid=False),
        decided(2_001, at=UNTIL - DAY),
    ])  # fmt: skip
    put(lake, "interactions", [row for n in range(1_500) for row in answers(n)])
    return lake


def learned(lake: DuckDbLake, **changed: Any) -> Learned:
    asked: dict[str, Any] = {"placement": "checkout", "until": UNTIL, "reward": "response",
                             "exploration": 0.1}  # fmt: skip
    asked |= changed
    return learn_policy(lake, asked.pop("placement"), asked.pop("until"), **asked)


def test_responses_teach_what_each_offer_earns(log: DuckDbLake) -> None:
    found = learned(log)

    assert (found.policy.kind, found.policy.exploration) == ("thompson", 0.1)
    # An offer that is over is not learned, one is left out and one open.
    assert set(found.policy.posteriors) == set(RATES)
    assert (found.decisions, found.left_out, found.censored) == (1_500, 1, 1)
    for name, rate in RATES.items():
        belief = found.policy.posteriors[name]
        total = belief.first + belief.second
        mean = belief.first / total
        assert abs(mean - rate) < 4 * (rate * (1 - rate) / total) ** 0.5 + 1 / total


def test_money_teaches_in_minor_units(log: DuckDbLake) -> None:
    line = {"order_id": "x", "product_id": "p-1", "store_id": "s-1", "channel": "till",
            "quantity": 1.0, "discount": 0, "offer_discount": 0}  # fmt: skip
    put(log, "products", [{"product_id": "p-1", "category": "DRINKS", "subcategory": "TEA"}])
    put(log, "purchases", [
        line | {"line_id": f"l-{n}", "order_id": f"b-{n}", "customer_id": f"c-{n}",
                "at": START + DAY, "local_day": 20_578, "local_hour": 8, "amount": 1_000,
                "margin": 400}
        for n in range(1_500) if answers(n) and answers(n)[0]["offer_id"] == "b"
    ])  # fmt: skip
    posteriors = learned(log, reward="money").policy.posteriors
    assert {one.family for one in posteriors.values()} == {"normal"}
    # Source: the rate of responses to b by what each brings, less what the reward costs (nothing).
    assert posteriors["b"].first > 100
    assert posteriors["b"].first > posteriors["a"].first + 2 * posteriors["a"].second


def test_too_little_is_refused_with_its_reason(log: DuckDbLake) -> None:
    with pytest.raises(NothingToDo, match="placement 'home'"):
        learned(log, placement="home")
    with pytest.raises(TooLittleData, match="1502 are younger"):
        learned(log, until=START + DAY)
    with pytest.raises(TooLittleData, match="no offer is valid after"):
        learned(log, until=UNTIL + 2 * DAY)

"""A reason is true of the customer, speaks for the offer, and is nobody's private business."""

from datetime import UTC, datetime

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.features import definitions
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.exposures import TrainingFrame
from recommender.offer_features import offer_feature_names
from recommender.protected import may_be_told
from recommender.reasons import reason_codes, sentences, topics
from recommender.response_model import ResponseModel, fit_response_model

CUSTOMER = tuple(f.name for f in definitions(["Bakery", "Baby care", "BEER/ALE", "Hot Drinks"]))
NAMES = (*CUSTOMER, *offer_feature_names(["TypeA"]), *AFFINITY_NAMES, *CONTEXT_NAMES)
# All of Complete Journey's, and what a retailer may add.
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "kids_count")


class Weights:
    """A model whose contributions are the inputs' weights, whatever the inputs are."""

    def __init__(self, **weights: float) -> None:
        self._weights = np.array([weights.get(name, 0.0) for name in NAMES])

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        return np.tile(self._weights, (len(matrix), 1))


def told(weights: dict[str, float], goods: str = "coffee", **facts: float) -> list[str]:
    """What a customer with these facts, and no others, is told."""
    known = topics(CUSTOMER)
    row = np.array([[facts.get(name, np.nan) for name in NAMES]])
    codes = reason_codes(Weights(**weights), NAMES, row, known, np.array([bool(goods)]))
    return sentences(
        codes[0].tolist(), known, dict(zip(NAMES, row[0].tolist(), strict=True)), goods
    )


def test_the_strongest_three_are_told_with_her_own_figures() -> None:
    found = told(
        {"orders_30d": 0.2, "affinity_recency_days": 0.4, "affinity_lines_365d": 0.3,
         "share_bakery_365d": 0.1},
        orders_30d=6, affinity_recency_days=40.7, affinity_lines_365d=36, share_bakery_365d=0.3,
    )  # fmt: skip
    assert found == [
        "has not bought coffee for 40 days",
        "bought 36 items of coffee in the last year",
        "shopped 6 times in the last 30 days",
    ]


def test_what_speaks_against_the_offer_is_no_reason() -> None:
    assert told({"orders_30d": -0.2}, orders_30d=6) == []
    # Inputs of a topic count together.
    assert told({"orders_30d": 0.2, "orders_90d": -0.3}, orders_30d=6) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("orders_30d", 0),
        ("recency_days", 90),
        ("share_bakery_365d", 0.01),
        ("affinity_lines_365d", 0),
        ("affinity_recency_days", np.nan),
        ("coupon_lines_365d", 0),
    ],
)
def test_a_fact_that_does_not_hold_is_not_told(name: str, value: float) -> None:
    assert told({name: 1.0}, **{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("recency_days", 0.4, "shopped within the last day"),
        ("recency_days", 1.9, "shopped 1 day ago"),
        ("tenure_days", 800, "has shopped here for 2 years"),
        ("affinity_recency_days", 3.2, "bought coffee 3 days ago"),
        ("share_hot_drinks_365d", 0.4, "often buys hot drinks"),
        ("coupon_lines_365d", 1, "used 1 coupon in the last year"),
        ("affinity_factors", 0.5, "coffee goes with what is usually in the basket"),
    ],
)
def test_each_fact_has_its_words(name: str, value: float, line: str) -> None:
    assert told({name: 1.0}, **{name: value}) == [line]


def test_goods_that_may_not_be_named_give_no_reason() -> None:
    found = told({"affinity_lines_365d": 1.0}, goods="", affinity_lines_365d=9)
    assert found == []


@pytest.mark.parametrize("key", [topic.key for topic in topics(CUSTOMER)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
def test_a_code_whose_fact_is_gone_is_passed_over(key: str, value: float) -> None:
    known = topics(CUSTOMER)
    code = 1 + [topic.key for topic in known].index(key)
    found = sentences([code], known, dict.fromkeys(NAMES, value), "coffee")
    assert not found or value > 0
    assert not any("nan" in line for line in found)


def test_one_unknown_input_does_not_silence_what_the_others_tell() -> None:
    known = topics(CUSTOMER)
    visits = 1 + next(place for place, topic in enumerate(known) if topic.key == "visits")
    facts = dict.fromkeys(NAMES, np.nan) | {"orders_30d": 6.0}
    assert sentences([visits], known, facts, "") == ["shopped 6 times in the last 30 days"]


def test_codes_of_goods_that_may_not_be_named_any_more_are_passed_over() -> None:
    known = topics(CUSTOMER)
    bought = 1 + next(place for place, topic in enumerate(known) if topic.key == "bought")
    assert sentences([bought], known, dict.fromkeys(NAMES, 9.0), "") == []


@given(st.integers(0, 2**32 - 1))
def test_no_reason_is_of_what_is_protected_or_of_her_worth(seed: int) -> None:
    draw = np.random.default_rng(seed)
    weights = dict(zip(NAMES, draw.normal(size=len(NAMES)), strict=True))
    found = told(weights, **dict.fromkeys(NAMES, 25.0) | {"weekend_share_365d": 0.9})
    for line in found:
        assert may_be_told(line)
        assert not any(word in line for word in ("spen", "baby", "beer", "risk", "churn", "value"))


def test_every_demographic_is_protected_and_in_no_topic() -> None:
    inputs = {name for topic in topics((*CUSTOMER, *DEMOGRAPHICS)) for name in topic.inputs}
    assert inputs.isdisjoint(DEMOGRAPHICS)
    # Shares of spending in goods that tell of the family or of health are left out by their words.
    assert "share_bakery_365d" in inputs
    assert not {n for n in inputs if "baby" in n or "beer" in n}
    assert not any(may_be_told(name) for name in DEMOGRAPHICS if name != "home_ownership")


def test_nothing_of_money_time_of_day_or_place_is_in_a_topic() -> None:
    inputs = {name for topic in topics(CUSTOMER) for name in topic.inputs}
    private = ("spend", "basket_mean", "morning", "evening", "store")
    assert not [name for name in inputs if name.startswith(private)]
    # Codes are single bytes.
    assert len(topics(CUSTOMER)) < 256


def frame(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    matrix = draw.lognormal(1, 1, (600, 5))
    matrix[draw.random(matrix.shape) < 0.2] = np.nan
    signal = np.nan_to_num(matrix[:, 0]) - np.isnan(matrix[:, 1]) * 2
    return matrix, (signal + draw.normal(size=600) > 2).astype(float)


def test_contributions_of_trees_add_up_to_the_log_odds() -> None:
    matrix, outcome = frame(np.random.default_rng(1))
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(matrix, outcome),
        num_boost_round=20,
    )
    model = ResponseModel("lightgbm", booster, tuple("abcde"), "", {})
    rest = booster.predict(matrix, raw_score=True) - model.contributions(matrix).sum(axis=1)
    assert model.contributions(matrix).shape == matrix.shape
    assert np.ptp(rest) < 1e-9


def test_contributions_of_the_logistic_add_up_to_the_log_odds() -> None:
    matrix, outcome = frame(np.random.default_rng(2))
    rows = pd.DataFrame({"outcome": outcome})
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = TrainingFrame(rows, matrix, tuple("abcde"), 0, at)
    model = fit_response_model("logistic", made, [], "", 0).model
    found = model.contributions(matrix)
    rest = model.estimator.decision_function(matrix) - found.sum(axis=1)
    assert found.shape == matrix.shape
    assert np.ptp(rest) < 1e-9
    # Its being missing speaks against, so a missing value of the second is a cause of its own.
    assert found[np.isnan(matrix[:, 1]), 1].mean() < found[~np.isnan(matrix[:, 1]), 1].mean()

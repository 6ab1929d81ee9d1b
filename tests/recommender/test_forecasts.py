"""Forecasts of offers' rewards never know the customer whom they are for."""

import numpy as np
import pytest

from recommender.forecasts import direct_by_offer

CUSTOMERS = np.array(["ana", "ana", "bea", "cy"], dtype=object)
PLACES = np.array([0, 1, 0, 0])
SHOWN = ["a", "b", "a", None]
EARNED = np.array([1.0, 0.0, 0.0, 0.0])
TARGET: list[dict[str | None, float]] = [{"a": 0.5, "b": 0.5}, {"b": 1.0}, {"a": 1.0}, {None: 1.0}]


def test_forecasts_are_the_means_of_other_customers_by_offer_and_place() -> None:
    found = direct_by_offer(CUSTOMERS, PLACES, SHOWN, EARNED, TARGET)

    # By hand. For ana only bea's row counts: its mean is 0, and so is the prior. For bea, ana's
    # rows: a earned 1 once, and both rows together 1/2, so (1 + .5) / 2. An empty place earns none.
    assert found.shown == pytest.approx([0, 0, 0.75, 0])
    assert found.target == pytest.approx([0, 0, 0.75, 0])
    # For cy, who was shown nothing, a has (1 + 0 + 1/3) / 3 and b at the first place the prior.
    other = direct_by_offer(CUSTOMERS, PLACES, SHOWN, EARNED, [*TARGET[:3], {"a": 0.5, "b": 0.5}])
    assert other.target[3] == pytest.approx(0.5 * (4 / 9) + 0.5 * (1 / 3))


def test_what_she_did_herself_moves_none_of_her_forecasts() -> None:
    before = direct_by_offer(CUSTOMERS, PLACES, SHOWN, EARNED, TARGET)
    after = direct_by_offer(CUSTOMERS, PLACES, SHOWN, np.add(EARNED, [5, 7, 0, 0]), TARGET)
    assert (after.shown[:2] == before.shown[:2]).all()
    assert (after.target[:2] == before.target[:2]).all()
    assert after.shown[2] > before.shown[2]

import math

import numpy as np
import pytest

from foundation.money import Currency
from segmentation.distinction import DRAWN, LEAST_CUSTOMERS, SHOWN, Population

EUR = Currency("EUR")
NO_GROUPS: dict[str, tuple[np.ndarray, list[str]]] = {}


def test_a_difference_is_cohens_d_by_hand_with_the_interval_of_hedges_and_olkin() -> None:
    members = np.arange(40) < 20
    spend = np.where(members, 12.0, 10.0) + np.where(np.arange(40) % 2, 1.0, -1.0)

    (found,) = Population({"spend": spend}, NO_GROUPS).distinctions(members)

    # Both variances are 20/19, so d is 2 / sqrt(20/19).
    d = 2 / math.sqrt(20 / 19)
    error = math.sqrt(40 / 400 + d * d / 80)
    assert (found.members, found.rest) == (12.0, 10.0)
    assert found.difference == pytest.approx(d)
    assert (found.low, found.high) == pytest.approx((d - 1.96 * error, d + 1.96 * error), abs=1e-4)
    assert found.sentence(EUR) == "spend is higher: 12 on average against 10"
    # A registered feature of money is told as money.
    (found,) = Population({"spend_90d": 100_000 * spend}, NO_GROUPS).distinctions(members)
    assert found.sentence(EUR) == (
        "spend_90d is higher: 12,000.00 EUR on average against 10,000.00 EUR"
    )


def test_missing_values_are_left_out_of_means_and_spreads() -> None:
    draw = np.random.default_rng(3)
    members = draw.random(5_000) < 0.2
    values = draw.lognormal(size=5_000) + members
    values[::7] = math.nan

    (found,) = Population({"x": values}, NO_GROUPS).distinctions(members)

    mine, others = (v[~np.isnan(v)] for v in (values[members], values[~members]))
    spread = math.sqrt((mine.var(ddof=1) + others.var(ddof=1)) / 2)
    assert found.members == pytest.approx(mine.mean())
    assert found.difference == pytest.approx((mine.mean() - others.mean()) / spread)


def test_a_draw_from_many_customers_estimates_their_true_difference() -> None:
    draw = np.random.default_rng(4)
    # Members come first: a draw of the first rows alone would know nobody else.
    members = np.arange(300_000) < 100_000
    population = Population({"x": draw.normal(size=300_000) + 0.3 * members}, NO_GROUPS)

    (found,) = population.distinctions(members)

    # Three standard errors of the draw.
    assert abs(found.difference - 0.3) < 3 * math.sqrt(2 / DRAWN)
    # 1.96 sqrt(2 / DRAWN), and a trace for the difference itself.
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(2 / DRAWN), rel=0.02)


def test_a_group_is_told_by_its_shares() -> None:
    members = np.arange(100) < 50
    codes = np.where(np.arange(100) % 50 < np.where(members, 30, 6), 0, 1)

    found = Population({}, {"lifecycle": (codes, ["lost", "active"])}).distinctions(members)

    assert found[0].sentence(EUR) == "lifecycle is lost: 60% against 12%"
    assert (found[0].members, found[0].rest) == (0.6, 0.12)


def test_chance_alone_and_too_few_customers_say_nothing() -> None:
    draw = np.random.default_rng(1)
    values = {f"x{i}": draw.normal(size=2_000) for i in range(200)}
    found = Population(values, NO_GROUPS).distinctions(draw.random(2_000) < 0.3)
    # One interval in twenty misses 0 by chance: of 200 about ten, of which the largest are shown.
    assert len(found) <= SHOWN
    assert all(abs(one.difference) < 0.2 for one in found)

    few = np.arange(2_000) < LEAST_CUSTOMERS - 1
    assert Population({"x": np.arange(2_000.0)}, NO_GROUPS).distinctions(few) == []
    assert Population({"x": np.ones(2_000)}, NO_GROUPS).distinctions(draw.random(2_000) < 0.3) == []


def test_what_the_rule_itself_asks_for_is_no_news() -> None:
    members = np.arange(100) < 50
    found = Population(
        {"orders": members * 1.0 + np.arange(100) % 3, "spend": members * 2.0 + np.arange(100) % 3},
        NO_GROUPS,
    ).distinctions(members, {"orders"})

    assert [one.name for one in found] == ["spend"]

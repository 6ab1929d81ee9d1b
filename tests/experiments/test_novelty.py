from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.novelty import novelty, whole_weeks

START = datetime(2026, 5, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
UNTIL = START + 6 * WEEK


def world(n=400, seed=1, fades=True):
    """Weekly margins of units; `on` adds 60 in the first week, 12 less each week if it fades."""
    rng = np.random.default_rng(seed)
    units = pd.DataFrame(
        {
            "unit_id": [f"c-{number}" for number in range(n)],
            "variant": ["off", "on"] * (n // 2),
            "since": pd.to_datetime([START + timedelta(hours=number % 24) for number in range(n)]),
        }
    )
    # Customers differ lastingly, so that weeks of one customer depend on each other.
    own = rng.normal(500, 100, n)[:, None]
    values = own + rng.normal(0, 50, (n, 5))
    gain = 60 - 12 * np.arange(5) * fades
    values[1::2] += gain
    weekly = pd.DataFrame(
        {
            "unit_id": np.repeat(units["unit_id"].to_numpy(), 5),
            "week": np.tile(np.arange(5), n),
            "value": values.ravel(),
        }
    )
    return units, weekly, values


def test_an_effect_that_wears_off_is_found_with_its_trend():
    units, weekly, values = world()
    (found,) = novelty("margin", units, weekly, UNTIL, "off", ["on"])
    assert found.units == 400
    assert [one.week for one in found.weeks] == [1, 2, 3, 4, 5]
    assert found.weeks[0].effect.difference == pytest.approx(
        values[1::2, 0].mean() - values[::2, 0].mean()
    )
    # Source: scipy's slope of each unit, then scipy's Welch test.
    slopes = np.array([stats.linregress(np.arange(5), row).slope for row in values])
    oracle = stats.ttest_ind(slopes[1::2], slopes[::2], equal_var=False)
    interval = oracle.confidence_interval(0.95)
    trend = found.trend
    assert (trend.low, trend.high) == pytest.approx((interval.low, interval.high))
    assert trend.p == pytest.approx(oracle.pvalue)
    assert trend.low < -12 < trend.high < 0


def test_a_lasting_effect_is_seldom_called_fading():
    called = 0
    for seed in range(100):
        units, weekly, _ = world(seed=seed, fades=False)
        (found,) = novelty("margin", units, weekly, UNTIL, "off", ["on"])
        called += found.trend.p < 0.05
    # Above 12 of 100 the chance is below .002 at 5 %.
    assert called <= 12


def test_only_units_that_had_all_weeks_are_compared():
    units, weekly, _ = world()
    late = units["since"].where(units.index < 300, UNTIL - 1.5 * WEEK)
    assert whole_weeks(late, UNTIL) == 5
    (found,) = novelty("margin", units.assign(since=late), weekly, UNTIL, "off", ["on"])
    assert found.units == 300
    (whole,) = novelty("margin", units[:300], weekly, UNTIL, "off", ["on"])
    assert found.trend == whole.trend


def test_a_unit_without_purchases_counts_with_nothing():
    units, weekly, values = world()
    idle = weekly[~weekly["unit_id"].isin(["c-1", "c-3"])]
    (found,) = novelty("margin", units, idle, UNTIL, "off", ["on"])
    spent = values.copy()
    spent[[1, 3]] = 0
    assert found.weeks[2].effect.mean == pytest.approx(spent[1::2, 2].mean())


def test_before_two_weeks_there_is_no_trend():
    units, weekly, _ = world()
    (found,) = novelty("margin", units, weekly, START + 1.9 * WEEK, "off", ["on"])
    assert len(found.weeks) == 1
    assert found.trend.difference is None
    assert "two whole weeks" in found.trend.refused

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from experiments.aggregates import Aggregates
from experiments.compare import compare_always
from experiments.metrics import Column, Mean
from experiments.over_time import MOST_POINTS, over_time

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SPENT = Mean(Column("value"), Column("before"))


def world(days=10, n=400, gain=0.0, seed=1):
    """Units that join over the first 3 days and spend every day from the one they joined on."""
    rng = np.random.default_rng(seed)
    joined = rng.integers(0, 3, n)
    units = pd.DataFrame(
        {
            "unit_id": [f"c-{number}" for number in range(n)],
            "variant": ["off", "on"] * (n // 2),
            "since": pd.to_datetime([START + int(day) * DAY for day in joined]),
            "before": rng.normal(100, 10, n),
        }
    )
    first = int(START.timestamp() // 86_400)
    rows = [
        (f"c-{number}", first + day, rng.normal(100, 20) + gain * (number % 2))
        for number in range(n)
        for day in range(joined[number], days)
    ]
    return units, pd.DataFrame(rows, columns=["unit_id", "day", "value"])


def test_each_day_is_what_a_report_of_that_day_would_have_said():
    units, daily = world()
    curve = over_time("margin", SPENT, units, daily, START + 9.9 * DAY, "off", ["on"], 400)
    # The last hours of the report reach into an eleventh day.
    assert [one.day for one in curve.days][:2] == ["2026-05-04", "2026-05-05"]
    assert len(curve.days) == 11
    for at in (0, 4, 10):
        last = int(START.timestamp() // 86_400) + at
        inside = units[(units["since"] < pd.Timestamp(START + (at + 0.5) * DAY))]
        spent = daily[daily["day"] <= last].groupby("unit_id")["value"].sum()
        rows = np.column_stack([inside["unit_id"].map(spent).fillna(0.0), inside["before"]])
        arms = [
            Aggregates.from_rows(rows[(inside["variant"] == v).to_numpy()]) for v in ("on", "off")
        ]
        expected = compare_always("mean", *arms, 400)
        told = curve.days[at]
        assert told.units == len(inside)
        assert (told.effect.difference, told.effect.low, told.effect.high) == pytest.approx(
            (expected.difference, expected.low, expected.high)
        )
        assert told.effect.method == "always valid, adjusted"


def test_a_plan_with_strata_has_a_curve_inside_them():
    units, daily = world()
    units["stratum"] = np.where(units["before"] > 100, "high", "low")
    units.loc[:2, "stratum"] = "rare"
    until = START + 9.9 * DAY
    curve = over_time("margin", SPENT, units, daily, until, "off", ["on"], 400, stratum="stratum")
    spent = daily.groupby("unit_id")["value"].sum()
    rows = np.column_stack([units["unit_id"].map(spent), units["before"]])
    # Too few are rare, even together with nobody: the smaller of the others takes them in.
    smaller = units["stratum"].value_counts().drop("rare").idxmin()
    group = units["stratum"].replace("rare", smaller)
    arms = [
        Aggregates.stacked(
            [
                Aggregates.from_rows(rows[((units["variant"] == v) & (group == one)).to_numpy()])
                for one in ("high", "low")
            ]
        )
        for v in ("on", "off")
    ]
    expected, told = compare_always("mean", *arms, 400), curve.days[-1].effect
    assert told.method == "always valid, adjusted, post-stratified"
    assert (told.difference, told.low, told.high) == pytest.approx(
        (expected.difference, expected.low, expected.high)
    )


def test_the_whole_curve_holds_the_truth():
    left_out = 0
    for seed in range(60):
        units, daily = world(gain=5.0, seed=seed)
        curve = over_time("margin", SPENT, units, daily, START + 9 * DAY, "off", ["on"], 400)
        joined = (units["since"] - units["since"].min()).dt.days
        for at, day in enumerate(curve.days):
            # What was planted by then, a mean over those who had joined.
            truth = 5.0 * np.maximum(at + 1 - joined[joined <= at], 0).mean()
            left_out += day.effect.low is not None and not day.effect.low < truth < day.effect.high
    # At 5 % of curves of 10 days each; days of one curve go together.
    assert left_out <= 30


def test_a_long_experiment_is_drawn_in_few_points_with_the_last_day_among_them():
    units, daily = world(days=5, n=100)
    curve = over_time("margin", SPENT, units, daily, START + 200 * DAY, "off", ["on"], 400)
    assert len(curve.days) <= MOST_POINTS
    assert curve.days[-1].day == (START + 200 * DAY).date().isoformat()


def test_large_values_are_capped_as_planned():
    units, daily = world()
    wild = pd.concat(
        [daily, pd.DataFrame([("c-1", daily["day"].min(), 1e7)], columns=daily.columns)]
    )
    until = START + 9 * DAY
    capped = (
        over_time("margin", SPENT, units, wild, until, "off", ["on"], 400, cap=0.99).days[-1].effect
    )
    plain = over_time("margin", SPENT, units, wild, until, "off", ["on"], 400).days[-1].effect
    assert abs(capped.difference) < 100 < plain.mean


def test_a_report_that_ends_at_midnight_has_no_empty_day():
    units, daily = world()
    until = datetime(2026, 5, 8, tzinfo=UTC)
    assert (
        over_time("margin", SPENT, units, daily, until, "off", ["on"], 400).days[-1].day
        == "2026-05-07"
    )


def test_a_report_that_ends_before_anybody_did_anything_has_a_curve_of_nothing():
    units, daily = world()
    curve = over_time("margin", SPENT, units, daily[:0], START + 9 * DAY, "off", ["on"], 400)
    assert len(curve.days) == 10
    assert {day.effect.difference for day in curve.days} == {None}

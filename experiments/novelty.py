"""Novelty: does the effect last, or wear off week by week?

Compared are weeks since each unit's first decision, among units that had all of them: otherwise
late weeks would be those of early customers alone. Where a plan may be read at any time its weeks
and their trend are read with intervals that stay right at every look as well.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates
from experiments.analysis import Always, Early, Once, with_adjusted
from experiments.compare import compare, compare_always
from experiments.effect import Effect

# Enough to see a wearing off; more weeks would leave few units that had them all.
MOST_WEEKS = 12
_WEEK = timedelta(days=7)
_ONCE = Once()


class Week(msgspec.Struct, frozen=True):
    """The effect in one week since the first decision; week 1 is its first seven days."""

    week: int
    effect: Effect


class Novelty(msgspec.Struct, frozen=True):
    """A variant's effect by week, and the trend: how much it changes from one week to the next.

    `units` are both variants' that had all weeks. `trend.difference` is the mean change of the
    effect a week; below 0 the effect wears off. Where it cannot be judged, `trend.refused` says
    why.
    """

    metric: str
    variant: str
    units: int
    weeks: list[Week]
    trend: Effect


def whole_weeks(since: pd.Series, until: datetime) -> int:
    """Return the weeks that at least half of the units have had, at most MOST_WEEKS.

    Args:
        since: When each unit was assigned, aware.
        until: The end of the report.
    """
    had = ((until - since) / _WEEK).to_numpy(dtype=np.float64)
    # A share chosen before any outcome was seen: it cannot favour anybody.
    return 0 if not len(had) else min(int(np.floor(np.median(had))), MOST_WEEKS)


def novelty(
    metric: str,
    units: pd.DataFrame,
    weekly: pd.DataFrame,
    until: datetime,
    control: str,
    treatments: Sequence[str],
    confidence: float = 0.95,
    plan: Once | Always = _ONCE,
) -> list[Novelty]:
    """Return the effect by week since the first decision, of each variant.

    The trend is judged on one figure a unit, the slope of its own weeks: weeks of one unit depend
    on each other, units do not.

    Args:
        metric: What `weekly` tells.
        units: One row a unit: unit_id, variant, since (aware).
        weekly: unit_id, week (0 is the first) and value; what is missing is 0.
        until: The end of the report.
        control, treatments: The variants.
        confidence: Of every interval.
        plan: Whether one looks once, or any number of times.

    Source: summary measures, Matthews, Altman, Campbell and Royston 1990.
    """
    count = whole_weeks(units["since"], until)
    whole = units[units["since"] <= until - count * _WEEK]
    values = _by_week(whole, weekly, count)
    arms = {name: values[(whole["variant"] == name).to_numpy()] for name in [control, *treatments]}
    return [
        Novelty(
            metric=metric,
            variant=name,
            units=len(arms[name]) + len(arms[control]),
            weeks=_weeks(arms[name], arms[control], confidence, plan),
            trend=trend,
        )
        for name, trend in _trends(arms, control, treatments, count, confidence, plan).items()
    ]


def _by_week(units: pd.DataFrame, weekly: pd.DataFrame, count: int) -> np.ndarray:
    place = pd.Index(units["unit_id"]).get_indexer(pd.Index(weekly["unit_id"]))
    week = weekly["week"].to_numpy(dtype=np.int64)
    inside = (place >= 0) & (week >= 0) & (week < count)
    values = np.zeros((len(units), count))
    amounts = weekly["value"].to_numpy(dtype=np.float64)
    np.add.at(values, (place[inside], week[inside]), amounts[inside])
    return values


def _weeks(
    treated: np.ndarray, controls: np.ndarray, confidence: float, plan: Once | Always
) -> list[Week]:
    if not len(treated) or not len(controls):
        return []
    return [
        Week(week + 1, _compared(treated[:, week], controls[:, week], confidence, plan))
        for week in range(treated.shape[1])
    ]


def _trends(
    arms: dict[str, np.ndarray],
    control: str,
    treatments: Sequence[str],
    count: int,
    confidence: float,
    plan: Once | Always,
) -> dict[str, Effect]:
    if count < 2:
        refused = "half of the units have not had two whole weeks yet, a trend needs them; wait"
        return {name: Effect(math.nan, math.nan, refused=refused) for name in treatments}
    steps = np.arange(count) - (count - 1) / 2
    weights = steps / (steps**2).sum()
    found: dict[str, Effect] = {}
    for name in treatments:
        if len(arms[name]) and len(arms[control]):
            found[name] = _compared(arms[name] @ weights, arms[control] @ weights, confidence, plan)
        else:
            refused = "a variant has no unit that had all weeks; wait"
            found[name] = Effect(math.nan, math.nan, refused=refused)
    return with_adjusted({"": found})[""]


def _compared(
    treated: np.ndarray, controls: np.ndarray, confidence: float, plan: Once | Always
) -> Effect:
    rows = (treated[:, None], controls[:, None])
    sums = (Aggregates.from_rows(rows[0]), Aggregates.from_rows(rows[1]))
    if isinstance(plan, Once):
        return compare("mean", *sums, rows, confidence)
    found = compare_always("mean", *sums, plan.planned_n, confidence)
    return msgspec.structs.replace(found, p=None) if isinstance(plan, Early) else found

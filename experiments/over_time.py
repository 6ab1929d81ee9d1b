"""The effect over time: what would the report have said at the end of each day?

The interval is always valid: whoever reads the whole curve looks at every day at once.
"""

import math
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates
from experiments.compare import compare_always
from experiments.effect import Effect

# A picture shows no more.
MOST_POINTS = 60
_DAY = pd.Timedelta(days=1)
_EPOCH = pd.Timestamp(0, tz="UTC")
# What happens at the end of a report is not in it.
_INSTANT = pd.Timedelta(microseconds=1)


class Day(msgspec.Struct, frozen=True):
    """A variant's effect on all that was known by the end of a day (ISO, UTC)."""

    day: str
    variant: str
    units: int
    effect: Effect


class OverTime(msgspec.Struct, frozen=True):
    """The curve of one metric, oldest day first; the last day ends with the report."""

    metric: str
    days: list[Day] = msgspec.field(default_factory=list[Day])


def over_time(
    metric: str,
    units: pd.DataFrame,
    daily: pd.DataFrame,
    until: datetime,
    control: str,
    treatments: Sequence[str],
    planned_n: float,
    cap: float | None = None,
    confidence: float = 0.95,
) -> OverTime:
    """Return the effect as of each day, on the units assigned by then; at most MOST_POINTS days.

    Args:
        metric: What `daily` tells.
        units: One row a unit: unit_id, variant, since (aware: from when on it is counted, with all
            it did until then) and `before`, its covariate.
        daily: unit_id, day (days since 1970-01-01, UTC) and value.
        until: The end of the report.
        control, treatments: The variants.
        planned_n: What the sequence is tuned for.
        cap: The quantile of all units' values that larger ones count as; None caps nothing.
        confidence: That the whole curve holds the truth.
    """
    if units.empty:
        return OverTime(metric)
    joined = ((units["since"] - _EPOCH) // _DAY).to_numpy(dtype=np.int64)
    first, last = int(joined.min()), (pd.Timestamp(until) - _INSTANT - _EPOCH) // _DAY
    changes = _changes(units, daily, first)
    variants = units["variant"].to_numpy(dtype=object)
    columns = np.column_stack([np.zeros(len(units)), units["before"].to_numpy(dtype=np.float64)])
    shown = _shown(first, last)
    days: list[Day] = []
    for day in range(first, last + 1):
        if day in changes:
            place, amount = changes[day]
            np.add.at(columns[:, 0], place, amount)
        if day in shown:
            inside = joined <= day
            effects = _as_of(
                columns[inside], variants[inside], control, treatments, planned_n, cap, confidence
            )
            told = (_EPOCH + day * _DAY).date().isoformat()
            days += [Day(told, name, n, effect) for name, (n, effect) in effects.items()]
    return OverTime(metric, days)


def _as_of(
    rows: np.ndarray,
    variants: np.ndarray,
    control: str,
    treatments: Sequence[str],
    planned_n: float,
    cap: float | None,
    confidence: float,
) -> dict[str, tuple[int, Effect]]:
    if cap is not None:
        most = np.quantile(rows[:, 0], cap)
        rows = np.column_stack([np.minimum(rows[:, 0], most), rows[:, 1]])
    origin = np.median(rows, axis=0)
    arms = {name: rows[variants == name] for name in (control, *treatments)}
    sums = {name: Aggregates.from_rows(arm, origin) for name, arm in arms.items() if len(arm)}
    return {
        name: (
            len(arms[name]) + len(arms[control]),
            compare_always("mean", sums[name], sums[control], planned_n, confidence),
        )
        for name in treatments
        if name in sums and control in sums
    }


def _changes(
    units: pd.DataFrame, daily: pd.DataFrame, first: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return by day which units' places change, and by how much; nothing is told before `first`."""
    place = pd.Index(units["unit_id"]).get_indexer(pd.Index(daily["unit_id"]))
    day = np.maximum(daily["day"].to_numpy(dtype=np.int64), first)
    amount = daily["value"].to_numpy(dtype=np.float64)
    order = np.flatnonzero(place >= 0)
    order = order[np.argsort(day[order], kind="stable")]
    days, starts = np.unique(day[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(one): (place[part], amount[part]) for one, part in zip(days, parts, strict=True)}


def _shown(first: int, last: int) -> set[int]:
    """Return the days that are shown, evenly spaced, the last among them."""
    step = max(1, math.ceil((last - first + 1) / MOST_POINTS))
    return set(range(last, first - 1, -step))

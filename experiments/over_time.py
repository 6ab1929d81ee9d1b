"""The effect over time: what would the report have said at the end of each day?

The interval is always valid: whoever reads the whole curve looks at every day at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates
from experiments.compare import compare_always
from experiments.effect import Effect
from experiments.metrics import Mean, Metric, Quantile, columns, figure_of
from experiments.post_stratification import merged_strata

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
    name: str,
    metric: Metric,
    units: pd.DataFrame,
    daily: pd.DataFrame,
    until: datetime,
    control: str,
    treatments: Sequence[str],
    planned_n: float,
    cap: float | None = None,
    confidence: float = 0.95,
    stratum: str | None = None,
) -> OverTime:
    """Return the effect as of each day, on the units assigned by then; at most MOST_POINTS days.

    Args:
        name, metric: What is shown; a quantile has no curve, since nothing is always valid for it.
        units: One row a unit: unit_id, variant, since (aware: from when on it is counted, with all
            it did until then) and those of the metric's columns that do not change.
        daily: unit_id, day (days since 1970-01-01, UTC) and what the others changed by on it.
        until: The end of the report.
        control, treatments: The variants.
        planned_n: What the sequence is tuned for.
        cap: The quantile of all units' values that larger ones of a mean count as; None caps
            nothing.
        confidence: That the whole curve holds the truth.
        stratum: The column of strata to post-stratify by; those too small on a day are merged.
    """
    if units.empty or isinstance(metric, Quantile):
        return OverTime(name)
    joined = ((units["since"] - _EPOCH) // _DAY).to_numpy(dtype=np.int64)
    first, last = int(joined.min()), (pd.Timestamp(until) - _INSTANT - _EPOCH) // _DAY
    named = [column.name for column in columns(metric)]
    moving = [place for place, column in enumerate(named) if column in daily.columns]
    changes = _changes(units, daily, [named[place] for place in moving], first)
    variants = units["variant"].to_numpy(dtype=object)
    values = np.column_stack(
        [
            np.zeros(len(units)) if place in moving else units[column].to_numpy(dtype=np.float64)
            for place, column in enumerate(named)
        ]
    )
    strata = None if stratum is None else units[stratum].to_numpy(dtype=object)
    comparing = _Comparing(metric, control, treatments, planned_n, cap, confidence)
    shown = _shown(first, last)
    days: list[Day] = []
    for day in range(first, last + 1):
        if day in changes:
            rows, amounts = changes[day]
            for number, place in enumerate(moving):
                np.add.at(values[:, place], rows, amounts[:, number])
        if day in shown:
            inside = joined <= day
            effects = comparing.as_of(
                values[inside], variants[inside], None if strata is None else strata[inside]
            )
            told = (_EPOCH + day * _DAY).date().isoformat()
            days += [Day(told, one, n, effect) for one, (n, effect) in effects.items()]
    return OverTime(name, days)


@dataclass(frozen=True, slots=True)
class _Comparing:
    metric: Metric
    control: str
    treatments: Sequence[str]
    planned_n: float
    cap: float | None
    confidence: float

    def as_of(
        self, rows: np.ndarray, variants: np.ndarray, strata: np.ndarray | None
    ) -> dict[str, tuple[int, Effect]]:
        """Return each variant's units, with the control's, and its effect."""
        if self.cap is not None and isinstance(self.metric, Mean):
            rows = rows.copy()
            rows[:, 0] = np.minimum(rows[:, 0], np.quantile(rows[:, 0], self.cap))
        origin = np.median(rows, axis=0)
        names = (self.control, *self.treatments)
        arms = {name: rows[variants == name] for name in names}
        groups = None if strata is None else _merged(strata, variants, names)
        sums = {
            name: Aggregates.from_rows(arm, origin)
            if groups is None
            else Aggregates.stacked(
                [
                    Aggregates.from_rows(arm[groups[variants == name] == one], origin)
                    for one in dict.fromkeys(groups)
                ]
            )
            for name, arm in arms.items()
            if len(arm)
        }
        figure = figure_of(self.metric)
        return {
            name: (
                len(arms[name]) + len(arms[self.control]),
                compare_always(
                    figure, sums[name], sums[self.control], self.planned_n, self.confidence
                ),
            )
            for name in self.treatments
            if name in sums and self.control in sums
        }


def _merged(strata: np.ndarray, variants: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """Return each unit's stratum, small ones merged; None where only one is left."""
    counts = pd.crosstab(strata, variants).to_dict("index")
    sizes = {str(one): {str(v): int(n) for v, n in by.items()} for one, by in counts.items()}
    merged = merged_strata(sizes, names)
    if len(set(merged.values())) < 2:
        return None
    return np.array([merged[str(one)] for one in strata], dtype=object)


def _changes(
    units: pd.DataFrame, daily: pd.DataFrame, moving: Sequence[str], first: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return by day which units' places change, and by how much in each column that moves; nothing
    is told before `first`."""
    place = pd.Index(units["unit_id"]).get_indexer(pd.Index(daily["unit_id"]))
    day = np.maximum(daily["day"].to_numpy(dtype=np.int64), first)
    amount = daily[list(moving)].to_numpy(dtype=np.float64)
    order = np.flatnonzero(place >= 0)
    if not len(order):
        return {}
    order = order[np.argsort(day[order], kind="stable")]
    days, starts = np.unique(day[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(one): (place[part], amount[part]) for one, part in zip(days, parts, strict=True)}


def _shown(first: int, last: int) -> set[int]:
    """Return the days that are shown, evenly spaced, the last among them."""
    step = max(1, math.ceil((last - first + 1) / MOST_POINTS))
    return set(range(last, first - 1, -step))

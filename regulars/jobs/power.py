"""Power: what would an experiment of so many weeks have seen, had it run at the history's end?

A customer comes in with her first purchase of those weeks, as she would with her first decision at
the till; from then on she is measured by the same code as in a report.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import ibis
import msgspec
import numpy as np
import pandas as pd

from experiments.analysis import UnitFrame
from experiments.design import Unit
from experiments.duration import USUAL_LOOKS, WANTED, Arms, Foresight, foresee
from experiments.metric_catalogue import WORDED, Measured, measured
from experiments.metric_words import read_metrics
from experiments.metrics import Metric, columns, rows
from experiments.plan import Method
from experiments.power import InvalidPower, intraclass_correlation
from experiments.report import capped
from foundation.errors import NothingToDo
from foundation.lake import Lake
from regulars.jobs.assigned import UNIT_COLUMNS
from regulars.jobs.earned import DAYS_BEFORE, with_metrics

WEEKS = 8
# What a ratio of one's own may be made of.
RATIO_COLUMNS = (*WORDED, "redeemed")
HALVES = Arms({"control": 0.5, "treatment": 0.5})


@dataclass(frozen=True)
class Wanted:
    """What is asked: `metric` as a plan names it, effects as in `foresee`.

    With a `denominator` it is the ratio of two of RATIO_COLUMNS.
    """

    metric: str = "margin"
    denominator: str | None = None
    effect: float | None = None
    relative: float | None = None
    weeks: int = WEEKS
    method: Method = "welch"
    looks: int = USUAL_LOOKS
    unit: Unit = "customer"
    arms: Arms = HALVES
    power: float = WANTED


def experiment_power(
    lake: Lake, wanted: Wanted, now: datetime, audience: Collection[str] | None = None
) -> Foresight:
    """Return what experiments of one week and of more would see, from the history's last weeks.

    Args:
        wanted: What is asked.
        now: The history ends here at the latest.
        audience: Customers who may come in; None is everybody.

    Raises:
        NothingToDo: There are no purchases, or none of the audience's.
        InvalidPower: The history is shorter than the weeks asked for and the days before them.
        InvalidMetric: The metric is not one of the lake's.
    """
    name, asked = _metric(wanted)
    metric = asked.metric
    needed = [column.name for column in columns(metric)]
    starts, ends = history_window(lake, wanted.weeks, now)
    came = _came(lake, wanted.unit, starts, ends, audience)
    if came.empty:
        raise NothingToDo(
            f"nobody of the audience bought from {starts:%Y-%m-%d} to {ends:%Y-%m-%d}, so there is "
            "no history to plan from; choose another audience"
        )
    seen = with_metrics(lake, *_as_if(came, starts, wanted.weeks), columns=needed)
    weeks = {
        week: _rows(asked, seen[seen["variant"] == str(week)])
        for week in range(1, wanted.weeks + 1)
    }
    found = foresee(
        name,
        metric,
        weeks,
        wanted.arms,
        unit=wanted.unit,
        method=wanted.method,
        looks=wanted.looks,
        effect=wanted.effect,
        relative=wanted.relative,
        wanted=wanted.power,
    )
    if wanted.unit == "customer":
        return found
    return msgspec.structs.replace(found, **_alike(lake, came, ends, metric))


def history_window(lake: Lake, weeks: int, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to when an experiment of so many weeks would have run.

    Raises:
        NothingToDo: There are no purchases.
        InvalidPower: The history is too short.
    """
    if weeks < 1:
        raise InvalidPower(f"{weeks} weeks are none; write at least 1")
    purchases = lake.table("purchases").filter(lambda t: t["at"] < ibis.literal(now))
    (seen,) = lake.fetch(
        purchases.aggregate(
            first=purchases["at"].min(), last=purchases["at"].max(), lines=purchases.count()
        )
    ).to_pylist()
    if not seen["lines"]:
        raise NothingToDo(
            "the lake holds no purchases to plan from; load some with 'regulars load SOURCE'"
        )
    ends = seen["last"] + timedelta(microseconds=1)
    starts = ends - timedelta(weeks=weeks)
    if starts - timedelta(days=DAYS_BEFORE) < seen["first"]:
        left = (ends - seen["first"] - timedelta(days=DAYS_BEFORE)) // timedelta(weeks=1)
        raise InvalidPower(
            f"{weeks} weeks after the {DAYS_BEFORE} days that margins are adjusted by are longer "
            f"than the history, which began on {seen['first']:%Y-%m-%d}; "
            + (f"ask for {left} weeks at most" if left > 0 else "wait, or load older purchases")
        )
    return starts, ends


def _metric(wanted: Wanted) -> tuple[str, Measured]:
    text, denominator = wanted.metric, wanted.denominator
    if denominator is None:
        return text, measured(text, wanted.unit)
    ((name, asked),) = read_metrics([text], RATIO_COLUMNS, denominator).items()
    unknown = [c for c in (asked.column, denominator) if c not in RATIO_COLUMNS]
    if unknown:
        raise InvalidPower(
            f"column {unknown[0]!r} of a ratio is none of {', '.join(RATIO_COLUMNS)}"
        )
    return f"{name} / {denominator}", Measured(asked.metric(denominator=denominator))


def _rows(asked: Measured, units: pd.DataFrame) -> np.ndarray:
    if units.empty:
        return np.empty((0, len(columns(asked.metric))))
    return rows(capped(asked.cap, UnitFrame(units), asked.metric), units)


def _came(
    lake: Lake, unit: str, starts: datetime, ends: datetime, audience: Collection[str] | None
) -> pd.DataFrame:
    """Return unit_id, customer_id and since: a row for each customer of a unit that came."""
    lines: Any = lake.table("purchases")
    during = lines.filter(
        (lines["at"] >= ibis.literal(starts)) & (lines["at"] < ibis.literal(ends))
    )
    bought = during.group_by("customer_id").aggregate(since=during["at"].min())
    first = lake.fetch(bought.order_by("customer_id")).to_pandas()
    if audience is not None:
        first = first[first["customer_id"].isin(list(audience))]
    if unit == "customer":
        return first.assign(unit_id=first["customer_id"])
    customers = lake.table("customers")
    named = customers.filter(customers[UNIT_COLUMNS[unit]].notnull())
    members = lake.fetch(
        named.select("customer_id", unit_id=UNIT_COLUMNS[unit]).order_by("customer_id")
    ).to_pandas()
    opened = (
        first.merge(members, on="customer_id").groupby("unit_id", as_index=False)["since"].min()
    )
    return members.merge(opened, on="unit_id")


def _as_if(came: pd.DataFrame, starts: datetime, weeks: int) -> tuple[pd.DataFrame, pd.Series]:
    """Return the units once for each duration, as variants, and where each row ends."""
    since = pd.to_datetime(came["since"], utc=True)
    found: list[pd.DataFrame] = []
    for week in range(1, weeks + 1):
        until = starts + timedelta(weeks=week)
        found.append(came[since < until].assign(variant=str(week), until=until))
    units = pd.concat(found, ignore_index=True)
    return units.drop(columns="until"), pd.to_datetime(units["until"], utc=True)


def _alike(lake: Lake, came: pd.DataFrame, ends: datetime, metric: Metric) -> dict[str, Any]:
    """Return how alike the members of a cluster are over the longest duration, and their number."""
    # Every member as a unit of her own, from when her cluster came in.
    each = came.assign(unit_id=came["customer_id"], variant="")
    needed = [column.name for column in columns(metric)]
    seen = with_metrics(lake, each, ends, columns=needed).merge(
        came[["customer_id", "unit_id"]].rename(
            columns={"customer_id": "unit_id", "unit_id": "cluster"}
        ),
        on="unit_id",
    )
    values = rows(metric, seen)[:, 0]
    cluster = seen["cluster"].to_numpy(dtype=object)
    members = len(values) / max(len(set(cluster)), 1)
    try:
        return {"alike": intraclass_correlation(values, cluster), "members": members}
    except InvalidPower:
        # One cluster, or each with one member: nothing to compare, and the durations say the rest.
        return {"members": members}

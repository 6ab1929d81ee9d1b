"""Sleepers: who was dormant or lost at a run, did they come back, and what did they spend?

Where an experiment held customers out of offers, theirs is the natural return. Who was held out
follows from the assignment's hash and not from decisions: those for whom one was asked had
come back already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from adapters.postgres_admin import StoredExperiment
from experiments.assignment import assigned_variant
from experiments.design import Experiment, Variant
from experiments.health import SAMPLE_RATIO_ALARM
from experiments.holdout import HOLDOUT, is_held_out
from experiments.natural_return import NaturalReturn, Returned, natural_return, returned
from experiments.sample_ratio import sample_ratio_p_value
from foundation.errors import NothingToDo, RegularsError, TooLittleData
from foundation.lake import Lake
from regulars.jobs.assigned import UNIT_COLUMNS
from regulars.jobs.runs import Run, all_runs, counting

SLEEPING = ("dormant", "lost")


@dataclass(frozen=True)
class Holdout:
    """An experiment's comparison, or why there is none, and what to beware of in it."""

    experiment: str
    comparison: NaturalReturn | None
    refused: str | None
    beware: str | None


@dataclass(frozen=True)
class SleepersReport:
    """Sleepers of a run until `until`; `natural` says so where no holdout tells natural return."""

    run_id: str
    as_of: datetime
    until: datetime
    all: Returned
    by_state: dict[str, Returned]
    holdouts: list[Holdout]
    natural: str | None


def sleepers(
    lake: Lake,
    experiments: Sequence[StoredExperiment],
    since: str | None,
    days: int,
    now: datetime,
) -> SleepersReport:
    """Report on the sleepers of a run in the days after it.

    Args:
        experiments: All there were.
        since: The run, its date or what else its name begins with; the newest whose days are over
            when left out.
        days: How many days a return is waited for, at least 1.

    Raises:
        NothingToDo: There is no such run, or nobody slept at it.
        TooLittleData: Its days are not over yet.
    """
    if days < 1:
        raise RegularsError(f"a return within {days} days cannot be; wait at least 1")
    run = _run(lake, since, timedelta(days=days), _known_until(lake, now))
    until = run.as_of + timedelta(days=days)
    found = _asleep(lake, run, until)
    if found.empty:
        raise NothingToDo(f"nobody was dormant or lost at run {run.run_id}; name another run")
    ran = [
        stored
        for stored in experiments
        if stored.started_at < until
        and (stored.stopped_at is None or stored.stopped_at > run.as_of)
        and any(map(_holds_out, stored.design.variants))
    ]
    holdout = next((s.design for s in experiments if s.design.key == HOLDOUT), None)
    natural = None
    if not ran:
        natural = (
            f"nobody was held out of offers between {run.as_of:%Y-%m-%d} and {until:%Y-%m-%d}, so "
            "those who would have come back by themselves are in these figures"
        )
    return SleepersReport(
        run_id=run.run_id,
        as_of=run.as_of,
        until=until,
        all=returned(found["came"], found["spend"]),
        by_state={
            str(state): returned(group["came"], group["spend"])
            for state, group in found.groupby("lifecycle")
        },
        holdouts=[_holdout(stored, found, run, holdout) for stored in ran],
        natural=natural,
    )


def _known_until(lake: Lake, now: datetime) -> datetime:
    bought: Any = lake.table("purchases")
    last = lake.fetch(bought.aggregate(at=bought["at"].max()))["at"][0].as_py()
    return now if last is None else min(now, last)


def _run(lake: Lake, since: str | None, wait: timedelta, known: datetime) -> Run:
    runs = all_runs(lake)
    if not runs:
        raise NothingToDo("there is no run yet; make one with 'regulars segment'")
    if since is None:
        over = [run for run in counting(runs) if run.as_of + wait <= known]
        if not over:
            raise TooLittleData(
                f"no run is {wait.days} days before {known:%Y-%m-%d %H:%M}, up to when purchases "
                "are known; allow fewer days, load more, or make a run by "
                "'regulars segment --as-of'"
            )
        return over[-1]
    # A run's name begins with its instant, so a date names the last run of that day.
    named = [run for run in runs if run.run_id == since] or [
        run for run in counting(runs) if run.run_id.startswith(since)
    ]
    if not named:
        newest = ", ".join(run.run_id for run in runs[-3:])
        raise NothingToDo(f"run {since!r} is not in the lake; the newest are {newest}")
    end = named[-1].as_of + wait
    if end > known:
        raise TooLittleData(
            f"the {wait.days} days after run {named[-1].run_id} end on {end:%Y-%m-%d %H:%M}, "
            f"purchases are known up to {known:%Y-%m-%d %H:%M}; allow fewer days, or wait"
        )
    return named[-1]


def _asleep(lake: Lake, run: Run, until: datetime) -> pd.DataFrame:
    """Return one row a sleeper: customer_id, household_id, home_store_id, lifecycle, came, spend
    (minor units).
    """
    rows: Any = lake.table("segments")
    asleep = rows.filter((rows.run_id == run.run_id) & rows.lifecycle.isin(SLEEPING))
    homes = lake.table("customers").select("customer_id", "household_id", "home_store_id")
    asleep = asleep.select("customer_id", "lifecycle").left_join(homes, "customer_id")
    columns = ("customer_id", "household_id", "home_store_id", "lifecycle")
    found = lake.fetch(asleep.select(*columns)).to_pandas()
    ids = arrow.table({"customer_id": arrow.array(found["customer_id"], type=arrow.string())})
    lines: Any = lake.memory(ids).join(lake.table("purchases"), "customer_id")
    lines = lines.filter(
        (lines["at"] >= ibis.literal(run.as_of)) & (lines["at"] < ibis.literal(until))
    )
    orders = lines.group_by("customer_id", "order_id").aggregate(amount=lines.amount.sum())
    # A receipt that gives back more than it takes is a return of goods, not of the customer.
    bought = orders.group_by("customer_id").aggregate(
        came=(orders.amount >= 0).any(), spend=orders.amount.sum()
    )
    found = found.merge(lake.fetch(bought).to_pandas(), on="customer_id", how="left")
    # Sorted, since a floating sum in another order is another sum.
    found = found.sort_values("customer_id", ignore_index=True)
    return found.assign(
        came=found["came"].eq(True),
        spend=found["spend"].fillna(0).astype("int64"),
    )


def _holds_out(variant: Variant) -> bool:
    return variant.policy == "none" or variant.offers == []


def _holdout(
    stored: StoredExperiment, found: pd.DataFrame, run: Run, holdout: Experiment | None
) -> Holdout:
    design = stored.design
    if design.key != HOLDOUT:
        # Nobody of the global holdout was in another experiment.
        out = [is_held_out(holdout, str(one)) for one in found["customer_id"]]
        found = found[~np.array(out, dtype=bool)]
    try:
        comparison = _compare(design, found)
    except TooLittleData as error:
        return Holdout(design.key, None, str(error), None)
    beware = None
    if stored.started_at < run.as_of:
        beware = (
            f"experiment {design.key!r} began on {stored.started_at:%Y-%m-%d}, before the run: "
            "who slept then may be its own doing, so differences are no effects; name a run from "
            "before it"
        )
    return Holdout(design.key, comparison, None, beware)


def _compare(design: Experiment, found: pd.DataFrame) -> NaturalReturn:
    if design.audience is not None:
        raise TooLittleData(
            f"experiment {design.key!r} has an audience, and who of these was in it is not known "
            "where no decision was asked; so no difference is shown"
        )
    column = UNIT_COLUMNS[design.unit]
    # Who has no household is outside an experiment on households.
    units = (
        found.dropna(subset=column)
        .groupby(column)
        .agg(came=("came", "any"), spend=("spend", "sum"))
    )
    variants = [assigned_variant(design, str(unit)) for unit in units.index]
    units = units[np.array([variant is not None for variant in variants], dtype=bool)]
    held = [_holds_out(variant) for variant in variants if variant is not None]
    comparison = natural_return(units["came"], units["spend"], held)
    planned = sum(variant.weight for variant in design.variants if _holds_out(variant))
    observed = (len(held) - sum(held), sum(held))
    p = sample_ratio_p_value(observed, (1 - planned, planned))
    if p < SAMPLE_RATIO_ALARM:
        raise TooLittleData(
            f"experiment {design.key!r}: {observed[1]:,} of {len(held):,} sleeping {design.unit}s "
            f"were held out, {planned:.0%} were planned (p {p:.2g}): the two are no longer alike, "
            "so no difference is shown; name a run from before the experiment"
        )
    return comparison

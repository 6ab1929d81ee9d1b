"""Looks: when does a group sequential plan judge, and on which data?

A look judges what was known at its instant, also when it is read later: whoever reads the report
every day must not get a new chance each time.
"""

import math
from datetime import datetime, timedelta

import msgspec
import pandas as pd

from experiments.design import Experiment
from experiments.plan import GROUP_SEQUENTIAL, StopRule

# A look at next to the same data is told apart from the one before by this much at least.
LEAST_GROWTH = 1.01


class Look(msgspec.Struct, frozen=True):
    """A look that was reached; `at` is its instant, number 0 comes before the first.

    `information` is what was known at this look and those before it, in parts of the first; empty
    takes looks for equally far apart.
    """

    number: int
    of: int
    at: datetime
    information: tuple[float, ...] = ()


def newest_look(plan: Experiment, since: pd.Series, until: datetime) -> Look | None:
    """Return the newest look reached, None where the plan has no looks.

    Looks are equally spaced: of the planned days after the first unit, of the planned units, what
    comes first.

    Args:
        plan: Of the experiment.
        since: When each unit was assigned, one entry a unit, aware.
        until: Now, or when the experiment was stopped.
    """
    stop = plan.stop
    if plan.method not in GROUP_SEQUENTIAL or stop is None or stop.looks is None:
        return None
    reached = reached_looks(plan, since, until)
    return reached[-1] if reached else Look(0, stop.looks, until)


def reached_looks(plan: Experiment, since: pd.Series, until: datetime) -> list[Look]:
    """Return the looks reached so far in their order, none where the plan has no looks.

    Args:
        plan, since, until: As for `newest_look`.
    """
    stop = plan.stop
    if plan.method not in GROUP_SEQUENTIAL or stop is None or stop.looks is None:
        return []
    ordered = since[since < until].sort_values(ignore_index=True)
    found: list[Look] = []
    instants: list[datetime] = []
    for number in range(1, stop.looks + 1):
        at = _reached(stop, ordered, number / stop.looks, until)
        if at is None:
            break
        instants.append(at)
        found.append(Look(number, stop.looks, at, _information(ordered, instants)))
    return found


def _information(ordered: pd.Series, instants: list[datetime]) -> tuple[float, ...]:
    """Return how information grew, by units or by their time in it, whichever grew more.

    What units do on one day is information of that day, what they are is known once: a metric lies
    between. Where looks are taken to be less alike than they are, the error stays below its level.
    """
    amounts: list[float] = []
    before: tuple[float, float] | None = None
    for at in instants:
        waited = (at - ordered[ordered < at]).dt.total_seconds()
        now = float(len(waited)), float(waited.sum())
        if before is None:
            amounts.append(1.0)
        else:
            grown = max(new / old for new, old in zip(now, before, strict=True))
            amounts.append(amounts[-1] * max(grown, LEAST_GROWTH))
        before = now
    return tuple(amounts)


def planned_end(plan: Experiment, since: pd.Series, until: datetime) -> datetime | None:
    """Return when the stop rule ended the experiment, None where it has not, or there is none.

    Args:
        plan, since, until: As for `newest_look`.
    """
    if plan.stop is None:
        return None
    ordered = since[since < until].sort_values(ignore_index=True)
    return _reached(plan.stop, ordered, 1.0, until)


def _reached(stop: StopRule, ordered: pd.Series, share: float, until: datetime) -> datetime | None:
    """Return when so much of what the rule asks for had come in, None where it has not."""
    instants: list[datetime] = []
    if stop.days is not None and len(ordered):
        instants.append(ordered.iloc[0] + timedelta(days=stop.days * share))
    if stop.units is not None and len(ordered) >= math.ceil(stop.units * share):
        # Just after the unit that made it, so that she is in.
        last = ordered.iloc[math.ceil(stop.units * share) - 1]
        instants.append(last + timedelta(microseconds=1))
    return min((instant for instant in instants if instant <= until), default=None)

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


class Look(msgspec.Struct, frozen=True):
    """The newest look that was reached; `at` is its instant, number 0 comes before the first."""

    number: int
    of: int
    at: datetime


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
    ordered = since[since < until].sort_values(ignore_index=True)
    for number in range(stop.looks, 0, -1):
        at = _reached(stop, ordered, number / stop.looks, until)
        if at is not None:
            return Look(number, stop.looks, at)
    return Look(0, stop.looks, until)


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

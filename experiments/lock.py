"""The lock of a plan: is this still what the experiment was started with?

Whoever likes an offer must not move the goal posts once figures come in. A plan is locked by its
content hash when the experiment starts; what a report shows beyond it is exploratory.
"""

from collections.abc import Iterable

import msgspec

from experiments.design import Experiment, content_hash
from foundation.errors import RegularsError


class PlanChanged(RegularsError):
    """A plan is not the one that was locked."""


def check_locked(stored: Experiment, locked_hash: str) -> Experiment:
    """Return a stored plan whose content still has the hash it was locked with.

    Raises:
        PlanChanged: It has not: somebody wrote into the database past Regulars.
    """
    found = content_hash(stored)
    if found != locked_hash:
        raise PlanChanged(
            f"experiment {stored.key!r}: the stored plan has hash {found}, it was locked as "
            f"{locked_hash}; it was changed outside Regulars, so no report is made of it: restore "
            f"what 'regulars experiment history {stored.key}' shows of its start"
        )
    return stored


def differing_fields(locked: Experiment, other: Experiment) -> list[str]:
    """Return the fields in which two plans differ, in the plan's order, with both values."""
    mine, theirs = _written(locked), _written(other)
    return [
        f"{name} ({mine[name]} is locked, {theirs[name]} is asked for)"
        for name in mine
        if mine[name] != theirs[name]
    ]


def exploratory_metrics(plan: Experiment, shown: Iterable[str]) -> list[str]:
    """Return the metrics shown that were not planned for."""
    return [metric for metric in shown if metric not in plan.planned_metrics]


def _written(plan: Experiment) -> dict[str, str]:
    fields = msgspec.structs.asdict(plan)
    # It may grow while the experiment runs.
    del fields["exposure"]
    return {name: msgspec.json.encode(value).decode() for name, value in fields.items()}

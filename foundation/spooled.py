"""What waits on this machine's disk for the database: decisions and outcomes of an outage."""

from collections.abc import Iterable

import msgspec

from foundation.decision import DecisionRecord
from foundation.outcome import Outcome
from foundation.replay import Answered, Replay


class Spooled(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision, one that was asked for under a name, or the outcomes of one request."""

    record: DecisionRecord | None = None
    answered: Answered | None = None
    outcomes: list[Outcome] = []
    replay: Replay | None = None


class Rejected(msgspec.Struct, frozen=True):
    """An outcome that was acknowledged and cannot be told, and why: for people to look at."""

    outcome: Outcome
    reason: str


def customers_of(entries: Iterable[Spooled]) -> set[str]:
    """Return whom entries tell of."""
    found: set[str] = set()
    for entry in entries:
        record = entry.record if entry.answered is None else entry.answered.record
        found |= {one.customer_id for one in entry.outcomes}
        if record is not None:
            found.add(record.customer_id)
    return found

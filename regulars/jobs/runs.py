"""Runs of the segment job: which there were, and which counts for an instant."""

from dataclasses import dataclass
from datetime import datetime

from foundation.contracts import SEGMENTS
from foundation.lake import Lake


@dataclass(frozen=True, order=True)
class Run:
    """One run: what was known up to `as_of`, as far as it was loaded at `made_at`."""

    as_of: datetime
    made_at: datetime
    run_id: str


def all_runs(lake: Lake, made_by: datetime | None = None) -> list[Run]:
    """Return every run there was: by instant, and of one instant the last made at the end.

    Args:
        made_by: Only those that had been made by then.
    """
    stored = lake.table(SEGMENTS.name)
    # Runs of an older version did not say when they were made.
    made_at = stored.made_at.coalesce(stored.as_of)
    rows = stored.select("as_of", "run_id", made_at=made_at).distinct()
    runs = sorted(Run(**row) for row in lake.fetch(rows).to_pylist())
    return [run for run in runs if made_by is None or run.made_at <= made_by]


def counting(runs: list[Run]) -> list[Run]:
    """Return the runs that count, by instant: a run made again replaces that of its instant only.

    Two of them therefore never compare an instant with itself.
    """
    return list({run.as_of: run for run in runs}.values())

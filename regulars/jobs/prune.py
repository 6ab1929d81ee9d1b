"""Prune: decisions leave the operational database once the lake has held them for long.

Only those that the lake holds by name, in windows that it has held for the days that are kept: a
lake restored from a backup younger than that lacks nothing that is gone here. A killed run has
deleted less, and the next one goes on.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as arrow
import pyarrow.compute
import structlog

from foundation.clock import Clock
from foundation.feed import Feed
from foundation.lake import Lake
from regulars.jobs.held_since import NOTE, goes_on, held_by, marks_of
from regulars.jobs.ingest import CURSOR
from regulars.progress import Progress

# Made at run time, so that a checker knows none of its functions.
compute: Any = pyarrow.compute


class OldDecisions(Protocol):
    """The decisions of the operational database, the oldest first."""

    def pages(self, until: int, before: datetime) -> Iterator[Sequence[tuple[str, datetime]]]:
        """Yield decision_id and instant of those written by transactions before `until`.

        Only of decisions made before an instant, and none that an unfinished batch still needs.
        """
        ...

    def delete(self, decision_ids: Collection[str]) -> int:
        """Delete decisions that nobody is changing just now; return how many those were."""
        ...

    def delete_batches(self, before: datetime) -> None:
        """Delete for whom batches finished before an instant decided by what is deleted."""
        ...


@dataclass
class PruneReport:
    """How many decisions left the database, and how many old ones stay: the lake lacks them."""

    decisions: int = 0
    missing: int = 0


def prune(
    lake: Lake, feed: Feed, old: OldDecisions, clock: Clock, kept_days: int, progress: Progress
) -> PruneReport:
    """Delete the decisions that the lake has held for so many days.

    Nobody else may ingest meanwhile.
    """
    report, before = PruneReport(), clock.now() - timedelta(days=kept_days)
    with progress.step("prune") as step:
        step.show("nothing is old enough")
        for page in old.pages(_held_by(lake, feed, before), before):
            held = _held(lake, page)
            report.decisions += old.delete(held)
            report.missing += len(page) - len(held)
            step.show(f"{report.decisions:,} decisions")
        old.delete_batches(before)
    log = structlog.get_logger("prune")
    if report.missing:
        log.warning("old decisions that the lake lacks", decisions=report.missing)
    log.info("pruned", decisions=report.decisions)
    return report


def _held_by(lake: Lake, feed: Feed, instant: datetime) -> int:
    """Return before which transaction of this database the lake held all by an instant."""
    cursor = lake.note(CURSOR)
    if not goes_on(feed.window(cursor), cursor):
        # Another cluster or timeline than the one that was read: its numbers say nothing here.
        return 0
    return held_by(marks_of(lake.note(NOTE)), instant)


def _held(lake: Lake, page: Sequence[tuple[str, datetime]]) -> set[str]:
    """Return the decisions of a page that the lake holds now."""
    told: Any = lake.table("decisions")
    times = [at for _, at in page]
    same_days = told.filter(told["at"].between(min(times), max(times)))
    asked = arrow.array([decision_id for decision_id, _ in page], arrow.string())
    held = set[str]()
    for batch in lake.stream(same_days.select("decision_id")):
        ids = batch["decision_id"]
        held.update(ids.filter(compute.is_in(ids, asked)).to_pylist())
    return held

"""Load: a retailer's rows into the lake, each judged by its contract, none dropped in silence."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import pandas as pd

from foundation.clock import Clock
from foundation.contracts import QUARANTINE, WHOLE_ROW, Fault
from foundation.contracts.mapping import LOCAL_TIME_COLUMNS, Chunk
from foundation.lake import Lake, LakeWrite
from regulars.jobs.ingest import CURSOR
from regulars.progress import Progress

# The lake's note of where its rows came from.
SOURCES = "sources"


@dataclass
class TableLoad:
    """What became of one table's rows: read = new + repeated + replaced + quarantined."""

    read: int = 0
    new: int = 0
    repeated: int = 0
    replaced: int = 0
    quarantined: int = 0


@dataclass
class LoadReport:
    """Counts by table, and the first faults as a person reads them."""

    tables: dict[str, TableLoad] = field(default_factory=dict[str, TableLoad])
    examples: list[str] = field(default_factory=list[str])


def load(
    lake: Lake,
    chunks: Iterable[Chunk],
    clock: Clock,
    progress: Progress,
    *,
    afresh: bool = False,
) -> LoadReport:
    """Write chunks into the lake as one commit: all of them or, after a failure, none.

    Args:
        afresh: Empty each table before its first chunk, for a data set that moved in time. What
            the service wrote goes with it, so the next ingest reads that again from the start.
    """
    report = LoadReport()
    sources = loaded_sources(lake)
    with progress.step("load") as step, lake.write() as write:
        if afresh:
            write.remember(CURSOR, "")
        for chunk in chunks:
            counts = report.tables.get(chunk.table.name)
            if counts is None:
                counts = report.tables[chunk.table.name] = TableLoad()
                if afresh:
                    write.clear(chunk.table.name)
            before = counts.new + counts.replaced
            _load_chunk(write, chunk, counts, report.examples, clock)
            if counts.new + counts.replaced > before:
                sources.add(chunk.source)
            step.show(f"{chunk.table.name}: {counts.read:,} rows")
        write.remember(SOURCES, json.dumps(sorted(sources)))
    return report


def loaded_sources(lake: Lake) -> set[str]:
    """Return the sources that rows of the lake came from."""
    return set(json.loads(lake.note(SOURCES) or "[]"))


def _load_chunk(
    write: LakeWrite, chunk: Chunk, counts: TableLoad, examples: list[str], clock: Clock
) -> None:
    faults = [*chunk.faults, *_broken_rules(chunk)]
    bad = chunk.frame.index.isin([fault.row for fault in faults])
    good = chunk.frame.loc[~bad]
    merged = write.merge(chunk.table.name, chunk.table.to_arrow(good))
    if merged.conflicts:
        faults += _conflicts(chunk, good, merged.conflicts)
    faults.sort(key=lambda fault: fault.row)
    _quarantine(write, chunk, faults, clock)
    examples += [
        f"{chunk.source}, line {chunk.lines.iloc[fault.row]}: "
        f"{fault.column} {fault.value!r} {fault.reason}"
        for fault in faults[: 5 - len(examples)]
    ]
    counts.read += len(chunk.frame)
    counts.new += merged.new
    counts.repeated += merged.repeated
    counts.replaced += merged.replaced
    counts.quarantined += int(bad.sum()) + len(merged.conflicts)


def _broken_rules(chunk: Chunk) -> list[Fault]:
    """Return the contract's faults that say more than what is already known of a row."""
    known = {(fault.row, fault.column) for fault in chunk.faults}
    broken = chunk.table.faults(chunk.frame)
    timeless = {fault.row for fault in [*chunk.faults, *broken] if fault.column == "at"}
    return [
        fault
        for fault in broken
        # An unreadable value is null by now; say what was wrong with it, not that it is missing.
        if (fault.row, fault.column) not in known
        and (fault.row, WHOLE_ROW) not in known
        # Nor that it has no day: days and hours are made from the time.
        and not (fault.column in LOCAL_TIME_COLUMNS and fault.row in timeless)
    ]


def _conflicts(chunk: Chunk, good: pd.DataFrame, positions: tuple[int, ...]) -> list[Fault]:
    key = chunk.table.key
    rows: list[int] = good.index.tolist()
    told = good[key].tolist()
    why = "was loaded before with other content; an event does not change"
    return [Fault(rows[place], key, str(told[place]), why) for place in positions]


def _quarantine(write: LakeWrite, chunk: Chunk, faults: list[Fault], clock: Clock) -> None:
    if not faults:
        return
    lines: list[int] = chunk.lines.tolist()
    now = clock.now()
    rows = [
        {
            "fault_id": _fault_id(chunk, lines[fault.row], fault),
            "source": chunk.source,
            "table": chunk.table.name,
            "source_line": lines[fault.row],
            "column": fault.column,
            "value": fault.value,
            "reason": fault.reason,
            "at": now,
        }
        for fault in faults
    ]
    # A fault seen in an earlier load keeps its first entry.
    write.merge(QUARANTINE.name, QUARANTINE.from_rows(rows))


def _fault_id(chunk: Chunk, line: int, fault: Fault) -> str:
    told = f"{chunk.source}|{line}|{fault.column}|{fault.value}|{fault.reason}"
    return blake2b(told.encode(), digest_size=12).hexdigest()

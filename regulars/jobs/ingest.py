"""Ingest: decisions and outcomes from the operational database into the lake, exactly once.

The cursor is committed together with the rows, and only transactions older than every open one
are read, so that a killed run repeats nothing and a late commit is not missed. What cannot be read,
or contradicts what came before, goes to the quarantine with its reason and holds up nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
import pandas as pd

from foundation.clock import Clock
from foundation.contracts import (
    DECISIONS,
    INTERACTIONS,
    PURCHASES,
    QUARANTINE,
    WHOLE_ROW,
    Table,
)
from foundation.contracts.mapping import add_local_time
from foundation.decision import DecisionRecord, encode
from foundation.errors import RegularsError, UnreadableRecord
from foundation.feed import Feed
from foundation.lake import Lake, LakeWrite
from foundation.money import to_minor
from foundation.outcome import MONEY_KINDS, Outcome
from foundation.packed_decision import unpacked
from regulars.jobs import held_since
from regulars.progress import Progress

CURSOR = "ingested"

Read = TypeVar("Read")


@dataclass
class IngestReport:
    """How many rows were new to the lake, and how many could not be taken."""

    decisions: int = 0
    outcomes: int = 0
    lines: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list[str])


def ingest(
    lake: Lake, feed: Feed, clock: Clock, time_zone: str, progress: Progress
) -> IngestReport:
    """Copy what was written since the last run; late rows merge into their day."""
    report = IngestReport()
    with progress.step("ingest") as step, lake.write() as write:
        cursor = lake.note(CURSOR)
        window = feed.window(cursor)
        zones = _zones(lake)
        for page in feed.decisions(window):
            rows, faults = _read_decisions(page)
            _quarantine(write, DECISIONS, faults, report, clock)
            report.decisions += _merge(write, DECISIONS, rows, report, clock)
            step.show(f"{report.decisions:,} decisions")
        for page in feed.outcomes(window):
            told, faults = _read_outcomes(page)
            _quarantine(write, INTERACTIONS, faults, report, clock)
            events = [event for event, _ in told]
            report.outcomes += _merge(write, INTERACTIONS, events, report, clock)
            lines = [line for _, bought in told for line in bought]
            report.lines += _merge(
                write, PURCHASES, lines, report, clock, lambda f: _localise(f, zones, time_zone)
            )
            step.show(f"{report.decisions:,} decisions, {report.outcomes:,} outcomes")
        marks = held_since.marked(lake.note(held_since.NOTE), cursor, window, clock.now())
        write.remember(held_since.NOTE, marks)
        write.remember(CURSOR, held_since.cursor_of(window))
    return report


def _read_decisions(
    page: Sequence[tuple[str, bytes]],
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Return the rows of decisions, and what could not be read with the reason."""
    rows: list[dict[str, Any]] = []
    faults: list[tuple[str, str]] = []
    for decision_id, packed in page:
        try:
            rows.append(decision_row(unpacked(decision_id, packed)))
        except UnreadableRecord as error:
            told = msgspec.json.encode({"decision_id": decision_id, "packed": packed}).decode()
            reason = f"decision_id {decision_id!r} cannot be read: {error.__cause__}"
            faults.append((told, reason))
    return rows, faults


def _read_outcomes(
    page: Sequence[str],
) -> tuple[list[tuple[dict[str, Any], list[dict[str, Any]]]], list[tuple[str, str]]]:
    """Return the rows of outcomes, and what could not be read with the reason."""
    rows: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    faults: list[tuple[str, str]] = []
    for text in page:
        try:
            rows.append(_outcome_rows(text))
        except (msgspec.MsgspecError, RegularsError) as error:
            named = msgspec.json.decode(text).get("event_id")
            faults.append((text, f"event_id {named!r} cannot be read: {error}"))
    return rows, faults


def _merge(
    write: LakeWrite,
    table: Table,
    rows: list[dict[str, Any]],
    report: IngestReport,
    clock: Clock,
    complete: Callable[[pd.DataFrame], None] = lambda _: None,
) -> int:
    if not rows:
        return 0
    frame = pd.DataFrame(rows).reindex(columns=list(table.names))
    complete(frame)
    merged = write.merge(table.name, table.to_arrow(frame), by_day=True)
    if merged.conflicts:
        changed = [rows[place] for place in merged.conflicts]
        faults = [
            (
                msgspec.json.encode(row, order="deterministic").decode(),
                f"{table.key} {row[table.key]!r} was told before with other content; an event does "
                "not change",
            )
            for row in changed
        ]
        _quarantine(write, table, faults, report, clock)
    return merged.new


def _quarantine(
    write: LakeWrite,
    table: Table,
    faults: list[tuple[str, str]],
    report: IngestReport,
    clock: Clock,
) -> None:
    """Keep what the lake cannot take where people find it, whole and each once.

    Args:
        faults: Each with its reason.
    """
    if not faults:
        return
    rows: list[dict[str, Any]] = [
        {
            "fault_id": f"outcomes|{table.name}|"
            + blake2b(told.encode(), digest_size=12).hexdigest(),
            "source": "outcomes",
            "table": table.name,
            "source_line": 1,
            "column": WHOLE_ROW,
            "value": told,
            "reason": reason,
            "at": clock.now(),
        }
        for told, reason in faults
    ]
    # One that was refused before keeps its first entry and is not counted again.
    new = write.merge(QUARANTINE.name, QUARANTINE.from_rows(rows)).new
    if new:
        report.refused += new
        report.reasons += [reason for _, reason in faults[: 5 - len(report.reasons)]]


def decision_row(record: DecisionRecord) -> dict[str, Any]:
    """Return a record as a row of the decisions' contract."""
    return {
        "decision_id": record.decision_id,
        "customer_id": record.customer_id,
        "at": record.at,
        "channel": record.channel,
        "known": record.known,
        "propensity_valid": record.propensity_valid,
        "policy": record.policy.kind,
        "experiments": encode(record.assignments).decode(),
        "slates": encode(record.slates).decode(),
        "record": encode(record).decode(),
    }


def _outcome_rows(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an outcome as a row of the interactions' contract, and its lines as purchases."""
    outcome = msgspec.json.decode(text, type=Outcome)
    return _interaction(outcome), list(_lines(outcome))


def _interaction(outcome: Outcome) -> dict[str, Any]:
    money = outcome.value is not None and outcome.kind in MONEY_KINDS
    return {
        "event_id": outcome.event_id,
        "customer_id": outcome.customer_id,
        "at": outcome.at.astimezone(UTC),
        "channel": outcome.channel,
        "touchpoint": outcome.touchpoint,
        "kind": outcome.kind,
        "offer_id": outcome.offer_id,
        "decision_id": outcome.decision_id,
        "order_id": outcome.order_id,
        "value": float(to_minor(outcome.value)) if money else outcome.value,
        "text": outcome.text,
    }


def _lines(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for line in outcome.lines:
        yield {
            "line_id": line.line_id,
            "customer_id": outcome.customer_id,
            "order_id": outcome.order_id or outcome.event_id,
            "product_id": line.product_id,
            "store_id": outcome.store_id,
            "channel": outcome.channel,
            "at": outcome.at.astimezone(UTC),
            "quantity": line.quantity,
            "amount": to_minor(line.amount),
            "discount": to_minor(line.discount),
            "offer_discount": to_minor(line.offer_discount),
            "offer_id": line.offer_id,
            "returns_line_id": line.returns_line_id,
        }


def _zones(lake: Lake) -> dict[str, str]:
    rows = lake.fetch(lake.table("stores").select("store_id", "time_zone")).to_pylist()
    return {row["store_id"]: row["time_zone"] for row in rows}


def _localise(frame: pd.DataFrame, zones: dict[str, str], otherwise: str) -> None:
    zone = frame["store_id"].map(zones).fillna(otherwise)
    days, hours = frame["local_day"].astype("Int64"), frame["local_hour"].astype("Int64")
    for name in zone.unique():
        part = frame[zone == name].copy()
        add_local_time(part, name)
        days.loc[part.index] = part["local_day"]
        hours.loc[part.index] = part["local_hour"]
    frame["local_day"], frame["local_hour"] = days, hours

"""Living segments: rules under a name, kept with every version, refreshed by every run.

A segment may ask for another one, so runs refresh them in an order in which each finds what it
asks for; a circle of segments has no such order and is refused.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from foundation.errors import RegularsError
from foundation.rules import MEMBER, Rule, SegmentIn, leaves
from foundation.texts import storable
from segmentation.lifecycle import STATES
from segmentation.rfm import GROUPS

# Everybody whom a living segment does not hold; she is in no group of it that rules could ask for.
NOT_MEMBER = "not member"

Status = Literal["active", "archived"]

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class InvalidSegment(RegularsError):
    """A definition that cannot be kept; the line gives the fault and what would be right."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment as its author writes it; `rule` is the JSON document."""

    segment_id: str
    name: str
    rule: Any
    author: str
    note: str | None
    status: Status


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a living segment."""

    draft: Draft
    version: int
    at: datetime


def read_draft(document: Any) -> Draft:
    """Return the segment a file describes: id, name, rule, author, and note and status at will.

    Raises:
        InvalidSegment: A key is missing, unknown or of the wrong kind.
    """
    if not isinstance(document, dict):
        raise InvalidSegment(f"segment: {document!r} is no mapping; write id, name, rule, author")
    for key in document:
        if key not in ("id", "name", "rule", "author", "note", "status"):
            raise InvalidSegment(
                f"segment: key {key!r} is unknown; allowed are id, name, rule, author, note, status"
            )
    for key in ("id", "name", "author"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise InvalidSegment(f"segment.{key}: {document.get(key)!r} is no text; write one")
    segment_id, note = document["id"], document.get("note")
    if not _ID.fullmatch(segment_id):
        raise InvalidSegment(
            f"segment.id: {segment_id!r} is no id; write it like coffee-lovers, in small letters, "
            "digits and single dashes"
        )
    if "rule" not in document:
        raise InvalidSegment("segment.rule: is missing; write who is in")
    if note is not None and not isinstance(note, str):
        raise InvalidSegment(f"segment.note: {note!r} is no text; write why you change it")
    for key in ("name", "author", "note"):
        if not storable(document.get(key) or ""):
            raise InvalidSegment(
                f"segment.{key}: {document[key]!r} holds a null character or half a character; "
                "take it out"
            )
    status = document.get("status", "active")
    if status not in ("active", "archived"):
        raise InvalidSegment(f"segment.status: {status!r} is none of active, archived")
    return Draft(segment_id, document["name"], document["rule"], document["author"], note, status)


def in_order(rules: Mapping[str, Rule]) -> list[str]:
    """Return segments so that each comes after those it asks for.

    Args:
        rules: Each living segment's rule, by its id; other segmentations are there anyway.

    Raises:
        InvalidSegment: Segments ask for each other in a circle; the line writes it out.
    """
    order = TopologicalSorter[str]()
    for segment_id, rule in sorted(rules.items()):
        order.add(segment_id, *sorted(asked_segments(rule) & rules.keys()))
    try:
        return list(order.static_order())
    except CycleError as error:
        # Listed from who is asked to who asks.
        circle = " asks for ".join(reversed(error.args[1]))
        raise InvalidSegment(
            f"segments ask for each other in a circle: {circle}; take one of these out"
        ) from error


def circles(rules: Mapping[str, Rule]) -> dict[str, str]:
    """Return the segments of each circle with the line that writes it out; the others are sound."""
    found: dict[str, str] = {}
    while True:
        rest = {name: rule for name, rule in rules.items() if name not in found}
        try:
            in_order(rest)
        except InvalidSegment as error:
            cycle = error.__cause__
            assert isinstance(cycle, CycleError)  # noqa: S101  in_order raises it from nothing else
            found |= dict.fromkeys(cycle.args[1], str(error))
        else:
            return found


def asked_segments(rule: Rule) -> frozenset[str]:
    """Return the segments and segmentations a rule asks for."""
    return frozenset(leaf.segment for leaf in leaves(rule) if isinstance(leaf, SegmentIn))


def check_groups(rule: Rule) -> None:
    """Refuse groups that no customer can ever be in: a typing error would pass for an empty set.

    Names of clusters come and go with their fits, so they are not judged.

    Raises:
        InvalidSegment: A group of rfm or lifecycle does not exist, or one of a living segment is
            asked for, which knows members only; the line names those that do.
    """
    known: dict[str, Mapping[str, str]] = {"rfm": GROUPS, "lifecycle": STATES}
    for leaf in leaves(rule):
        if not isinstance(leaf, SegmentIn) or leaf.segment == "cluster":
            continue
        there = {name.lower(): name for name in known.get(leaf.segment, (MEMBER,))}
        for group in leaf.groups:
            if group in there.values():
                continue
            close = difflib.get_close_matches(group.lower(), there, 1)
            meant = f", did you mean {there[close[0]]!r}?" if close else ";"
            raise InvalidSegment(
                f"segment {leaf.segment!r} has no group {group!r}{meant} there are: "
                f"{', '.join(there.values())}"
            )

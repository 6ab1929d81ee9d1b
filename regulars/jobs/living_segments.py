"""Living segments in the lake: saved in versions, refreshed by each run, known as of a time."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.attributes import attribute_kinds, attributes_of
from foundation.contracts import MEMBERSHIPS, SEGMENT_DEFINITIONS
from foundation.counted_events import Count, with_counts
from foundation.lake import Lake, LakeWrite
from foundation.people import vocabulary_of
from foundation.profile import SEGMENTATIONS
from foundation.rule_sets import holds, segment_column
from foundation.rules import MEMBER, InvalidRule, Rule, Vocabulary, counts, read_rule
from regulars.jobs.runs import all_runs, counting
from segmentation.living import (
    NOT_MEMBER,
    Definition,
    Draft,
    InvalidSegment,
    asked_segments,
    check_groups,
    circles,
    in_order,
)

# The people table of the newest run, in the order of its event index.
PEOPLE = "people"
# The lake's note of what the newest run could not refresh; of older ones it would only grow.
NOT_REFRESHED = "segments not refreshed"


@dataclass(frozen=True)
class Refreshed:
    """What a run made of the stored rules.

    `members` are boolean masks over the people, by living segment; `times` the counted events
    that stored rules ask for, shape (people,) each, by name; `refused` says of each segment that
    could not be refreshed why.
    """

    definitions: Mapping[str, Definition]
    members: Mapping[str, np.ndarray]
    times: Mapping[str, np.ndarray]
    refused: Mapping[str, str]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: int(mask.sum()) for name, mask in self.members.items()}


def definitions(lake: Lake) -> dict[str, list[Definition]]:
    """Return every living segment's versions, the newest last."""
    stored = lake.table(SEGMENT_DEFINITIONS.name).order_by("segment_id", "version")
    found: dict[str, list[Definition]] = {}
    for row in lake.fetch(stored).to_pylist():
        draft = Draft(
            row["segment_id"],
            row["name"],
            json.loads(row["rule"]),
            row["author"],
            row["note"],
            row["status"],
        )
        found.setdefault(draft.segment_id, []).append(Definition(draft, row["version"], row["at"]))
    return found


def newest_sizes(lake: Lake) -> dict[str, int]:
    """Return how many members each living segment had in the newest run."""
    runs = counting(all_runs(lake))
    if not runs:
        return {}
    stored = lake.table(MEMBERSHIPS.name).filter(lambda t: t.run_id == runs[-1].run_id)
    sizes = stored.select("segment_id", size=stored.members.length())
    return {row["segment_id"]: row["size"] for row in lake.fetch(sizes).to_pylist()}


def history(lake: Lake, segment_id: str) -> list[Definition]:
    """Return a segment's versions, the newest last.

    Raises:
        InvalidSegment: There is no such segment.
    """
    stored = definitions(lake)
    if segment_id not in stored:
        known = ", ".join(stored) or "none yet"
        raise InvalidSegment(f"segment {segment_id!r} does not exist; there are: {known}")
    return stored[segment_id]


def active(lake: Lake) -> dict[str, Definition]:
    """Return the newest version of every segment that runs refresh."""
    newest = {segment_id: versions[-1] for segment_id, versions in definitions(lake).items()}
    return {name: one for name, one in newest.items() if one.draft.status == "active"}


def save(lake: Lake, draft: Draft, features: Sequence[str], at: datetime) -> Definition:
    """Keep a segment as its next version; runs refresh it from now on.

    Args:
        features: Names of this deployment's features.

    Raises:
        InvalidSegment: Its id names a segmentation, it closes a circle of segments, or it is
            archived while another one asks for it, or its rule names a group there is not.
        InvalidRule: Its rule; the line gives the path of the fault.
    """
    if draft.segment_id in SEGMENTATIONS:
        raise InvalidSegment(
            f"segment.id: {draft.segment_id!r} is a segmentation; choose another id"
        )
    attributes = known_attributes(lake)
    # The lake's write is exclusive, so no version is taken between the look and the commit.
    with lake.write() as write:
        versions = definitions(lake)
        stored = {name: one.draft.rule for name, one in active(lake).items()}
        stored.pop(draft.segment_id, None)
        if draft.status == "active":
            stored[draft.segment_id] = draft.rule
        known = Vocabulary(features, (*SEGMENTATIONS, *stored), attributes)
        rule = read_rule(
            draft.rule, Vocabulary(features, (*known.segments, draft.segment_id), attributes)
        )
        check_groups(rule)
        _check_asked(draft, stored, rule, known)
        version = len(versions.get(draft.segment_id, ())) + 1
        row = {
            "definition_id": f"{draft.segment_id}|{version}",
            "segment_id": draft.segment_id,
            "version": version,
            "name": draft.name,
            "rule": json.dumps(draft.rule),
            "author": draft.author,
            "at": at,
            "note": draft.note,
            "status": draft.status,
        }
        write.merge(SEGMENT_DEFINITIONS.name, SEGMENT_DEFINITIONS.from_rows([row]))
    return Definition(draft, version, at)


def _check_asked(draft: Draft, stored: Mapping[str, Any], rule: Rule, known: Vocabulary) -> None:
    rules = {draft.segment_id: rule} if draft.status == "active" else {}
    anyone = Vocabulary(known.features, (*known.segments, draft.segment_id), known.attributes)
    for name, document in stored.items():
        if name == draft.segment_id:
            continue
        try:
            rules[name] = read_rule(document, anyone)
        except InvalidRule:
            # Broken since it was saved; its run says so, and this one need not wait for it.
            continue
        if draft.status == "archived" and draft.segment_id in asked_segments(rules[name]):
            raise InvalidSegment(
                f"segment {draft.segment_id!r} cannot be archived: {name!r} asks for it; change "
                "that one first"
            )
    in_order(rules)


def known_attributes(lake: Lake) -> Mapping[str, Collection[Any]]:
    """Return the kinds in which each attribute's values come, as of the newest run."""
    people = lake.derived(PEOPLE)
    if people is not None:
        return vocabulary_of(people.columns).attributes
    customers = lake.fetch(lake.table("customers")).to_pylist()
    return attribute_kinds(attributes_of(row) for row in customers)


def refresh(
    lake: Lake, people: arrow.Table, asked_rules: Sequence[Any], as_of: datetime
) -> Refreshed:
    """Evaluate every active segment, and count what stored rules ask for.

    Args:
        people: The run's people table.
        asked_rules: Eligibility of offers and audiences of experiments, as documents, whose
            counted events the snapshot needs too.
    """
    stored = active(lake)
    known = vocabulary_of(people.column_names)
    vocabulary = Vocabulary(known.features, (*known.segments, *stored), known.attributes)
    rules: dict[str, Rule] = {}
    refused: dict[str, str] = {}
    for name, definition in stored.items():
        try:
            rule = read_rule(definition.draft.rule, vocabulary)
            check_groups(rule)
            rules[name] = rule
        except (InvalidRule, InvalidSegment) as error:
            refused[name] = str(error)
    asked = {count.name: count for rule in rules.values() for count in counts(rule)}
    for document in asked_rules:
        try:
            asked |= {count.name: count for count in counts(read_rule(document, vocabulary))}
        except InvalidRule:
            # Decisions say so: of an offer its refusal, of an experiment a cause.
            continue
    for name, reason in circles(rules).items():
        refused[name] = reason
        del rules[name]
    order = [name for name in in_order(rules) if _refreshable(name, rules, refused)]
    table, found = _evaluated(
        lake, people, list(asked.values()), [(n, rules[n]) for n in order], as_of
    )
    places = table["place"].to_numpy()
    return Refreshed(
        stored,
        {name: _by_place(places, found[name].is_valid()) for name in order},
        {name: _by_place(places, table[name]) for name in asked},
        refused,
    )


def _refreshable(name: str, rules: Mapping[str, Rule], refused: dict[str, str]) -> bool:
    missing = sorted(asked_segments(rules[name]) & refused.keys())
    if missing:
        refused[name] = f"asks for {missing[0]!r}, which could not be refreshed; mend that one"
    return not missing


def _evaluated(
    lake: Lake,
    people: arrow.Table,
    asked: Sequence[Count],
    rules: Sequence[tuple[str, Rule]],
    as_of: datetime,
) -> tuple[arrow.Table, dict[str, Any]]:
    place = arrow.array(np.arange(people.num_rows, dtype=np.int32))
    table: Any = with_counts(lake.memory(people.append_column("place", place)), lake, asked, as_of)
    for name, rule in rules:
        member = ibis.ifelse(holds(rule, table), ibis.literal(MEMBER), ibis.null("string"))
        table = table.mutate(**{segment_column(name): member})
    columns = [segment_column(name) for name, _ in rules]
    found = lake.fetch(table.select("place", *(count.name for count in asked), *columns))
    return found, {name: found[segment_column(name)] for name, _ in rules}


def _by_place(places: np.ndarray, column: Any) -> np.ndarray:
    values = column.to_numpy()
    ordered = np.empty_like(values)
    ordered[places] = values
    return ordered


def labels(refreshed: Refreshed, customers: pd.Index) -> pd.DataFrame:
    """Return who is a member and who is not: a column a living segment, index as `customers`."""
    return pd.DataFrame(
        {
            name: np.where(mask, MEMBER, NOT_MEMBER).astype(object)
            for name, mask in refreshed.members.items()
        },
        index=customers,
    )


def with_members(people: arrow.Table, refreshed: Refreshed) -> arrow.Table:
    """Return the people table with a column a living segment."""
    for name, mask in refreshed.members.items():
        members = arrow.DictionaryArray.from_arrays(
            arrow.array(np.zeros(len(mask), dtype=np.int8), mask=~mask), arrow.array([MEMBER])
        )
        people = people.append_column(segment_column(name), members.cast(arrow.string()))
    return people


def store_memberships(
    write: LakeWrite,
    customers: np.ndarray,
    refreshed: Refreshed,
    *,
    run_id: str,
    as_of: datetime,
    at: datetime,
) -> None:
    """Write each segment's members, and why some have none, in the run's own commit."""
    write.remember(NOT_REFRESHED, json.dumps({run_id: dict(refreshed.refused)}))
    rows = [
        {
            "membership_id": f"{run_id}|{name}",
            "run_id": run_id,
            "as_of": as_of,
            "at": at,
            "segment_id": name,
            "version": refreshed.definitions[name].version,
            "members": customers[mask].tolist(),
        }
        for name, mask in refreshed.members.items()
    ]
    write.merge(MEMBERSHIPS.name, MEMBERSHIPS.from_rows(rows))


def refused_in(lake: Lake, run_id: str) -> dict[str, str]:
    """Return why a run did not refresh segments, as far as it is still known."""
    return json.loads(lake.note(NOT_REFRESHED) or "{}").get(run_id, {})

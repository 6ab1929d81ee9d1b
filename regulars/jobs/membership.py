"""Membership: who was in a living segment, as it was known then or as it is known today."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.contracts import MEMBERSHIPS, PURCHASES
from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.people import people_table, vocabulary_of
from foundation.profile import SEGMENTATIONS
from foundation.rule_sets import holds
from foundation.rules import read_rule
from foundation.settings import Settings
from regulars.jobs.customers import (
    customer_attributes,
    customer_features,
    customer_groups,
    registry,
)
from regulars.jobs.living_segments import (
    active,
    definitions,
    history,
    refresh,
    refused_in,
    with_members,
)
from regulars.jobs.runs import Run, all_runs, counting
from segmentation.living import Definition, InvalidSegment, check_groups


@dataclass(frozen=True)
class Membership:
    """Who was in a segment: by a stored run, or, with no run_id, evaluated today."""

    segment_id: str
    version: int
    run_id: str | None
    as_of: datetime
    members: tuple[str, ...]

    def table(self) -> arrow.Table:
        """Return a row a member: customer_id, segment_id, version, as_of."""
        n = len(self.members)
        return arrow.table(
            {
                "customer_id": arrow.array(self.members, arrow.string()),
                "segment_id": arrow.array([self.segment_id] * n, arrow.string()),
                "version": arrow.array([self.version] * n, arrow.int64()),
                "as_of": arrow.array([self.as_of] * n, arrow.timestamp("us", tz="UTC")),
            }
        )


def membership_known_at(lake: Lake, segment_id: str, at: datetime) -> Membership:
    """Return who was in a segment as it was known at an instant.

    That is the newest run that had been made by then: what was loaded or returned later, though
    it happened before, is not in it.

    Raises:
        NothingToDo: No run had been made by then, the newest one did not refresh the segment, or
            the segment had been archived.
        InvalidSegment: There is no such segment.
    """
    known = f"{at:%Y-%m-%d %H:%M} UTC"
    runs = [run for run in counting(all_runs(lake, made_by=at)) if run.as_of <= at]
    then = [one for one in definitions(lake).get(segment_id, []) if one.at <= at]
    if then and then[-1].draft.status == "archived":
        raise NothingToDo(
            f"segment {segment_id!r} had been archived since {then[-1].at:%Y-%m-%d %H:%M} UTC, "
            f"so it had no members at {known}; name an earlier time"
        )
    rows: Any = lake.table(MEMBERSHIPS.name)
    rows = rows.filter(rows.segment_id == segment_id)
    told = lake.fetch(rows.filter(rows.run_id == runs[-1].run_id)) if runs else None
    if told is not None and told.num_rows:
        (row,) = told.to_pylist()
        return Membership(
            segment_id, row["version"], row["run_id"], row["as_of"], tuple(row["members"])
        )
    if runs and then:
        run = runs[-1]
        raise NothingToDo(
            f"segment {segment_id!r} was not refreshed in run {run.run_id}, the newest by {known}: "
            f"{_why_not(lake, run, then[-1])}"
        )
    # Says which segments there are.
    history(lake, segment_id)
    raise NothingToDo(
        f"segment {segment_id!r} had no run by {known}; run 'regulars segment' if it is new, name "
        "a later time, or --recompute from what is known today"
    )


def _why_not(lake: Lake, run: Run, then: Definition) -> str:
    if then.at > run.made_at:
        return f"version {then.version} was saved after it; run 'regulars segment' again"
    return refused_in(lake, run.run_id).get(
        then.draft.segment_id, "the run itself said why; --recompute from what is known today"
    )


def membership_recomputed(
    lake: Lake, settings: Settings, segment_id: str, as_of: datetime
) -> Membership:
    """Return who was in a segment at an instant by what is known today.

    Events before the instant count whenever they were loaded. The rule is the newest version, and
    attributes are today's: the lake keeps no older ones.

    Raises:
        InvalidSegment: It is not active, or its rule cannot be evaluated; the line says why.
    """
    lake = lake.pinned()
    stored = active(lake)
    if segment_id not in stored:
        known = ", ".join(sorted(stored)) or "none yet"
        raise InvalidSegment(f"segment {segment_id!r} is not active; active are: {known}")
    people, values = _people(lake, settings, as_of)
    found = refresh(lake, people, [], as_of)
    if segment_id in found.refused:
        raise InvalidSegment(f"segment {segment_id!r}: {found.refused[segment_id]}")
    members = values.index.to_numpy()[found.members[segment_id]]
    return Membership(segment_id, stored[segment_id].version, None, as_of, tuple(members.tolist()))


def held_by(lake: Lake, settings: Settings, document: Any, as_of: datetime) -> list[str]:
    """Return the customers whom a rule holds at an instant, by what is known today.

    Raises:
        InvalidRule: The path of the fault, and what is allowed there.
        InvalidSegment: It names a group of a segmentation that there is not.
    """
    lake = lake.pinned()
    people, values = _people(lake, settings, as_of)
    found = refresh(lake, people, [document], as_of)
    everybody = with_members(people, found)
    rule = read_rule(document, vocabulary_of(everybody.column_names))
    check_groups(rule)
    for name, times in found.times.items():
        everybody = everybody.append_column(name, arrow.array(times))
    place = arrow.array(np.arange(everybody.num_rows, dtype=np.int32))
    table: Any = lake.memory(everybody.append_column("place", place))
    places = lake.fetch(table.filter(holds(rule, table)).select("place"))["place"].to_numpy()
    return values.index.to_numpy()[np.sort(places)].tolist()


def _people(lake: Lake, settings: Settings, as_of: datetime) -> tuple[arrow.Table, pd.DataFrame]:
    """Return the people table as of an instant, and their features in the same order."""
    values = customer_features(lake, as_of)
    groups = customer_groups(lake, settings, values, as_of, PURCHASES.name).rows
    features = [feature.name for feature in registry(lake)]
    people = people_table(
        values[features], groups[list(SEGMENTATIONS)], customer_attributes(lake, values.index)
    )
    return people, values

"""Movement between the two newest runs: drift and migration; and how living segments overlap.

A living segment moves as a segmentation of members and others does.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from foundation.contracts import MEMBERSHIPS, SEGMENTS
from foundation.drift import Drift, drift
from foundation.errors import NothingToDo, TooLittleData
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from foundation.rules import MEMBER
from regulars.jobs.runs import all_runs, counting
from segmentation.living import NOT_MEMBER
from segmentation.movement import Flow, migration, overlap_matrix


@dataclass(frozen=True)
class MovementReport:
    """Two runs side by side, by segmentation and living segment.

    One whose drift is refused stands in `refused`; so does a living segment that only one of the
    runs refreshed, which has no migration either.
    """

    before: str
    now: str
    drift: dict[str, Drift]
    refused: dict[str, str]
    migration: dict[str, list[Flow]]
    overlap: dict[str, dict[str, int]]


def movement(lake: Lake) -> MovementReport:
    """Compare the newest run with that of the instant before.

    Raises:
        NothingToDo: There are not runs of two instants yet.
    """
    newest = counting(all_runs(lake))[-2:]
    if len(newest) < 2:
        raise NothingToDo(
            "movement needs runs of two instants; run 'regulars segment' again another day"
        )
    before, now = (run.run_id for run in newest)
    groups = {run_id: _groups(lake, run_id) for run_id in (before, now)}
    drifts: dict[str, Drift] = {}
    refused: dict[str, str] = {}
    members = {run_id: _members(lake, run_id) for run_id in (before, now)}
    for name in sorted(members[before].keys() | members[now].keys()):
        missing = [run_id for run_id in (before, now) if name not in members[run_id]]
        if missing:
            refused[name] = f"run {missing[0]} did not refresh it, so nobody knows who entered"
            continue
        for run_id in (before, now):
            held = members[run_id][name].members
            groups[run_id][name] = {
                customer: MEMBER if customer in held else NOT_MEMBER
                for customer in groups[run_id][SEGMENTATIONS[0]]
            }
    moved = list(groups[now])
    for name in moved:
        versions = [
            members[run_id][name].version for run_id in (before, now) if name in members[run_id]
        ]
        if len(set(versions)) > 1:
            refused[name] = (
                f"its rule changed from version {versions[0]} to {versions[1]}, so its size moved "
                "by hand; who entered and left stands below"
            )
            continue
        sizes = [dict(Counter(groups[run_id][name].values())) for run_id in (before, now)]
        try:
            drifts[name] = drift(sizes[0], sizes[1])
        except TooLittleData as error:
            refused[name] = str(error)
    return MovementReport(
        before,
        now,
        drifts,
        refused,
        {name: migration(groups[before][name], groups[now][name]) for name in moved},
        overlap_matrix({name: held.members for name, held in members[now].items()}),
    )


def _groups(lake: Lake, run_id: str) -> dict[str, dict[str, str]]:
    rows: Any = lake.table(SEGMENTS.name)
    found = lake.fetch(rows.filter(rows.run_id == run_id)).to_pydict()
    return {
        name: dict(zip(found["customer_id"], found[name], strict=True)) for name in SEGMENTATIONS
    }


@dataclass(frozen=True)
class _Held:
    version: int
    members: set[str]


def _members(lake: Lake, run_id: str) -> dict[str, _Held]:
    rows: Any = lake.table(MEMBERSHIPS.name)
    found = lake.fetch(rows.filter(rows.run_id == run_id).order_by("segment_id")).to_pylist()
    return {row["segment_id"]: _Held(row["version"], set(row["members"])) for row in found}

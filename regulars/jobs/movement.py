"""Movement between the two newest runs: drift and migration; and how living segments overlap."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from foundation.contracts import MEMBERSHIPS, SEGMENTS
from foundation.drift import Drift, drift
from foundation.errors import NothingToDo, TooLittleData
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from regulars.jobs.runs import all_runs, counting
from segmentation.movement import Flow, migration, overlap_matrix


@dataclass(frozen=True)
class MovementReport:
    """Two runs side by side; a segmentation whose drift is refused stands in `refused`."""

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
    for name in SEGMENTATIONS:
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
        {name: migration(groups[before][name], groups[now][name]) for name in SEGMENTATIONS},
        overlap_matrix(_members(lake, now)),
    )


def _groups(lake: Lake, run_id: str) -> dict[str, dict[str, str]]:
    rows: Any = lake.table(SEGMENTS.name)
    found = lake.fetch(rows.filter(rows.run_id == run_id)).to_pydict()
    return {
        name: dict(zip(found["customer_id"], found[name], strict=True)) for name in SEGMENTATIONS
    }


def _members(lake: Lake, run_id: str) -> dict[str, set[str]]:
    rows: Any = lake.table(MEMBERSHIPS.name)
    found = lake.fetch(rows.filter(rows.run_id == run_id).order_by("segment_id")).to_pylist()
    return {row["segment_id"]: set(row["members"]) for row in found}

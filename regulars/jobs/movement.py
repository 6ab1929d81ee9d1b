"""Movement between the two newest runs: drift and migration; and how living segments overlap.

A living segment moves as a segmentation of members and others does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as arrow
import pyarrow.compute

from foundation.contracts import MEMBERSHIPS, SEGMENTS
from foundation.drift import Drift, drift
from foundation.errors import NothingToDo, TooLittleData
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from foundation.rules import MEMBER
from regulars.jobs.runs import all_runs, counting
from segmentation.living import NOT_MEMBER
from segmentation.movement import Flow, Groups, migration, overlap_matrix

# Its functions are made when it is imported, so that a checker knows of none.
compute: Any = pyarrow.compute


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
    stored = {run_id: _rows(lake, run_id) for run_id in (before, now)}
    everyone = compute.unique(arrow.chunked_array(rows["customer_id"] for rows in stored.values()))
    groups = {run_id: _groups(rows, everyone) for run_id, rows in stored.items()}
    drifts: dict[str, Drift] = {}
    refused: dict[str, str] = {}
    held = {run_id: _held(lake, run_id, everyone) for run_id in (before, now)}
    for name in sorted(held[before].keys() | held[now].keys()):
        missing = [run_id for run_id in (before, now) if name not in held[run_id]]
        if missing:
            refused[name] = f"run {missing[0]} did not refresh it, so nobody knows who entered"
            continue
        for run_id in (before, now):
            there = groups[run_id][SEGMENTATIONS[0]].codes >= 0
            codes = np.where(there, (~held[run_id][name].members).astype(np.int8), -1)
            groups[run_id][name] = _coded(codes, [MEMBER, NOT_MEMBER])
    moved = list(groups[now])
    for name in moved:
        versions = [held[run_id][name].version for run_id in (before, now) if name in held[run_id]]
        if len(set(versions)) > 1:
            refused[name] = (
                f"its rule changed from version {versions[0]} to {versions[1]}, so its size moved "
                "by hand; who entered and left stands below"
            )
            continue
        sizes = [_sizes(groups[run_id][name]) for run_id in (before, now)]
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
        overlap_matrix({name: one.members for name, one in held[now].items()}),
    )


def _rows(lake: Lake, run_id: str) -> arrow.Table:
    rows: Any = lake.table(SEGMENTS.name)
    return lake.fetch(rows.filter(rows.run_id == run_id).select("customer_id", *SEGMENTATIONS))


def _groups(rows: arrow.Table, everyone: arrow.Array) -> dict[str, Groups]:
    """Return each segmentation's group of everyone, missing who is not in the run."""
    # Where the run has each of them: codes are a byte a customer, her id would be sixty.
    place = compute.index_in(everyone, value_set=rows["customer_id"])
    found: dict[str, Groups] = {}
    for name in SEGMENTATIONS:
        coded = rows[name].combine_chunks().dictionary_encode()
        codes = coded.indices.take(place).fill_null(-1).to_numpy(zero_copy_only=False)
        found[name] = _coded(codes, coded.dictionary.to_pylist())
    return found


def _coded(codes: npt.NDArray[np.integer], names: list[str]) -> Groups:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(names))


def _sizes(groups: Groups) -> dict[str, float]:
    counts = np.bincount(groups.codes[groups.codes >= 0], minlength=len(groups.categories))
    return {str(name): int(n) for name, n in zip(groups.categories, counts, strict=True) if n}


@dataclass(frozen=True)
class _Held:
    """A living segment in a run; `members` is a mask over everyone."""

    version: int
    members: npt.NDArray[np.bool_]


def _held(lake: Lake, run_id: str, everyone: arrow.Array) -> dict[str, _Held]:
    rows: Any = lake.table(MEMBERSHIPS.name)
    found = lake.fetch(rows.filter(rows.run_id == run_id).order_by("segment_id"))
    held: dict[str, _Held] = {}
    for place, name in enumerate(found["segment_id"].to_pylist()):
        members = compute.is_in(everyone, value_set=found["members"][place].values)
        held[name] = _Held(found["version"][place].as_py(), members.to_numpy(zero_copy_only=False))
    return held

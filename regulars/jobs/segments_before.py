"""Segments before: in which segments was everybody as known when an experiment started?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import ibis
import pandas as pd

from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from regulars.jobs.membership import membership_known_at
from segmentation.living import InvalidSegment


@dataclass(frozen=True)
class SegmentsBefore:
    """customer_id, segmentation and segment; a living segment has members only.

    `as_of` is what the segmentations knew then (ISO), `refused` says which there are none of.
    """

    rows: pd.DataFrame
    as_of: str | None
    refused: str | None


def segments_before(lake: Lake, planned: Sequence[str], start: datetime) -> SegmentsBefore:
    """Return the segments of the newest runs that had been made by the start.

    Args:
        planned: The plan's segmentations; what is none of SEGMENTATIONS is a living segment.
        start: When the first unit was assigned.
    """
    limit = ibis.literal(start)
    told = lake.table("segments")
    known = told.filter((told.made_at <= limit) & (told.as_of <= limit))
    newest = lake.fetch(
        known.order_by(ibis.desc("as_of"), ibis.desc("made_at"), ibis.desc("run_id"))
        .select("run_id", "as_of")
        .limit(1)
    ).to_pylist()
    parts: list[pd.DataFrame] = []
    refusals: list[str] = []
    if newest:
        run = lake.fetch(
            known.filter(known.run_id == newest[0]["run_id"]).select("customer_id", *SEGMENTATIONS)
        ).to_pandas()
        parts.append(run.melt("customer_id", var_name="segmentation", value_name="segment"))
    else:
        refusals.append(
            f"no run of 'regulars segment' had been made by {start:%Y-%m-%d %H:%M} UTC, when the "
            "experiment began; segments of later would show its own work: segment before the next"
        )
    for segment_id in planned:
        if segment_id in SEGMENTATIONS:
            continue
        try:
            living = membership_known_at(lake, segment_id, start)
        except (NothingToDo, InvalidSegment) as refusal:
            refusals.append(str(refusal))
            continue
        parts.append(
            pd.DataFrame(
                {
                    "customer_id": list(living.members),
                    "segmentation": segment_id,
                    "segment": segment_id,
                }
            )
        )
    names = ["customer_id", "segmentation", "segment"]
    return SegmentsBefore(
        rows=pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names),
        as_of=newest[0]["as_of"].isoformat() if newest else None,
        refused="; ".join(refusals) or None,
    )

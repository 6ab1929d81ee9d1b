"""Who gained: what a variant changed in each segment, without believing the luckiest of many.

Segments are those of before the experiment: one that an offer moves customers into would show the
offer's work as that of the segment. Where customers are few, a segment is refused and not guessed.
"""

import msgspec

from experiments.effect import Effect
from experiments.multiplicity import Correction


class SegmentEffect(msgspec.Struct, frozen=True):
    """The effect on the primary metric in one segment; a row of the forest plot.

    `units` are the segment's by variant. `effect.p_adjusted` is by the `correction` of `WhoGained`,
    over all rows that are equally `exploratory` (not in the plan).
    """

    segmentation: str
    segment: str
    variant: str
    units: dict[str, int]
    effect: Effect
    exploratory: bool


class Differing(msgspec.Struct, frozen=True):
    """Whether a variant's effect differs between a segmentation's segments at all.

    `p` is Cochran's Q's over `segments` effects; None where fewer than two could be compared.
    """

    segmentation: str
    variant: str
    segments: int
    q: float | None
    p: float | None
    exploratory: bool


class WhoGained(msgspec.Struct, frozen=True):
    """Effects by segment; `as_of` (ISO) is what was known of customers then, before the start.

    `refused` says why there are none, or which segmentation has none. `without` counts units that
    were in no segment then.
    """

    metric: str
    correction: Correction
    rows: list[SegmentEffect] = msgspec.field(default_factory=list[SegmentEffect])
    differing: list[Differing] = msgspec.field(default_factory=list[Differing])
    as_of: str | None = None
    without: int = 0
    refused: str | None = None

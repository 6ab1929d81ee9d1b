"""The table of offers, channels and segments: where did which variant's offers earn their cost?

Every cell is a comparison with the control's units of the same channel and segment, so that it is
the offers' doing and not the customers'. The channel is that of the first decision, before anything
was shown.
"""

import msgspec

from experiments.effect import Effect


class OfferCell(msgspec.Struct, frozen=True):
    """What the offers of one variant earned in one channel and segment, beyond the control.

    `offers` are those the variant names; empty where it takes the whole catalogue. `effect` is a
    unit's, `incremental` that of all its `units` together with the same interval; without figures
    `effect.refused` says why. All are exploratory, adjusted by Benjamini and Hochberg.
    """

    variant: str
    offers: list[str]
    channel: str
    segment: str
    units: int
    control_units: int
    effect: Effect
    incremental: float | None = None
    incremental_low: float | None = None
    incremental_high: float | None = None


class OfferTable(msgspec.Struct, frozen=True):
    """The cells, of one metric and segmentation; `refused` says why there are none."""

    metric: str
    segmentation: str
    cells: list[OfferCell] = msgspec.field(default_factory=list[OfferCell])
    refused: str | None = None

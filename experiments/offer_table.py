"""The table of offers, channels and segments: where did which variant's offers earn their cost?

Every cell is a comparison with the control's units of the same channel and segment, so that it is
the offers' doing and not the customers'. The channel is that of the first decision, before anything
was shown.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec
import pandas as pd

from experiments.analysis import Plan, UnitFrame, effects, summed, with_adjusted
from experiments.effect import Effect
from experiments.metrics import Metric
from experiments.near_normal import LEAST_UNITS


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


def offer_table(
    name: str,
    metric: Metric,
    units: pd.DataFrame,
    segmentation: str,
    offers: Mapping[str, Sequence[str]],
    control: str,
    plan: Plan,
    confidence: float = 0.95,
) -> OfferTable:
    """Compare every variant with the control in every channel and segment.

    A cell with fewer than LEAST_UNITS units in either variant is "too few": so many cells would
    otherwise show the luckiest of the smallest.

    Args:
        name, metric: The metric, capped as everywhere in the report.
        units: One row a unit: variant, channel and segment (of before the start; gaps are left
            out) and the metric's columns.
        segmentation: What `segment` is of.
        offers: What the variants other than the control name, by variant.
        control: The variant to compare with.
        plan: How often, and when, one looks.
        confidence: Of every interval.

    Source: Benjamini and Hochberg 1995; cells of one variant share no unit, and variants that
    share a control move together, as the method allows.
    """
    cells: dict[str, dict[str, OfferCell]] = {}
    for (channel, segment), inside in units.dropna(subset=["channel", "segment"]).groupby(
        ["channel", "segment"]
    ):
        controls = inside[inside["variant"] == control]
        for variant, named in offers.items():
            treated = inside[inside["variant"] == variant]
            effect = _effect(name, metric, treated, controls, variant, control, plan, confidence)
            cells.setdefault(f"{channel}/{segment}", {})[variant] = OfferCell(
                variant=variant,
                offers=list(named),
                channel=str(channel),
                segment=str(segment),
                units=len(treated),
                control_units=len(controls),
                effect=effect,
            )
    adjusted = with_adjusted(
        {place: {v: one.effect for v, one in by.items()} for place, by in cells.items()},
        "benjamini_hochberg",
    )
    return OfferTable(
        metric=name,
        segmentation=segmentation,
        cells=[
            _summed_up(one, adjusted[place][variant])
            for place, by_variant in cells.items()
            for variant, one in by_variant.items()
        ],
    )


def _effect(
    name: str,
    metric: Metric,
    treated: pd.DataFrame,
    controls: pd.DataFrame,
    variant: str,
    control: str,
    plan: Plan,
    confidence: float,
) -> Effect:
    least = min(len(treated), len(controls))
    if least < LEAST_UNITS:
        return Effect(
            math.nan,
            math.nan,
            refused=f"too few: the smaller variant has {least} units here, a cell needs "
            f"{LEAST_UNITS}",
        )
    frame = UnitFrame(pd.concat([treated, controls]))
    sums = summed(frame, {name: metric})
    found = effects(frame, sums, {name: metric}, control, [variant], confidence, plan)
    return found[name][variant]


def _summed_up(cell: OfferCell, effect: Effect) -> OfferCell:
    if effect.difference is None or effect.low is None or effect.high is None:
        return msgspec.structs.replace(cell, effect=effect)
    return msgspec.structs.replace(
        cell,
        effect=effect,
        incremental=effect.difference * cell.units,
        incremental_low=effect.low * cell.units,
        incremental_high=effect.high * cell.units,
    )

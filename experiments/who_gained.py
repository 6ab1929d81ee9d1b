"""Who gained: what a variant changed in each segment, without believing the luckiest of many.

Segments are those of before the experiment: one that an offer moves customers into would show the
offer's work as that of the segment. Where customers are few, a segment is refused and not guessed.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd
from scipy import stats

from experiments.analysis import Once, Plan, UnitFrame, effects, summed, with_adjusted
from experiments.contrast import contrast
from experiments.effect import Effect
from experiments.metrics import Metric, Quantile, figure_of
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

    `p` is that of Cochran's Q over so many `segments`; None where fewer than two could be compared.
    It holds for one look: with a plan of several, it is exploratory.
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


def who_gained(
    name: str,
    metric: Metric,
    units: pd.DataFrame,
    segments: pd.DataFrame,
    planned: Sequence[str],
    control: str,
    treatments: Sequence[str],
    plan: Plan,
    confidence: float = 0.95,
    as_of: str | None = None,
    refused: str | None = None,
) -> WhoGained:
    """Compare the variants inside every segment, each unit's covariate taken into account.

    Args:
        name, metric: The primary metric, capped as everywhere in the report.
        units: One row a unit: unit_id, variant and the metric's columns.
        segments: unit_id, segmentation and segment, as of before the start; a unit may be in
            several.
        planned: The plan's segmentations; others are exploratory.
        control, treatments: The variants.
        plan: How often, and when, one looks.
        confidence: Of every interval.
        as_of, refused: As for `WhoGained`.

    Source: Benjamini and Hochberg 1995 where no unit is in two rows of a variant, else Benjamini
    and Yekutieli 2001; Cochran 1954.
    """
    rows: list[SegmentEffect] = []
    differing: list[Differing] = []
    place = pd.Index(units["unit_id"]).get_indexer(pd.Index(segments["unit_id"]))
    inside = segments.assign(place=place)[place >= 0]
    for segmentation, members in inside.groupby("segmentation"):
        exploratory = segmentation not in planned
        found: list[tuple[SegmentEffect, float | None]] = []
        for segment, one in members.groupby("segment"):
            frame = units.iloc[one["place"].to_numpy()]
            found += [
                (
                    SegmentEffect(
                        str(segmentation), str(segment), variant, counts, effect, exploratory
                    ),
                    variance,
                )
                for variant, counts, effect, variance in _compared(
                    name, metric, frame, control, treatments, plan, confidence
                )
            ]
        rows += [row for row, _ in found]
        whole = not bool(members["place"].duplicated().any())
        differing += [
            _differing(str(segmentation), variant, found, exploratory or not isinstance(plan, Once))
            for variant in treatments
            # Cochran's Q is for segments that have no unit in common.
            if whole
        ]
    overlapping = bool(inside["place"].duplicated().any())
    correction: Correction = "benjamini_yekutieli" if overlapping else "benjamini_hochberg"
    return WhoGained(
        metric=name,
        correction=correction,
        rows=_adjusted(rows, correction),
        differing=differing,
        as_of=as_of,
        without=len(units) - inside["place"].nunique(),
        refused=refused,
    )


def _compared(
    name: str,
    metric: Metric,
    frame: pd.DataFrame,
    control: str,
    treatments: Sequence[str],
    plan: Plan,
    confidence: float,
) -> list[tuple[str, dict[str, int], Effect, float | None]]:
    """Return each variant's units, effect and variance of the difference."""
    counted = frame["variant"].value_counts()
    seen = {variant: int(counted.get(variant, 0)) for variant in (control, *treatments)}
    told: list[tuple[str, dict[str, int], Effect, float | None]] = []
    for variant in treatments:
        counts = {control: seen[control], variant: seen[variant]}
        if not min(counts.values()):
            empty = next(one for one, count in counts.items() if not count)
            refused = f"too few: nobody of the segment is in {empty}"
            told.append((variant, counts, Effect(math.nan, math.nan, refused=refused), None))
            continue
        pair = frame[frame["variant"].isin([control, variant])]
        units = UnitFrame(pair)
        sums = summed(units, {name: metric})
        found = effects(units, sums, {name: metric}, control, [variant], confidence, plan)
        variance: float | None = None
        if not isinstance(metric, Quantile):
            both = sums[name]
            variance = float(contrast(figure_of(metric), both[variant], both[control]).variance)
        told.append((variant, counts, found[name][variant], variance))
    return told


def _differing(
    segmentation: str,
    variant: str,
    found: Sequence[tuple[SegmentEffect, float | None]],
    exploratory: bool,
) -> Differing:
    usable = [
        (row.effect.difference, variance)
        for row, variance in found
        if row.variant == variant and row.effect.difference is not None and variance
    ]
    if len(usable) < 2:
        return Differing(segmentation, variant, len(usable), None, None, exploratory)
    difference = np.array([one for one, _ in usable])
    weight = 1 / np.array([variance for _, variance in usable])
    q = float(weight @ (difference - weight @ difference / weight.sum()) ** 2)
    p = float(stats.chi2.sf(q, len(usable) - 1))
    return Differing(segmentation, variant, len(usable), q, p, exploratory)


def _adjusted(rows: Sequence[SegmentEffect], correction: Correction) -> list[SegmentEffect]:
    """Adjust planned rows among themselves: what was added later must not cost them power."""
    told: list[SegmentEffect] = []
    for exploratory in (False, True):
        family = [row for row in rows if row.exploratory == exploratory]
        keyed = {str(place): {"": row.effect} for place, row in enumerate(family)}
        corrected = with_adjusted(keyed, correction)
        told += [
            msgspec.structs.replace(row, effect=corrected[str(place)][""])
            for place, row in enumerate(family)
        ]
    return told

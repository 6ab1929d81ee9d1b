"""Post-stratification: compare within groups known before, and add up what they say.

Chance gives a variant a few more of the best customers now and then. Compared within strata
(segments, stores, months of joining) that luck no longer counts, and the interval is narrower.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.aggregates import Aggregates
from experiments.contrast import (
    Contrast,
    Figure,
    contrast,
    gradient_of,
    quadratic,
    slope_of,
    value_of,
)
from foundation.errors import TooLittleData

# Units a stratum should have in its smaller variant, by its size and the split of all units, below
# which its variance is too rough to add up.
LEAST_IN_STRATUM = 20
# What strata too small by themselves are merged into.
REST = "rest"


def post_stratified(figure: Figure, treatment: Aggregates, control: Aggregates) -> Contrast:
    """Return one contrast of all strata, each weighted by its share of all units.

    Args:
        figure: As for `contrast`, also adjusted; a ratio is that of the two weighted means.
        treatment, control: Sums of each stratum, leading dimension (strata,).

    Raises:
        TooLittleData: A stratum has fewer than 2 units in a variant.

    Source: Miratrix, Sekhon and Yu 2013; ratios by the delta method on post-stratified means.
    """
    short = np.flatnonzero((treatment.n < 2) | (control.n < 2))
    if len(short):
        raise TooLittleData(
            f"stratum {int(short[0]) + 1} of {treatment.n.size} has {treatment.n[short[0]]:.0f} "
            f"unit(s) in treatment and {control.n[short[0]]:.0f} in control, it needs 2 in both; "
            "merge it with another"
        )
    weight = (treatment.n + control.n) / (treatment.n + control.n).sum()
    n, m = treatment.n.sum(), control.n.sum()
    whole = contrast(figure, treatment.total(), control.total())
    if figure == "ratio":
        up, up_variance = _ratio(treatment, weight, treatment.total() + control.total())
        down, down_variance = _ratio(control, weight, treatment.total() + control.total())
    else:
        each = contrast(figure, treatment, control)
        up, down = weight @ each.treatment, weight @ each.control
        up_variance = weight**2 @ (each.treatment_variance / treatment.n)
        down_variance = weight**2 @ (each.control_variance / control.n)
    return Contrast(
        treatment=np.asarray(up),
        control=np.asarray(down),
        # Times the units of the variant, so that variance / n is the figure's as everywhere.
        treatment_variance=np.asarray(up_variance * n),
        control_variance=np.asarray(down_variance * m),
        treatment_n=n,
        control_n=m,
        # Of all units, strata or not: what differs between strata adds to it, so it errs to refuse.
        skewness=whole.skewness,
        bend=whole.bend,
        adjusted=whole.adjusted,
    )


def _ratio(arm: Aggregates, weight: np.ndarray, both: Aggregates) -> tuple[np.ndarray, np.ndarray]:
    """Return a variant's ratio and its variance, adjusted where there is a covariate.

    Args:
        arm: Sums of each stratum.
        weight: Of each stratum.
        both: All strata of both variants.
    """
    mean = weight @ arm.mean
    covariance = np.einsum("s,sij->ij", weight**2 / arm.n, arm.covariance)
    value, weights = value_of("ratio", mean[:2]), gradient_of("ratio", mean[:2])
    if len(mean) > 2:
        before: Figure = "mean" if len(mean) == 3 else "ratio"
        slope = slope_of("ratio", before, both, 2)
        if slope:
            centre = value_of(before, both.mean[2:])
            value = value - slope * (value_of(before, mean[2:]) - centre)
            weights = np.concatenate([weights, -slope * gradient_of(before, mean[2:])])
        else:
            weights = np.concatenate([weights, np.zeros(len(mean) - 2)])
    return value, quadratic(weights, covariance)


def merged_strata(
    counts: Mapping[str, Mapping[str, int]], variants: Sequence[str]
) -> dict[str, str]:
    """Return for each stratum what it is called, those that are too small in one, REST.

    Chosen by the size of each and the split of all units. How a stratum itself was split must not
    count: REST would take in those that chance split worst, and reject too often.

    Args:
        counts: Units of each stratum by variant.
        variants: All of them.
    """
    sizes = {one: sum(inside.values()) for one, inside in counts.items()}
    of = {name: sum(inside.get(name, 0) for inside in counts.values()) for name in variants}
    needed = LEAST_IN_STRATUM * sum(sizes.values()) / max(min(of.values()), 1)
    ordered = sorted(sizes, key=lambda one: (-sizes[one], one))
    large = [one for one in ordered if sizes[one] >= needed]
    small = [one for one in ordered if sizes[one] < needed]
    # Where the rest is too small as well, the smallest of the large ones takes it in.
    if small and large and sum(sizes[one] for one in small) < needed:
        small.append(large.pop())
    return {one: one for one in large} | dict.fromkeys(small, REST)

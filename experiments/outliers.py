"""Outliers: does the result rest on a handful of customers?"""

import msgspec
import numpy as np
import pandas as pd

TOP = 10
# One unit with more than this share of its variant's total decides the result alone.
LARGEST_SHARE = 0.1


class TopFew(msgspec.Struct, frozen=True):
    """How much of a variant's total the `top` largest of its `units` hold, in absolute values.

    `share` is of all units' absolute values; `largest` that of the largest one alone.
    """

    metric: str
    variant: str
    units: int
    top: int
    share: float
    largest: float


def top_few(metric: str, units: pd.DataFrame) -> list[TopFew]:
    """Return what the largest units hold, of each variant that has a total.

    Args:
        metric: The column.
        units: One row a unit: variant and the metric's column.
    """
    found: list[TopFew] = []
    for variant, values in units.groupby("variant")[metric]:
        sizes = np.sort(np.abs(values.to_numpy(dtype=np.float64)))[::-1]
        total, largest = float(sizes.sum()), float(sizes[:TOP].sum())
        found += held_by_few(metric, str(variant), len(sizes), total, largest, float(sizes[0]))
    return found


def held_by_few(
    metric: str, variant: str, units: int, total: float, top: float, largest: float
) -> list[TopFew]:
    """Return what the TOP largest units of a variant hold, nothing where there is no total.

    Args:
        metric, variant, units: Of which, and how many they are.
        total, top, largest: The absolute values of all, of the TOP largest, of the largest.
    """
    if not total > 0:
        return []
    return [TopFew(metric, variant, units, min(TOP, units), top / total, largest / total)]


def outlier_warnings(found: list[TopFew], way_out: str) -> list[str]:
    """Return a line for each variant in which one unit holds too much of the total.

    Args:
        found: As `top_few` returned it.
        way_out: What to do about it.
    """
    return [
        f"one unit holds {one.largest:.0%} of all {one.metric} in {one.variant}; {way_out}"
        for one in found
        # Of a few units one always holds much.
        if one.largest > LARGEST_SHARE and one.units > 2 / LARGEST_SHARE
    ]

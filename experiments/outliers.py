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
        total = float(sizes.sum())
        if total > 0:
            top = min(TOP, len(sizes))
            share = float(sizes[:top].sum()) / total
            found.append(
                TopFew(metric, str(variant), len(sizes), top, share, float(sizes[0]) / total)
            )
    return found


def outlier_warnings(found: list[TopFew], capped: bool) -> list[str]:
    """Return a line for each variant in which one unit holds too much of the total.

    Args:
        found: As `top_few` returned it.
        capped: Whether the plan caps large values already.
    """
    way_out = "the plan's outlier_cap limits it" if capped else "plan an outlier_cap next time"
    return [
        f"one unit holds {one.largest:.0%} of all {one.metric} in {one.variant}; {way_out}"
        for one in found
        # Of a few units one always holds much.
        if one.largest > LARGEST_SHARE and one.units > 2 / LARGEST_SHARE
    ]

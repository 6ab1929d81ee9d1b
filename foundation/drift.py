"""Drift: did a distribution over groups move by more than chance moves it?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from foundation.errors import TooLittleData

CONFIDENCE = 0.95
# Half a customer in each group: an empty one would make the index infinite.
PRIOR = 0.5
# Below, group sizes are mostly chance.
LEAST_CUSTOMERS = 50


@dataclass(frozen=True, slots=True)
class Drift:
    """`index` is the population stability index; `chance` is what 1 in 20 exceeds without drift."""

    index: float
    chance: float
    before: int
    now: int

    @property
    def drifted(self) -> bool:
        return self.index > self.chance


def drift(
    before: Mapping[str, float], now: Mapping[str, float], confidence: float = CONFIDENCE
) -> Drift:
    """Return how far group sizes moved between two times.

    Args:
        before, now: Customers by group; a group only one of them has is empty in the other. A
            customer may be shared out among groups, as long as she counts for one in all.
        confidence: How seldom chance alone is to exceed its bound: 1 in 20 by default; nearer to 1
            where many distributions are looked at together.

    Raises:
        TooLittleData: There are fewer than LEAST_CUSTOMERS at either time, or only one group.

    Source: sum of (p - q) ln(p / q) over groups; without drift it is distributed as
    (1/n + 1/m) chi-square with groups - 1 degrees of freedom (Yurdakul 2018), were the customers
    different ones. Where they are the same, or shared out, chance moves groups less, and `chance`
    errs on the quiet side.
    """
    groups = sorted(before.keys() | now.keys())
    n, m = round(sum(before.values())), round(sum(now.values()))
    if min(n, m) < LEAST_CUSTOMERS:
        raise TooLittleData(
            f"drift between runs of {n} and {m} customers: each needs {LEAST_CUSTOMERS}; wait for "
            "more"
        )
    if len(groups) < 2:
        raise TooLittleData(f"drift of {len(groups)} group: nothing can move; give two or more")
    p, q = (
        np.array([(run.get(group, 0) + PRIOR) for group in groups]) / (total + PRIOR * len(groups))
        for run, total in ((before, n), (now, m))
    )
    index = float(np.sum((p - q) * np.log(p / q)))
    chance = (1 / n + 1 / m) * float(stats.chi2.ppf(confidence, len(groups) - 1))
    return Drift(index, chance, n, m)

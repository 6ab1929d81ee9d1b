"""Movement: how do segments overlap, drift from run to run, and pass customers on?

Overlap counts who is in both. Drift compares two runs' group sizes by the population stability
index. Migration counts, of those who were in a group, where they are now; its shares estimate what
the next ones will do, so they carry intervals.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from scipy import stats

from foundation.errors import TooLittleData

CONFIDENCE = 0.95
# Half a customer in each group: an empty one would make the index infinite.
PRIOR = 0.5
# Below, group sizes are mostly chance.
LEAST_CUSTOMERS = 50
ABSENT = "(not there)"


def overlap_matrix(segments: Mapping[str, Set[str]]) -> dict[str, dict[str, int]]:
    """Return how many customers are in both of any two segments; the diagonal is their sizes."""
    return {
        one: {other: len(members & others) for other, others in segments.items()}
        for one, members in segments.items()
    }


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


def drift(before: Mapping[str, int], now: Mapping[str, int]) -> Drift:
    """Return how far group sizes moved between two runs.

    Args:
        before, now: Customers by group; a group only one of them has is empty in the other.

    Raises:
        TooLittleData: A run has fewer than LEAST_CUSTOMERS, or there is only one group.

    Source: sum of (p - q) ln(p / q) over groups; without drift it is distributed as
    (1/n + 1/m) chi-square with groups - 1 degrees of freedom (Yurdakul 2018), were the runs'
    customers different ones. Where they are the same, chance moves groups less, and `chance` errs
    on the quiet side.
    """
    groups = sorted(before.keys() | now.keys())
    n, m = sum(before.values()), sum(now.values())
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
    chance = (1 / n + 1 / m) * float(stats.chi2.ppf(CONFIDENCE, len(groups) - 1))
    return Drift(index, chance, n, m)


@dataclass(frozen=True, slots=True)
class Flow:
    """Of all who were in `before`, how many are in `now`, and their share with its interval."""

    before: str
    now: str
    customers: int
    share: float
    low: float
    high: float


def migration(before: Mapping[str, str], now: Mapping[str, str]) -> list[Flow]:
    """Return where the customers of each group went, flows without customers left out.

    Args:
        before, now: Each customer's group in either run; who is in one run alone counts as ABSENT
            in the other.

    Returns:
        Flows in order of groups; shares of one `before` sum to 1, intervals are Wilson's (1927).
    """
    counts: dict[tuple[str, str], int] = {}
    totals: dict[str, int] = {}
    for customer in before.keys() | now.keys():
        flow = (before.get(customer, ABSENT), now.get(customer, ABSENT))
        counts[flow] = counts.get(flow, 0) + 1
        totals[flow[0]] = totals.get(flow[0], 0) + 1
    return [_flow(flow, count, totals[flow[0]]) for flow, count in sorted(counts.items())]


def _flow(flow: Sequence[str], count: int, total: int) -> Flow:
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Flow(flow[0], flow[1], count, count / total, low, high)

"""Movement: how do segments overlap, and pass customers on from run to run?

Overlap counts who is in both. Migration counts, of those who were in a group, where they are now;
its shares estimate what the next ones will do, so they carry intervals. How far group sizes moved
is told by foundation/drift.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

Masks: TypeAlias = npt.NDArray[np.bool_]
# A byte a customer and the names of groups; pandas types no more of it than this.
Groups: TypeAlias = "pd.Categorical[Any]"

CONFIDENCE = 0.95
ABSENT = "(not there)"


def overlap_matrix(segments: Mapping[str, Masks]) -> dict[str, dict[str, int]]:
    """Return how many customers are in both of any two segments; the diagonal is their sizes.

    Args:
        segments: Who is in, shape (n_customers,) each, the same customers in one order.
    """
    return {
        one: {other: int(np.count_nonzero(mask & others)) for other, others in segments.items()}
        for one, mask in segments.items()
    }


@dataclass(frozen=True, slots=True)
class Flow:
    """Of all who were in `before`, how many are in `now`, and their share with its interval."""

    before: str
    now: str
    customers: int
    share: float
    low: float
    high: float


def migration(before: Groups, now: Groups) -> list[Flow]:
    """Return where the customers of each group went, flows without customers left out.

    Args:
        before, now: Each customer's group in either run, the same customers in one order; missing
            (ABSENT) in the run in which she is not.

    Returns:
        Flows in order of groups; shares of one `before` sum to 1, intervals are Wilson's (1927).
    """
    names = [[ABSENT, *map(str, side.categories)] for side in (before, now)]
    # Codes of who is missing are -1.
    pairs = (before.codes.astype(np.int64) + 1) * len(names[1]) + now.codes + 1
    table = np.bincount(pairs, minlength=len(names[0]) * len(names[1]))
    table = table.reshape(len(names[0]), len(names[1]))
    # Who is in neither run has not moved.
    table[0, 0] = 0
    totals = table.sum(axis=1)
    found = [
        _flow((names[0][row], names[1][column]), int(table[row, column]), int(totals[row]))
        for row, column in np.argwhere(table)
    ]
    return sorted(found, key=lambda flow: (flow.before, flow.now))


def _flow(flow: Sequence[str], count: int, total: int) -> Flow:
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Flow(flow[0], flow[1], count, count / total, low, high)

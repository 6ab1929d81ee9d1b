"""Movement: how do segments overlap, and pass customers on from run to run?

Overlap counts who is in both. Migration counts, of those who were in a group, where they are now;
its shares estimate what the next ones will do, so they carry intervals. How far group sizes moved
is told by foundation/drift.py.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95
ABSENT = "(not there)"


def overlap_matrix(segments: Mapping[str, Set[str]]) -> dict[str, dict[str, int]]:
    """Return how many customers are in both of any two segments; the diagonal is their sizes."""
    return {
        one: {other: len(members & others) for other, others in segments.items()}
        for one, members in segments.items()
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

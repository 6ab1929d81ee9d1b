"""How often do two models put the same offer first?"""

from collections.abc import Mapping

import numpy as np

from foundation.scores import Z_95, Interval
from recommender.trial import cluster_error


def top(scores: Mapping[str, float]) -> str:
    """Return the offer of the highest score; of equal ones that of the first name."""
    return min(scores, key=lambda offer_id: (-scores[offer_id], offer_id))


def same_top(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two scores of the same offers put the same one first."""
    return top(one) == top(other)


def share(same: np.ndarray, customers: np.ndarray) -> Interval:
    """Return the share of decisions of which something is so, with its 95 % interval.

    A customer's decisions are no independent evidence: the interval is Wilson's for as many
    independent decisions as have the same standard error by customer.

    Args:
        same: 0 or 1, shape (n,), not empty.
        customers: Whose decision each is, shape (n,).

    Source: Wilson 1927; effective size by design effect, Korn and Graubard 1998.
    """
    value, n = float(same.mean()), float(len(same))
    codes = np.unique(customers, return_inverse=True)[1]
    plain = value * (1 - value) / n
    if plain > 0:
        # No more than there are decisions, and no fewer than there are customers' worth of one.
        n = min(n, max(1.0, n * plain / max(cluster_error(same - value, codes) ** 2, 1e-300)))
    else:
        n = float(codes.max() + 1)
    z = Z_95**2 / n
    middle = (value + z / 2) / (1 + z)
    half = Z_95 / (1 + z) * float(np.sqrt(value * (1 - value) / n + z / (4 * n)))
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))

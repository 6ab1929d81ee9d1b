"""Which prices of the limits bound what a plan can earn most tightly?

With a price on each limit, customers choose freely, and what they choose is worth, limits sold at
their prices, at least what any plan within the limits earns: a bound. The lowest bound's prices say
what one more unit of each limit would earn; who chooses at them nearly keeps the limits.

The bound is convex in the prices. A level method looks for its lowest point: tangents seen so far
bound it from below; the next prices are those nearest to the best so far whose tangents lie below a
level between the best bound and what is known to be out of reach.

Sources: Fisher 1981, Lagrangian relaxation; Lemaréchal, Nemirovskii and Nesterov 1995, level
bundle methods; Lawson and Hanson 1974, ch. 23, least distance programming.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from recommender.campaign import Floats

# The next level lies halfway between the best bound and what is out of reach.
LEVEL = 0.5
# Tangents kept for each price; the oldest go first.
KEPT = 4


@dataclass(frozen=True)
class Tangent:
    """The bound at some prices, and its slope there: what of each limit is left."""

    prices: Floats
    bound: float
    slope: Floats


def lowest_bound(
    bound: Callable[[Floats], Tangent],
    start: Tangent,
    reach: float,
    scale: Floats,
    tolerance: float,
    most: int,
) -> list[Tangent]:
    """Return the tangents met last, the lowest bound first.

    Args:
        bound: The bound and its slope at prices, which are at least 0.
        start: Where to begin.
        reach: What the lowest bound is known not to lie under: a plan's value.
        scale: How far each price may be expected to move, shape (R,).
        tolerance: The search ends when the bound is this near to its lowest, in parts of it.
        most: Steps.
    """
    best, tangents = start, [start]
    steps = 0
    while steps < most and best.bound - reach > tolerance * abs(best.bound):
        level = best.bound - LEVEL * (best.bound - reach)
        prices = _nearest(best.prices, tangents, level, scale)
        if prices is None:
            reach = level
            continue
        steps += 1
        found = bound(prices)
        tangents = [*tangents[-KEPT * len(scale) :], found]
        if found.bound < best.bound:
            best = found
    return sorted([best, *(t for t in tangents if t is not best)], key=lambda t: t.bound)


def _nearest(center: Floats, tangents: list[Tangent], level: float, scale: Floats) -> Floats | None:
    """Return the prices nearest to the center where all tangents lie below the level."""
    slopes = np.array([t.slope for t in tangents]) * scale
    at_center = np.array([t.bound + t.slope @ (center - t.prices) for t in tangents])
    size = np.linalg.norm(slopes, axis=1)
    if np.any((size == 0) & (at_center > level)):
        return None
    steep = size > 0
    # In steps of `scale`: tangents below the level, and prices not below 0.
    G = np.vstack([-slopes[steep] / size[steep, None], np.eye(len(scale))])
    h = np.concatenate([(at_center - level)[steep] / size[steep], -center / scale])
    length = float(np.abs(h).max()) or 1.0
    E = np.vstack([G.T, h[None, :] / length])
    f = np.zeros(len(E))
    f[-1] = 1.0
    u, _ = nnls(E, f, maxiter=20 * len(h))
    residual = E @ u - f
    if -residual[-1] < 1e-9:
        return None
    step = -residual[:-1] / residual[-1] * length
    return np.maximum(center + step * scale, 0.0)

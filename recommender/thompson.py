"""Thompson sampling without sampling: the chance that each offer is the best, by quadrature.

An offer is drawn with exactly the chance computed here, so its propensity is known, not estimated.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import betainc, ndtr

from foundation.decision import Posterior
from foundation.errors import RegularsError

# Beyond the body of each belief, in standard deviations; rare successes reach far up.
TAILS = (-6.0, -5.0, 5.0, 6.0, 8.0, 10.0, 14.0)
# Places looked at, shared out among beliefs but at least so many for each.
PLACES, FEWEST_PLACES = 1_000, 13

Beliefs = tuple[tuple[str, Posterior], ...]


def best_chances(posteriors: Mapping[str, Posterior], offers: Sequence[str]) -> Sequence[float]:
    """Return the chance that each offer has the highest mean reward of these, summing to 1.

    Args:
        posteriors: A belief for each offer, all of one family.
        offers: Ids, at least one.

    Raises:
        RegularsError: An offer has no posterior.

    Source: Thompson 1933; P(best = a) is the integral of f_a(t) times the product of the others'
        F_b(t), here a sum over cells between levels of all beliefs.
    """
    missing = [offer_id for offer_id in offers if offer_id not in posteriors]
    if missing:
        raise RegularsError(
            f"a thompson policy has no posterior for offer {missing[0]!r} (of {len(missing)} such);"
            " give it one, such as beta 1 and 1 before anything was seen"
        )
    return _best(tuple(posteriors.items()), tuple(offers))


@lru_cache(maxsize=256)
def _best(beliefs: Beliefs, offers: tuple[str, ...]) -> tuple[float, ...]:
    mass, logs = _cells(beliefs)
    places = {offer_id: place for place, (offer_id, _) in enumerate(beliefs)}
    rows = [places[offer_id] for offer_id in offers]
    logs = logs[rows]
    # Everyone else lies below.
    chances = (mass[rows] * np.exp(logs.sum(axis=0) - logs)).sum(axis=1)
    return tuple((chances / chances.sum()).tolist())


@lru_cache(maxsize=16)
def _cells(beliefs: Beliefs) -> tuple[np.ndarray, np.ndarray]:
    """Return each belief's mass in each cell, and the logarithm of its mass below the middle."""
    places = max(PLACES // len(beliefs), FEWEST_PLACES)
    deviations = np.r_[np.linspace(-4.0, 4.0, places), TAILS]
    grid = np.unique(np.concatenate([_levels(belief, deviations) for _, belief in beliefs]))
    below = np.stack([_below(belief, grid) for _, belief in beliefs])
    below = np.hstack([np.zeros((len(beliefs), 1)), below, np.ones((len(beliefs), 1))])
    middle = (below[:, 1:] + below[:, :-1]) / 2
    return np.diff(below, axis=1), np.log(np.maximum(middle, 1e-300))


def _levels(belief: Posterior, deviations: np.ndarray) -> np.ndarray:
    first, second = belief.first, belief.second
    if belief.family == "normal":
        return first + second * deviations
    total = first + second
    mean = first / total
    levels = mean + np.sqrt(mean * (1 - mean) / (total + 1)) * deviations
    return levels[(levels > 0) & (levels < 1)]


def _below(belief: Posterior, grid: np.ndarray) -> np.ndarray:
    if belief.family == "normal":
        return ndtr((grid - belief.first) / belief.second)
    return betainc(belief.first, belief.second, grid)

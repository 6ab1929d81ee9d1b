"""Does targeting help at all: do those ranked first gain more than others?

The test is of a ranking learned elsewhere, on doubly robust scores of the effect. Under no
heterogeneity every ranking gains the same, whatever was learned, so the p-value is uniform. Folds
are tested in sequence, each by what was learned on the folds before it: were each tested by all
others, every pair of folds would count twice and noise would pass for a finding.

Sources: RATE, Yadlowsky et al. 2021/2024 (arXiv 2111.07966), with Qini weights; sequence of folds,
Wager 2024 (arXiv 2405.05534), and Luedtke and van der Laan 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from foundation.errors import TooLittleData
from foundation.scores import Z_95, Interval
from recommender.trial import cluster_error
from recommender.uplift_curve import Group

TENTHS = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """The area under the Qini curve of doubly robust scores, per row, and its standard error."""

    value: float
    error: float

    @property
    def interval(self) -> Interval:
        half = Z_95 * self.error
        return Interval(self.value, self.value - half, self.value + half)


def rate(effect: np.ndarray, priority: np.ndarray, unit: np.ndarray) -> Rate:
    """Return by how much treating in the order of priority beats treating at random.

    Args:
        effect: Doubly robust scores of one treatment's effect, shape (n,), or of m treatments,
            shape (n, m).
        priority: Higher first, learned on other rows, same shape; ties count as their middle.
        unit: Codes from 0, shape (n,).

    Returns:
        The mean over shares treated (0 to 1) of the effect gained over random treatment, in the
        outcome's unit a row. Treatments count by how much their priorities vary. 0 with error 0
        where no priority varies.
    """
    effects = effect.reshape(len(effect), -1)
    priorities = priority.reshape(len(effect), -1)
    spread = priorities.std(axis=0)
    if not spread.any():
        return Rate(0.0, 0.0)
    value, influence = 0.0, np.zeros(len(effects))
    for treatment, weight in enumerate(spread / spread.sum()):
        each = _gain(effects[:, treatment], priorities[:, treatment])
        value += weight * float(each.mean())
        influence += weight * (_projected(effects[:, treatment], priorities[:, treatment]))
    return Rate(value, cluster_error(influence, unit))


def rate_p(found: Sequence[Rate]) -> float:
    """Return the one-sided chance of rates this high if targeting helps nobody.

    Args:
        found: One of each fold, each by a ranking learned on folds before it; or a single one.

    Raises:
        TooLittleData: No ranking ever varied.
    """
    varied = [one.value / one.error for one in found if one.error > 0]
    if not varied:
        raise TooLittleData(
            "no learner found anybody to put before others, so there is no targeting to test; "
            "load more rows or features"
        )
    return float(stats.norm.sf(sum(varied) / np.sqrt(len(varied))))


def tenths(
    effect: np.ndarray,
    predicted: np.ndarray,
    priority: np.ndarray,
    unit: np.ndarray,
    count: int = TENTHS,
) -> list[Group]:
    """Return predicted and observed effects of groups of equal count, highest priority first.

    Args:
        effect: Doubly robust scores of the effect, shape (n,).
        predicted: What was predicted on rows not learned from, shape (n,).
        priority: What to rank by, shape (n,); rows of equal priority stay together, so there may
            be fewer groups.
        unit: Codes from 0, shape (n,).
    """
    ranks = (stats.rankdata(-priority, method="average") - 0.5) / len(priority)
    group = np.minimum(ranks * count, count - 1).astype(int)
    found: list[Group] = []
    for one in np.unique(group):
        inside = group == one
        mean = float(effect[inside].mean())
        whose = np.unique(unit[inside], return_inverse=True)[1]
        half = Z_95 * cluster_error(effect[inside] - mean, whose)
        observed = Interval(mean, mean - half, mean + half)
        found.append(Group(int(inside.sum()), float(predicted[inside].mean()), observed))
    return found


def _ranked(priority: np.ndarray) -> np.ndarray:
    """Return the share of rows below, ties half, less one half, shape (n,)."""
    return (stats.rankdata(priority, method="average") - 0.5) / len(priority) - 0.5


def _gain(effect: np.ndarray, priority: np.ndarray) -> np.ndarray:
    # The mean over q of the effect summed over the highest q, less q times the whole.
    return (effect - effect.mean()) * _ranked(priority)


def _projected(effect: np.ndarray, priority: np.ndarray) -> np.ndarray:
    """Return each row's influence: its own term, and what its rank does to those above it."""
    centred = effect - effect.mean()
    order = np.argsort(-priority, kind="stable")
    above = np.cumsum(centred[order])
    ordered = priority[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(ordered)] - 1
    before = np.r_[0.0, above][starts]
    shared = np.repeat((before + above[ends]) / 2, ends - starts + 1)
    lifted = np.empty(len(effect))
    lifted[order] = shared / len(effect)
    found = centred * _ranked(priority) + lifted
    return found - found.mean()

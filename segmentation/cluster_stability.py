"""Stability: would other customers of the same kind give the same clusters?

Customers are redrawn with replacement and clustered anew; each time the two partitions of all
customers are compared by the adjusted Rand index: 1 is the same partition, 0 what chance gives.
Clusters that a redraw does not find again are an accident of who happened to be there.

A long cloud without groups can be cut stably, too (Ben-David et al. 2006; .8 to .9 was seen where
traits correlate by .6), and so can values that lie in heaps, as shares of few orders do. So the
silhouette must also exceed those in structureless clouds of the same values and correlations.

Sources: bootstrap stability, Ben-Hur, Elisseeff and Guyon 2002, Hennig 2007; adjusted Rand index,
Hubert and Arabie 1985; one cloud as the null, Liu et al. 2008 (SigClust), with the values' own
distributions in the order of correlated normal ones, Iman and Conover 1982.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from foundation.scores import Interval, percentiles
from segmentation.behaviour import Floats

# Steinley (2004) calls .65 moderate and .80 good. In clouds without groups about .3 was seen.
STABLE = 0.75
ROUNDS = 50
CLOUDS = 10
# Restarts within a round; the reference has more, to find its best.
STARTS = 3


def k_means(k: int, **settings: Any) -> Any:
    # Untyped: checkers read "auto", scikit-learn's default, as the only kind of value.
    return KMeans(n_clusters=k, **settings)


def stability(points: Floats, labels: npt.NDArray[Any], k: int, seed: int) -> Interval:
    """Return the mean adjusted Rand index over redraws, with the middle 95 % of them.

    Rounds end early when even perfect agreement in the rest could not reach STABLE.

    Args:
        points: Customers, shape (n, n_traits).
        labels: Their clusters, shape (n,).
        k: Number of clusters.
    """
    random = np.random.default_rng(seed)
    found: list[float] = []
    while len(found) < ROUNDS and sum(found) + ROUNDS - len(found) >= STABLE * ROUNDS:
        drawn = random.integers(0, len(points), len(points))
        start = int(random.integers(2**31))
        model = k_means(k, n_init=STARTS, random_state=start).fit(points[drawn])
        found.append(float(adjusted_rand_score(labels, model.predict(points))))
    return percentiles(float(np.mean(found)), np.array(found))


def cloud_silhouette(points: Floats, k: int, chance: float, seed: int) -> float:
    """Return what the silhouette of k clusters exceeds in structureless clouds by chance alone.

    A cloud has the points' own values of each trait and their rank correlations, and no more: they
    are put in the order of a normal cloud's. The bound is that for one more cloud (Student's, the
    silhouettes of clouds being near normal).

    Args:
        points: Customers, shape (n, n_traits).
        k: Number of clusters.
        chance: How often one more cloud may exceed it (0-1).
    """
    random = np.random.default_rng(seed)
    values = np.sort(points, axis=0)
    spread = _normal_scores_spread(points)
    found: list[float] = []
    for _ in range(CLOUDS):
        normal = random.multivariate_normal(np.zeros(len(spread)), spread, len(points))
        ranks = normal.argsort(axis=0).argsort(axis=0)
        cloud = np.take_along_axis(values, ranks, axis=0)
        start = int(random.integers(2**31))
        labels = k_means(k, n_init=STARTS, random_state=start).fit(cloud).labels_
        found.append(float(silhouette_score(cloud, labels)))
    margin = float(stats.t.isf(chance, CLOUDS - 1)) * float(np.std(found, ddof=1))
    return float(np.mean(found)) + margin * (1 + 1 / CLOUDS) ** 0.5


def _normal_scores_spread(points: Floats) -> Floats:
    """Return the covariance of the traits' normal scores, shape (n_traits, n_traits)."""
    ranks = stats.rankdata(points, axis=0)
    return np.cov(stats.norm.ppf(ranks / (len(points) + 1)), rowvar=False)

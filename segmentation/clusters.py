"""Behavioural clusters: which ways of shopping are there among our customers?

Customers are grouped by how they shop, see behaviour.py. Each cluster has a name made of what sets
it apart, and a rule. Shopping is mostly a continuum, so two questions come first: would other
customers of the same kind give the same clusters (stability), and do the borders run between crowds
(silhouette: near 0 they are drawn through a crowd, above .5 they run between crowds)? Where no
number of clusters is stable, there are none to tell.

A cluster of the last fit lives on where more than half of all who are in the old or the new one
are in both: no two can claim it, so nothing is left to assign. Its id and name stay, and rules that
name it keep their meaning. Other clusters are new.

Sources: k-means; number of clusters by mean silhouette (Rousseeuw 1987) among the stable ones;
Jaccard's overlap, below one half a cluster is dissolved (Hennig 2007).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from foundation.errors import TooLittleData
from foundation.scores import Interval
from segmentation.behaviour import TRAITS, Floats, preparation
from segmentation.cluster_model import (
    Cluster,
    ClusterModel,
    fewest_orders,
    nearest,
    often_enough,
    points_of,
    sampled,
)
from segmentation.cluster_names import describe_cluster, name_cluster
from segmentation.cluster_rules import find_rule
from segmentation.cluster_stability import STABLE, cloud_silhouette, k_means, stability

FEWEST_CUSTOMERS = 50
FEWEST_CLUSTERS, MOST_CLUSTERS = 3, 8
SAME_CLUSTER = 0.5
# How often a crowd without groups may pass for clusters.
BY_CHANCE = 0.05

Numbers = npt.NDArray[np.intp]


class NoStableClusters(TooLittleData):
    """Customers are there, and no clusters that other customers like them would give again."""


@dataclass(frozen=True)
class _Solution:
    centres: Floats
    silhouette: float
    cloud: float
    stability: Interval


# One thread: two of them sum in an order of their own, so a seed would not fix the last digit, and
# beside other work they wait for each other longer than they save (12 s seen against 0.6).
@threadpool_limits.wrap(limits=1)
def fit_clusters(
    profile: pd.DataFrame, seed: int, last: ClusterModel | None = None
) -> ClusterModel:
    """Group customers by how they shop; `cluster_model.assign` then names anybody's cluster.

    Args:
        profile: One row a customer, index unique and sortable: orders_365d and the features of
            behaviour.TRAITS. Who has fewer than fewest_orders is in no cluster.
        seed: Same profile and seed, same clusters, whatever the order of rows.
        last: The model whose ids and names live on where its clusters do.

    Raises:
        TooLittleData: Fewer than 50 customers have orders enough, or they are too much alike.
        NoStableClusters: No number of clusters reaches STABLE and stands out from a cloud.
    """
    # Sorted, since the seed draws starting points by position.
    profile = profile.sort_index()
    fewest = fewest_orders(profile)
    often = often_enough(profile, fewest)
    buyers = profile.loc[often]
    if len(buyers) < FEWEST_CUSTOMERS:
        raise TooLittleData(
            f"behaviour clusters of {len(buyers)} customers with {fewest} or more orders in the "
            f"last year: at least {FEWEST_CUSTOMERS} are needed; load more purchases"
        )
    prepare = preparation()
    points: Floats = np.asarray(prepare.fit_transform(buyers))
    solution = _best_stable(sampled(points, seed), seed)
    model = k_means(len(solution.centres), init=solution.centres, n_init=1).fit(points)
    numbers: Numbers = np.asarray(model.predict(points))
    # Largest first, so that which of two like names gets the extra word does not hang on the draw.
    order = np.argsort(-np.bincount(numbers, minlength=len(solution.centres)), kind="stable")
    numbers = np.argsort(order)[numbers]
    centres: Floats = model.cluster_centers_[order]
    kept = {} if last is None else _kept(last, nearest(last, points_of(last, buyers)), numbers)
    next_id = 1 if last is None else last.next_id
    names = {cluster.name for cluster in kept.values()}
    clusters: list[Cluster] = []
    for number, centre in enumerate(centres):
        name, words = name_cluster(centre, names)
        cluster_id = next_id
        if number in kept:
            cluster_id, name = kept[number].id, kept[number].name
        else:
            next_id += 1
            names.add(name)
        member = np.zeros(len(profile), dtype=np.bool_)
        member[often] = numbers == number
        clusters.append(
            Cluster(
                id=cluster_id,
                name=name,
                centre=tuple(float(value) for value in centre),
                customers=int(member.sum()),
                description=describe_cluster(profile.loc[member], buyers, words),
                rule=find_rule(profile, member, seed),
            )
        )
    steps: Any = prepare.named_steps
    return ClusterModel(
        features=tuple(trait.feature for trait in TRAITS),
        typical=tuple(None if np.isnan(t) else float(t) for t in steps["behaviour"].typical_),
        fill=tuple(float(value) for value in np.nan_to_num(steps["impute"].statistics_)),
        mean=tuple(float(value) for value in steps["scale"].mean_),
        scale=tuple(float(value) for value in steps["scale"].scale_),
        clusters=tuple(clusters),
        silhouette=solution.silhouette,
        cloud=solution.cloud,
        stability=solution.stability,
        next_id=next_id,
        fewest_orders=fewest,
    )


def _best_stable(sample: Floats, seed: int) -> _Solution:
    """Return the solution of the best silhouette among those that are stable."""
    different = len(np.unique(sample, axis=0))
    if different <= FEWEST_CLUSTERS:
        raise TooLittleData(
            f"behaviour clusters of customers with only {different} different behaviours: more "
            f"than {FEWEST_CLUSTERS} are needed; check that baskets, stores and hours are loaded"
        )
    # Each customer on her own has no silhouette, hence fewer clusters than behaviours.
    most = min(MOST_CLUSTERS, different - 1)
    # Each number tried is one more occasion to be fooled.
    tries = most - FEWEST_CLUSTERS + 1
    told: list[str] = []
    for quality, model in sorted(_candidates(sample, most, seed), key=lambda pair: -pair[0]):
        k = len(model.cluster_centers_)
        steady = stability(sample, model.labels_, k, seed)
        told.append(f"{steady.value:.2f} of {k}")
        if steady.value < STABLE:
            continue
        cloud = cloud_silhouette(sample, k, BY_CHANCE / tries, seed)
        if quality > cloud:
            return _Solution(model.cluster_centers_, quality, cloud, steady)
        told[-1] += f" (silhouette {quality:.3f}, clouds without groups reach {cloud:.3f})"
    raise NoStableClusters(
        f"no stable clusters of {len(sample):,} customers: redrawn customers agree on them by an "
        f"adjusted Rand index of {', '.join(told)} clusters, and at least {STABLE} is needed with "
        "a silhouette above a cloud's; go by RFM and lifecycle until there are more purchases"
    )


def _candidates(sample: Floats, most: int, seed: int) -> Generator[tuple[float, Any]]:
    for k in range(FEWEST_CLUSTERS, most + 1):
        model = k_means(k, n_init=10, random_state=seed).fit(sample)
        yield float(silhouette_score(sample, model.labels_)), model


def _kept(last: ClusterModel, before: Numbers, now: Numbers) -> dict[int, Cluster]:
    """Return which clusters of the last model live on, by their new number."""
    found: dict[int, Cluster] = {}
    for number in np.unique(now):
        for place, cluster in enumerate(last.clusters):
            old, new = before == place, now == number
            if (old & new).sum() > SAME_CLUSTER * (old | new).sum():
                found[int(number)] = cluster
    return found

"""A cluster model: all it takes to put any customer into her cluster, in plain numbers.

It is kept from night to night, so that a customer changes her cluster because she changed, and
never because it was fitted anew. JSON by msgspec, so that a stored model is read by eye.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from foundation.scores import Interval
from segmentation.behaviour import LENT_ORDERS, Floats, traits_of

NO_PURCHASES = "no purchases"
FEW_PURCHASES = "few purchases"

# Below that, what is typical outweighs her own orders, and what is left of them is the luck of a
# few: shops where everybody shops alike were seen to fall into clusters by it.
FEWEST_ORDERS = LENT_ORDERS
# Up to this part of the buyers they make no clusters of their own, and are grouped with the rest.
FEW_AMONG_BUYERS = 0.1

# A silhouette needs all pairs: a sample bounds its time and memory, whatever the customers.
SAMPLE = 3000


class Fidelity(msgspec.Struct, frozen=True):
    """How well a rule tells a cluster's members, among customers it was not found on.

    `precision` is the part of those it picks who are members, `recall` the part of the members whom
    it picks, `f1` their harmonic mean; `everybody` is the f1 of picking everybody, the plain
    baseline. `customers` were held out.
    """

    precision: Interval
    recall: Interval
    f1: Interval
    everybody: float
    customers: int


class ClusterRule(msgspec.Struct, frozen=True):
    """A cluster told in at most three conditions, in the rule language and in a sentence."""

    document: dict[str, Any]
    sentence: str
    fidelity: Fidelity


class Cluster(msgspec.Struct, frozen=True):
    """One cluster as it was fitted.

    `id` and `name` stay with it from fit to fit. `centre` is the mean of each trait in standard
    deviations, shape (n_traits,). Without a `rule`, it has too few members to find and judge one.
    """

    id: int
    name: str
    centre: tuple[float, ...]
    customers: int
    description: str
    rule: ClusterRule | None

    @property
    def told(self) -> str:
        """The rule in a sentence with its fidelity, or that there is none."""
        if self.rule is None:
            return "too few members for a rule."
        f1 = self.rule.fidelity.f1
        return (
            f"{self.rule.sentence}; F1 {f1.value:.2f} [{f1.low:.2f}, {f1.high:.2f}] on held-out "
            f"customers, everybody would have {self.rule.fidelity.everybody:.2f}."
        )


class ClusterModel(msgspec.Struct, frozen=True):
    """Clusters, the largest first, and how a customer is measured before she is put into one.

    `typical` (null: unknown for everybody), `fill`, `mean` and `scale` are by trait, in the order
    of `features`. `silhouette` in [-1, 1] stands beside `cloud`, what structureless clouds reach by
    chance; `stability` is the adjusted Rand index when customers are redrawn. `next_id` is the next
    new cluster's. Customers of fewer than `fewest_orders` in a year are in none.
    """

    features: tuple[str, ...]
    typical: tuple[float | None, ...]
    fill: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    clusters: tuple[Cluster, ...]
    silhouette: float
    cloud: float
    stability: Interval
    next_id: int
    fewest_orders: int = 1

    def told(self) -> list[str]:
        """Return the clusters' stability, and each one's rule with its fidelity, a line each."""
        steady = self.stability
        return [
            f"stability {steady.value:.2f} [{steady.low:.2f}, {steady.high:.2f}] (adjusted Rand "
            f"index of redrawn customers), silhouette {self.silhouette:.2f} (clouds without "
            f"groups reach {self.cloud:.2f})",
            *(f"  {cluster.name}: {cluster.told}" for cluster in self.clusters),
            *(
                [f"customers of fewer than {self.fewest_orders} orders in the year are in none"]
                if self.fewest_orders > 1
                else []
            ),
        ]


def assign(model: ClusterModel, profile: pd.DataFrame) -> pd.Series:
    """Name every customer's cluster: the one with the nearest centre.

    Args:
        profile: One row a customer, anybody, fitted on or not: orders_365d and the features of
            behaviour.TRAITS. Who has no order in the year is labelled "no purchases", who has fewer
            than the model asks for "few purchases".

    Returns:
        Names, index as the profile's.
    """
    names = np.array([cluster.name for cluster in model.clusters], dtype=object)
    labels = np.where(profile["orders_365d"] > 0, FEW_PURCHASES, NO_PURCHASES).astype(object)
    often = often_enough(profile, model.fewest_orders)
    labels[often] = names[nearest(model, points_of(model, profile.loc[often]))]
    return pd.Series(labels, index=profile.index, name="cluster")


def silhouette(model: ClusterModel, profile: pd.DataFrame, seed: int) -> float | None:
    """Return the mean silhouette of these customers as assigned, in [-1, 1].

    None where they are all in one cluster, which has no silhouette; only those who have one count.

    Source: Rousseeuw 1987.
    """
    buyers = profile.loc[often_enough(profile, model.fewest_orders)].sort_index()
    points = sampled(points_of(model, buyers), seed)
    numbers = nearest(model, points)
    if not 1 < len(np.unique(numbers)) < len(points):
        return None
    return float(silhouette_score(points, numbers))


def fewest_orders(profile: pd.DataFrame) -> int:
    """Return from how many orders in the year on customers of this profile are grouped."""
    orders = profile["orders_365d"].to_numpy()
    few = np.count_nonzero((orders > 0) & (orders < FEWEST_ORDERS))
    return 1 if few <= FEW_AMONG_BUYERS * np.count_nonzero(orders > 0) else FEWEST_ORDERS


def often_enough(profile: pd.DataFrame, fewest: int) -> npt.NDArray[np.bool_]:
    """Return who has at least so many orders in the year, shape (n_customers,)."""
    return (profile["orders_365d"] >= fewest).to_numpy(np.bool_)


def points_of(model: ClusterModel, buyers: pd.DataFrame) -> Floats:
    """Return customers' traits in standard deviations, shape (n_customers, n_traits)."""
    traits = traits_of(buyers, [np.nan if t is None else t for t in model.typical])
    filled = np.where(np.isnan(traits), np.array(model.fill), traits)
    return (filled - np.array(model.mean)) / np.array(model.scale)


def nearest(model: ClusterModel, points: Floats) -> npt.NDArray[np.intp]:
    """Return the position of each point's cluster in the model, shape (n_customers,)."""
    centres = np.array([cluster.centre for cluster in model.clusters])
    return cdist(points, centres).argmin(axis=1)


def sampled(points: Floats, seed: int) -> Floats:
    """Return at most SAMPLE of the points, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(points))[:SAMPLE]
    return points[np.sort(chosen)]

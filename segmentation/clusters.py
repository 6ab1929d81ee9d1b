"""Behavioural clusters: which ways of shopping are there among our customers?

Customers are grouped by how they shop (how often, how much at once, on discount, where, when), not
by what they are worth: that is RFM's question. Each cluster is named by what sets it apart.
Shopping behaviour is mostly a continuum, so the silhouette says how far to trust the borders: near
0 they are drawn through a crowd, above .5 they run between crowds.

Source: k-means; number of clusters by mean silhouette (Rousseeuw 1987).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.impute import SimpleImputer
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from foundation.errors import TooLittleData

Floats: TypeAlias = npt.NDArray[np.float64]

NO_PURCHASES = "no purchases"
FEWEST_CUSTOMERS = 50
FEWEST_CLUSTERS, MOST_CLUSTERS = 3, 8

# A silhouette needs all pairs: a sample bounds its time and memory, whatever the customers.
SAMPLE = 3000
# A customer with one order has shares of 0 or 1: she is lent this many typical orders, or the
# clusters would be "the one-time evening buyers" and the like.
LENT_ORDERS = 5

# In standard deviations between customers; Cohen (1988) calls .2 small and .5 medium. The two
# largest deviations make a name when slight, the third only when clear.
CLEAR = 0.5
SLIGHT = 0.2


@dataclass(frozen=True)
class Trait:
    """One feature of behaviour, with the words for little and much of it."""

    feature: str
    kind: Literal["count", "money", "share"]
    low: str
    high: str
    meaning: str


TRAITS = (
    Trait("visit_days_365d", "count", "infrequent", "frequent", "days with a visit in a year"),
    Trait("basket_mean_365d", "money", "small baskets", "large baskets", "the typical basket"),
    Trait("discount_share_365d", "share", "full price", "discounts", "saved by discounts"),
    Trait("store_share_365d", "share", "several stores", "one store", "of orders in one store"),
    Trait("weekend_share_365d", "share", "weekdays", "weekends", "of orders at weekends"),
    Trait("evening_share_365d", "share", "daytime", "evening", "of orders in the evening"),
)


@dataclass(frozen=True)
class Clusters:
    """Every customer's cluster, and what the clusters are.

    `labels` are names, index as the profile's. `k` counts fitted clusters, without "no purchases";
    `silhouette` in [-1, 1] is theirs. `sizes` and `descriptions` are by name: the largest cluster
    first, "no purchases" last.
    """

    labels: pd.Series
    k: int
    silhouette: float
    sizes: dict[str, int]
    descriptions: dict[str, str]


# One thread: two of them sum in an order of their own, so a seed would not fix the last digit, and
# beside other work they wait for each other longer than they save (12 s seen against 0.6).
@threadpool_limits.wrap(limits=1)
def behaviour_clusters(profile: pd.DataFrame, seed: int) -> Clusters:
    """Group customers by how they shop.

    Args:
        profile: One row a customer, index unique and sortable: orders_365d and the features of
            TRAITS. Without an order in the year there is no behaviour to group: these customers
            are labelled "no purchases".
        seed: Same profile and seed, same clusters, whatever the order of rows.

    Raises:
        TooLittleData: Fewer than 50 customers have purchases, or they are too much alike.
    """
    # Sorted, since the seed draws starting points by position.
    buyers = profile.loc[profile["orders_365d"] > 0].sort_index()
    if len(buyers) < FEWEST_CUSTOMERS:
        raise TooLittleData(
            f"behaviour clusters of {len(buyers)} customers with purchases in the last year: at "
            f"least {FEWEST_CUSTOMERS} are needed; load more purchases"
        )
    preparation = _preparation()
    points: Floats = np.asarray(preparation.fit_transform(buyers))
    chosen = np.random.default_rng(seed).permutation(len(points))[:SAMPLE]
    sample = points[np.sort(chosen)]
    start = _best_start(sample, seed)
    model = _k_means(len(start), init=start, n_init=1).fit(points)
    numbers = np.asarray(model.predict(points))
    # Largest first, so that which of two like names gets the extra word does not hang on the draw.
    order = np.argsort(-np.bincount(numbers, minlength=len(start)), kind="stable")
    portraits = _portraits(model.cluster_centers_[order])
    names = np.array(list(portraits), dtype=object)
    labels = pd.Series(NO_PURCHASES, index=profile.index, dtype=object, name="cluster")
    labels.loc[buyers.index] = names[np.argsort(order)[numbers]]
    descriptions = _descriptions(buyers, labels, portraits)
    return Clusters(
        labels=labels,
        k=len(start),
        silhouette=float(silhouette_score(sample, model.predict(sample))),
        sizes={name: int((labels == name).sum()) for name in descriptions},
        descriptions=descriptions,
    )


class Behaviour(TransformerMixin, BaseEstimator):
    """Turn features into traits that distances make sense of.

    Money and counts are skewed, so their logarithm is taken; shares of few orders lean on the
    typical customer's. Part of the pipeline, so that a new customer is prepared like the others.
    """

    def fit(self, X: pd.DataFrame, y: None = None) -> "Behaviour":  # noqa: ARG002
        self.typical_ = [_median(X, trait) for trait in TRAITS]
        return self

    def transform(self, X: pd.DataFrame) -> Floats:
        orders = X["orders_365d"].to_numpy(np.float64)
        columns: list[Floats] = []
        for trait, typical in zip(TRAITS, self.typical_, strict=True):
            values = _values(X, trait)
            if trait.kind == "share":
                values = (values * orders + typical * LENT_ORDERS) / (orders + LENT_ORDERS)
            else:
                # Returns can bring money below nothing.
                values = np.log1p(np.maximum(values, 0))
            columns.append(values)
        return np.column_stack(columns)


def _preparation() -> Pipeline:
    return Pipeline(
        [
            ("behaviour", Behaviour()),
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )


def _k_means(k: int, **settings: Any) -> Any:
    # Untyped: checkers read "auto", scikit-learn's default, as the only kind of value.
    return KMeans(n_clusters=k, **settings)


def _best_start(sample: Floats, seed: int) -> Floats:
    """Return the centres, for the number of clusters with the best silhouette."""
    different = len(np.unique(sample, axis=0))
    if different <= FEWEST_CLUSTERS:
        raise TooLittleData(
            f"behaviour clusters of customers with only {different} different behaviours: more "
            f"than {FEWEST_CLUSTERS} are needed; check that baskets, stores and hours are loaded"
        )
    best, start = -np.inf, sample[:0]
    # Each customer on her own has no silhouette, hence fewer clusters than behaviours.
    for k in range(FEWEST_CLUSTERS, min(MOST_CLUSTERS, different - 1) + 1):
        model = _k_means(k, n_init=10, random_state=seed).fit(sample)
        quality = float(silhouette_score(sample, model.labels_))
        if quality > best:
            best, start = quality, model.cluster_centers_
    return start


def _portraits(centres: Floats) -> dict[str, list[int]]:
    """Name each centre by its largest deviations: name -> positions in TRAITS, strongest first.

    Two clusters may deviate most in the same traits: the second gets one word more until they
    differ, and in the end a number.
    """
    found: dict[str, list[int]] = {}
    for centre in centres:
        strongest = [int(i) for i in np.argsort(-np.abs(centre), kind="stable")]
        words = _clear(centre, strongest)
        name = _words(centre, words)
        while name in found and len(words) < len(TRAITS):
            words = strongest[: len(words) + 1]
            name = _words(centre, words)
        number = 2
        plain = name
        while name in found:
            name = f"{plain} ({number})"
            number += 1
        found[name] = words
    return found


def _clear(centre: Floats, strongest: Sequence[int]) -> list[int]:
    bars = [SLIGHT, SLIGHT, CLEAR]
    return [i for i, bar in zip(strongest, bars, strict=False) if abs(centre[i]) >= bar]


def _words(centre: Floats, positions: Sequence[int]) -> str:
    # In the order of TRAITS, so that like clusters read alike.
    words = [TRAITS[i].high if centre[i] > 0 else TRAITS[i].low for i in sorted(positions)]
    return ", ".join(words) or "typical"


def _descriptions(
    buyers: pd.DataFrame, labels: pd.Series, portraits: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, positions in portraits.items():
        members = buyers.loc[labels.loc[buyers.index] == name]
        facts = [_fact(TRAITS[i], members, buyers) for i in positions]
        share = len(members) / len(buyers)
        found[name] = f"{share:.0%} of buyers: {'; '.join(facts) or 'like the typical buyer'}."
    if (labels == NO_PURCHASES).any():
        found[NO_PURCHASES] = "No purchase in the last year, so no behaviour to group."
    return found


def _fact(trait: Trait, members: pd.DataFrame, everyone: pd.DataFrame) -> str:
    here, typical = _median(members, trait), _median(everyone, trait)
    if trait.kind == "count":
        return f"{here:.0f} {trait.meaning} (typical {typical:.0f})"
    if trait.kind == "share":
        return f"{here:.0%} {trait.meaning} (typical {typical:.0%})"
    # The frame does not know the currency, so money is told as a ratio.
    return f"{here / typical:.1f} times {trait.meaning}" if typical > 0 else trait.high


def _values(frame: pd.DataFrame, trait: Trait) -> Floats:
    return frame[trait.feature].to_numpy(np.float64, na_value=np.nan)


def _median(frame: pd.DataFrame, trait: Trait) -> float:
    values = _values(frame, trait)
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan

"""Clusters night by night: customers are assigned by the stored model, which is seldom refitted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import ibis
import msgspec
import pandas as pd

from foundation.contracts import CLUSTER_MODELS
from foundation.errors import TooLittleData
from foundation.lake import Lake, LakeWrite
from segmentation.behaviour import TRAITS
from segmentation.cluster_model import ClusterModel, assign, silhouette
from segmentation.clusters import NoStableClusters, fit_clusters

# A young shop has too few customers to tell groups of behaviour apart; the rest goes on.
UNCLUSTERED = "not clustered"
UNSTABLE = "no stable clusters"

# Four weeks hold each weekday equally often, and labels that people and rules work with stay.
REFIT_AFTER = timedelta(days=28)
# A silhouette below this part of the fit's says that customers have left the borders behind.
WORN = 0.8
# The lake's note of a search that found nothing stable.
REFUSED = "clusters refused"


@dataclass(frozen=True)
class StoredModel:
    """A cluster model and the instant it was fitted as of."""

    fitted_at: datetime
    model: ClusterModel


class Refused(msgspec.Struct, frozen=True):
    """A search as of `at` that found no stable clusters; too long a one for every night."""

    at: datetime
    reason: str


@dataclass(frozen=True)
class CustomerClusters:
    """Every customer's cluster.

    Either a `stored` model with the silhouette of these customers as assigned by it, or one label
    for all and why. `refitted` says why the model is new, None where it is the one of before.
    `refused` is a search of this run that found nothing stable.
    """

    labels: "pd.Series[str]"
    stored: StoredModel | None
    silhouette: float | None
    refitted: str | None
    unclustered: str | None
    refused: Refused | None = None


def cluster_customers(
    lake: Lake, values: pd.DataFrame, as_of: datetime, seed: int, *, refit: bool = False
) -> CustomerClusters:
    """Assign customers by the stored model, or by a new one where that is due.

    Args:
        values: Features as of the instant, one row a customer.
        refit: Fit anew whatever the stored model's age and state.
    """
    last = stored_model(lake, as_of)
    if last is not None:
        found = silhouette(last.model, values, seed)
        due = "asked for" if refit else _due(last, found, as_of)
        if due is None:
            return CustomerClusters(assign(last.model, values), last, found, None, None)
    else:
        due = "the first"
    tried = None if refit else _refused(lake, as_of, last)
    if tried is not None:
        again = tried.at + REFIT_AFTER
        reason = f"{tried.reason} (tried on {tried.at:%Y-%m-%d}, again on {again:%Y-%m-%d})"
        return CustomerClusters(_all(UNSTABLE, values), None, None, None, reason)
    try:
        model = fit_clusters(values, seed, None if last is None else last.model)
    except TooLittleData as refusal:
        unstable = isinstance(refusal, NoStableClusters)
        everybody = _all(UNSTABLE if unstable else UNCLUSTERED, values)
        refused = Refused(as_of, str(refusal)) if unstable else None
        return CustomerClusters(everybody, None, None, None, str(refusal), refused)
    found = silhouette(model, values, seed)
    return CustomerClusters(assign(model, values), StoredModel(as_of, model), found, due, None)


def stored_model(lake: Lake, as_of: datetime) -> StoredModel | None:
    """Return the newest cluster model that was known at an instant and measures as we do now."""
    rows = lake.table(CLUSTER_MODELS.name)
    known = rows.filter(rows["as_of"] <= ibis.literal(as_of))
    newest = known.order_by([ibis.desc("as_of"), ibis.desc("run_id")]).limit(1)
    for row in lake.fetch(newest).to_pylist():
        model = msgspec.json.decode(row["document"], type=ClusterModel)
        if model.features == tuple(trait.feature for trait in TRAITS):
            return StoredModel(row["as_of"], model)
    return None


def store_model(write: LakeWrite, run_id: str, clusters: CustomerClusters) -> None:
    """Keep a new model beside the labels it gave, or that there was nothing to keep."""
    if clusters.refused is not None:
        write.remember(REFUSED, msgspec.json.encode(clusters.refused).decode())
    if clusters.stored is None or clusters.refitted is None:
        return
    row = {
        "run_id": run_id,
        "as_of": clusters.stored.fitted_at,
        "document": msgspec.json.encode(clusters.stored.model).decode(),
    }
    write.merge(CLUSTER_MODELS.name, CLUSTER_MODELS.from_rows([row]))


def _refused(lake: Lake, as_of: datetime, last: StoredModel | None) -> Refused | None:
    """Return the last search without result, where the next one is not due yet.

    A search before the stored fit says nothing of customers who were told apart since.
    """
    note = lake.note(REFUSED)
    if note is None:
        return None
    found = msgspec.json.decode(note, type=Refused)
    if last is not None and found.at < last.fitted_at:
        return None
    return found if timedelta(0) <= as_of - found.at < REFIT_AFTER else None


def _all(label: str, values: pd.DataFrame) -> "pd.Series[str]":
    return pd.Series(label, index=values.index, dtype=object)


def _due(last: StoredModel, found: float | None, as_of: datetime) -> str | None:
    age = as_of - last.fitted_at
    if age >= REFIT_AFTER:
        return f"the last fit is {age.days} days old"
    if found is None:
        return "all customers fell into one cluster"
    if found < WORN * last.model.silhouette:
        return f"the silhouette fell from {last.model.silhouette:.2f} to {found:.2f}"
    return None

"""Customers: every one's features, attributes and groups as of an instant."""

from dataclasses import dataclass
from datetime import datetime

import ibis
import pandas as pd

from foundation.attributes import attributes_of
from foundation.features import Feature, definitions, features_as_of
from foundation.lake import Lake
from foundation.pseudonym import PREFIX
from foundation.rule_profile import Attribute
from foundation.settings import Settings
from regulars.assumptions import assumed
from regulars.jobs.clusters import CustomerClusters, cluster_customers
from regulars.jobs.lifecycle import lifecycle
from regulars.jobs.receipts import rfm

SEED = 7


@dataclass(frozen=True)
class Groups:
    """Every customer's scores and groups, by customer_id, and how her cluster is known.

    `without_season` says why silences were judged without season, where that is so.
    """

    rows: pd.DataFrame
    without_season: str | None
    clusters: CustomerClusters


def registry(lake: Lake) -> tuple[Feature, ...]:
    """Return this deployment's feature definitions."""
    return definitions(assumed(lake, "feature_categories", []))


def customer_features(lake: Lake, as_of: datetime) -> pd.DataFrame:
    """Return every known customer's features as of an instant, one row each, by customer_id.

    What stays of who is forgotten is nobody's: it is left out.
    """
    known = lake.table("customers").select("customer_id")
    bought = lake.table("purchases").select("customer_id")
    everyone = known.union(bought, distinct=True)
    everyone = everyone.filter(~everyone.customer_id.startswith(PREFIX))
    spine = everyone.mutate(as_of=ibis.literal(as_of).cast("timestamp('UTC')"))
    values = lake.fetch(features_as_of(lake, spine, registry(lake)).order_by("customer_id"))
    return values.to_pandas().drop(columns="as_of").set_index("customer_id")


def customer_groups(
    lake: Lake,
    settings: Settings,
    values: pd.DataFrame,
    as_of: datetime,
    past: str,
    refit_clusters: bool = False,
) -> Groups:
    """Return every customer's groups in each segmentation.

    Args:
        values: Every customer's features as of the same instant, as customer_features gives them.
        past: The table that RFM is made of: receipts, once refreshed, or purchases.
        refit_clusters: Fit clusters anew whatever the stored model's age and state.
    """
    rows = rfm(lake, settings, values.index, as_of, past)
    stands = lifecycle(lake, values, as_of)
    rows["lifecycle"] = stands.states
    clusters = cluster_customers(lake, values, as_of, SEED, refit=refit_clusters)
    rows["cluster"] = clusters.labels
    return Groups(rows, stands.without_season, clusters)


def customer_attributes(lake: Lake, customers: pd.Index) -> list[dict[str, Attribute]]:
    """Return each customer's attributes, in the order asked for."""
    rows = lake.fetch(lake.table("customers")).to_pylist()
    found = {row["customer_id"]: attributes_of(row) for row in rows}
    return [found.get(customer_id, {}) for customer_id in customers]

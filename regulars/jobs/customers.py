"""Customers: every one's features, attributes and groups as of an instant."""

from dataclasses import dataclass
from datetime import datetime

import ibis
import pandas as pd

from foundation.attributes import attributes_of
from foundation.errors import TooLittleData
from foundation.features import Feature, definitions, features_as_of
from foundation.lake import Lake
from foundation.rule_profile import Attribute
from foundation.settings import Settings
from regulars.assumptions import assumed
from regulars.jobs.lifecycle import lifecycle
from regulars.jobs.receipts import refresh_receipts, rfm
from segmentation.clusters import behaviour_clusters

SEED = 7
# A young shop has too few customers to tell groups of behaviour apart; the rest goes on.
UNCLUSTERED = "not clustered"


@dataclass(frozen=True)
class Groups:
    """Every customer's scores and groups, by customer_id.

    `without_season` says why silences were judged without season, `unclustered` why there are no
    clusters, where that is so.
    """

    rows: pd.DataFrame
    without_season: str | None
    silhouette: float | None
    unclustered: str | None


def registry(lake: Lake) -> tuple[Feature, ...]:
    """Return this deployment's feature definitions."""
    return definitions(assumed(lake, "feature_categories", []))


def customer_features(lake: Lake, as_of: datetime) -> pd.DataFrame:
    """Return every known customer's features as of an instant, one row each, by customer_id."""
    known = lake.table("customers").select("customer_id")
    bought = lake.table("purchases").select("customer_id")
    everyone = known.union(bought, distinct=True)
    spine = everyone.mutate(as_of=ibis.literal(as_of).cast("timestamp('UTC')"))
    values = lake.fetch(features_as_of(lake, spine, registry(lake)).order_by("customer_id"))
    return values.to_pandas().drop(columns="as_of").set_index("customer_id")


def customer_groups(
    lake: Lake, settings: Settings, values: pd.DataFrame, as_of: datetime
) -> Groups:
    """Return every customer's groups in each segmentation.

    Args:
        values: Every customer's features as of the same instant, as customer_features gives them.
    """
    refresh_receipts(lake)
    rows = rfm(lake, settings, values.index, as_of)
    stands = lifecycle(lake, values, as_of)
    rows["lifecycle"] = stands.states
    try:
        clusters = behaviour_clusters(values, SEED)
    except TooLittleData as error:
        rows["cluster"] = UNCLUSTERED
        return Groups(rows, stands.without_season, None, str(error))
    rows["cluster"] = clusters.labels
    return Groups(rows, stands.without_season, clusters.silhouette, None)


def customer_attributes(lake: Lake, customers: pd.Index) -> list[dict[str, Attribute]]:
    """Return each customer's attributes, in the order asked for."""
    rows = lake.fetch(lake.table("customers")).to_pylist()
    found = {row["customer_id"]: attributes_of(row) for row in rows}
    return [found.get(customer_id, {}) for customer_id in customers]

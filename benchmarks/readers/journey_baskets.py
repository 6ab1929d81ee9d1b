"""Does what goes with a basket tell whether an offer's products are bought next?

Complete Journey's offers were letters: nobody knows what lay in a basket when one was read. So of
each later basket one product is hidden, and each campaign is asked whether it holds for it. Inputs
are the affinities of the publication before all of these baskets, as the response model has them,
and the affinity to the rest of the basket, by complements of the same publication.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import ibis
import numpy as np
import pandas as pd

from adapters.duckdb_lake import DuckDbLake
from recommender.affinity import BASKET, NAMES, affinities
from recommender.next_products import basket_affinities
from recommender.next_products_held_out import hidden_products
from regulars.jobs.next_products import find_next_products
from regulars.jobs.publish import catalogue_offers

OFFER = "offer_products"


@dataclass(frozen=True)
class Asked:
    """A row a basket and campaign. `inputs` are affinities and how many products the campaign has.

    `basket` is the column that only a request knows; `outcome` whether the hidden product is one
    of the campaign's.
    """

    inputs: np.ndarray
    names: tuple[str, ...]
    basket: int
    outcome: np.ndarray
    customers: np.ndarray

    def without_basket(self) -> "Asked":
        """Return the same where no basket is known."""
        inputs = self.inputs.copy()
        inputs[:, self.basket] = np.nan
        return replace(self, inputs=inputs)


def asked_baskets(
    lake: DuckDbLake, published: datetime, since: datetime, until: datetime, seed: int
) -> Asked:
    """Return the baskets of some weeks, each beside every campaign that names its products.

    Args:
        published: What was bought before is known.
        since, until: When the baskets were bought, not before `published`.
    """
    scopes = {row["offer_id"]: row["scope"] for row in catalogue_offers(lake) if row["scope"]}
    served = find_next_products(lake, published).served.with_offers(list(scopes.values()))
    hidden = hidden_products(_bought(lake, since, until), seed)
    rows = pd.DataFrame(
        {
            "customer_id": np.repeat([one.customer_id for one in hidden], len(scopes)),
            "offer_id": np.tile(np.array(list(scopes), dtype=object), len(hidden)),
            "as_of": pd.Timestamp(published),
        }
    )
    near = affinities(lake, rows).astype(np.float64)
    near[:, BASKET] = np.concatenate(
        [
            basket_affinities(one.basket, len(scopes), served.products.get, served.groups.get)
            for one in hidden
        ]
    )
    held = [frozenset(scope) for scope in scopes.values()]
    return Asked(
        np.column_stack([near, np.tile([len(scope) for scope in held], len(hidden))]),
        (*NAMES, OFFER),
        BASKET,
        np.array([one.product_id in scope for one in hidden for scope in held], dtype=np.float64),
        rows["customer_id"].to_numpy(),
    )


def _bought(lake: DuckDbLake, since: datetime, until: datetime) -> pd.DataFrame:
    lines: Any = lake.table("purchases")
    inside = (lines["at"] >= ibis.literal(since)) & (lines["at"] < ibis.literal(until))
    bought = lines.filter(inside & (lines.quantity > 0))
    named = bought.select("customer_id", "order_id", product=bought.product_id)
    return lake.fetch(named.distinct()).to_pandas()

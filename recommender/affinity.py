"""Affinity: how close is this customer to this offer, by what she bought and redeemed before?

Share of wallet, lines and recency in the offer's products, what customers of like baskets buy
(factors of purchases), and her answers to offers of the same kind of campaign. Training and the
nightly publication call the same function; a row knows only events before its own instant.

The last of them, how well the offer goes with what is in her basket now, only a request can tell:
it is unknown here, and the service fills it in (see `basket_affinities` in next_products.py).

Sources: truncated singular value decomposition of customers by products (Deerwester et al. 1990;
Cremonesi, Koren and Turrin 2010, PureSVD).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from foundation.features import Events, Feature, NoEvents, events_before, feature_hash
from foundation.lake import Lake
from foundation.taken_back import standing, with_taken_back

WINDOW_DAYS = 365
FACTORS = 16
GROUPS_A_FACTOR = 4

NAMES = (
    "affinity_share_365d",
    "affinity_lines_365d",
    "affinity_recency_days",
    "affinity_kind_sent_365d",
    "affinity_kind_redeem_rate_365d",
    "affinity_factors",
    "affinity_basket",
)
BASKET = NAMES.index("affinity_basket")
_KEYS = ["customer_id", "offer_id", "as_of"]

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any


def affinities(lake: Lake, asked: pd.DataFrame) -> np.ndarray:
    """Return what is known of each customer and offer as of an instant.

    Args:
        asked: customer_id, offer_id and as_of (aware), in any order; rows may repeat.

    Returns:
        Floats of single precision, shape (len(asked), len(NAMES)); what is unknown is NaN, as
        all is of an offer the lake does not know. A share is of her spend in the last 365 days,
        recency days back from as_of over her whole past, factors a cosine from -1 to 1, the
        basket's always unknown.
    """
    wanted = asked[_KEYS].assign(
        as_of=pd.to_datetime(asked["as_of"], utc=True).astype("datetime64[us, UTC]")
    )
    pairs = wanted.drop_duplicates(ignore_index=True)
    if pairs.empty:
        return np.empty((0, len(NAMES)), dtype=np.float32)
    spine = arrow.table(
        {
            "customer_id": arrow.array(pairs["customer_id"], type=arrow.string()),
            "offer_id": arrow.array(pairs["offer_id"], type=arrow.string()),
            "as_of": arrow.array(pairs["as_of"], type=arrow.timestamp("us", tz="UTC")),
        }
    )
    counted = lake.fetch(_counted(lake, lake.memory(spine))).to_pandas()
    counted["as_of"] = counted["as_of"].astype("datetime64[us, UTC]")
    known = pairs.merge(counted, on=_KEYS, how="left", validate="one_to_one")
    known["affinity_factors"] = _cosines(lake, pairs)
    known["affinity_basket"] = np.nan
    found = wanted.merge(known, on=_KEYS, how="left", validate="many_to_one")
    return found[list(NAMES)].to_numpy(dtype=np.float32)


def response_hash(features: Sequence[Feature]) -> str:
    """Return a fingerprint of the customer features and of affinity: what a snapshot must hold."""
    whole = f"{feature_hash(features)}|{_definition()}"
    return blake2b(whole.encode(), digest_size=8).hexdigest()


@cache
def _definition() -> str:
    spine = ibis.table(
        {"customer_id": "string", "offer_id": "string", "as_of": "timestamp('UTC')"}, name="spine"
    )
    nothing = NoEvents()
    told = (_counted(nothing, spine), _grouped(nothing), _scopes(nothing))
    return "|".join(
        [
            *NAMES,
            str(FACTORS),
            str(GROUPS_A_FACTOR),
            *(ibis.to_sql(t, dialect="duckdb") for t in told),
        ]
    )


def _counted(events: Events, spine: ibis.Table) -> ibis.Table:
    """Return everything but the factors, a row for each row of the spine whose offer is known."""
    offers: Rows = events.table("offers")
    facts = offers.select(
        "offer_id",
        kind=offers.campaign_kind.fill_null(""),
        everything=offers.scope.length() == 0,
    )
    pairs: Rows = spine.join(facts, "offer_id")
    customers = spine.select("customer_id", "as_of").distinct()
    columns = ("customer_id", "at", "product_id", "quantity", "amount")
    lines = events_before(events.table("purchases").select(*columns), customers)
    scope = offers.select("offer_id", product_id=offers.scope.unnest())
    scope = scope.semi_join(spine, "offer_id")
    inside = lines.join(scope, "product_id").semi_join(spine, _KEYS)
    in_all = _bought(lines, ["customer_id", "as_of"])
    in_scope = _bought(inside, _KEYS)
    told: Rows = events.table("interactions").select("customer_id", "at", "kind", "offer_id")
    told = with_taken_back(told.filter(told.kind.isin(["sent", "redeem", "reverse"])))
    told = events_before(told.rename(event="kind"), customers)
    told = standing(told, told.as_of).join(facts.select("offer_id", "kind"), "offer_id")
    recent = told.age < WINDOW_DAYS
    answers = told.group_by("customer_id", "as_of", "kind").aggregate(
        sent=told.offer_id.nunique(where=recent & (told.event == "sent")),
        redeemed=told.offer_id.nunique(where=recent & (told.event == "redeem")),
    )
    rows: Rows = pairs.left_join(in_all, ["customer_id", "as_of"], rname="{name}_all")
    rows = rows.left_join(in_scope, _KEYS, rname="{name}_scope")
    rows = rows.left_join(answers, ["customer_id", "as_of", "kind"], rname="{name}_kind")
    whole = rows.everything
    return rows.select(
        *_KEYS,
        affinity_share_365d=whole.ifelse(rows.spent, rows.spent_scope.fill_null(0)).cast("float64")
        / (rows.spent > 0).ifelse(rows.spent, None),
        affinity_lines_365d=whole.ifelse(rows.lines, rows.lines_scope).fill_null(0),
        affinity_recency_days=whole.ifelse(rows.recency, rows.recency_scope),
        affinity_kind_sent_365d=rows.sent.fill_null(0),
        affinity_kind_redeem_rate_365d=rows.redeemed.cast("float64") / rows.sent.nullif(0),
    )


def _bought(lines: Rows, by: list[str]) -> Rows:
    recent = lines.age < WINDOW_DAYS
    return lines.group_by(*by).aggregate(
        spent=lines.amount.sum(where=recent),
        lines=(recent & (lines.quantity > 0)).sum(),
        recency=lines.age.min(where=lines.quantity > 0),
    )


def _grouped(events: Events) -> ibis.Table:
    """Return who bought of which group of products when, a row a line."""
    lines: Rows = events.table("purchases").select("customer_id", "at", "product_id")
    return lines.join(_groups(events), "product_id").select("customer_id", "group", "at")


def _scopes(events: Events) -> ibis.Table:
    """Return how many products of each group each offer holds for."""
    offers: Rows = events.table("offers")
    groups = _groups(events)
    scope = offers.select("offer_id", product_id=offers.scope.unnest())
    part = scope.join(groups, "product_id").select("offer_id", "group")
    whole = offers.filter(offers.scope.length() == 0).select("offer_id").cross_join(groups)
    both: Rows = part.union(whole.select("offer_id", "group"))
    counted = both.group_by("offer_id", "group").aggregate(products=both.count())
    return counted.order_by("offer_id", "group")


def _groups(events: Events) -> Rows:
    products: Rows = events.table("products")
    # Single products are too sparse: few customers share one.
    return products.select("product_id", group=products.subcategory.coalesce(products.category))


@dataclass(frozen=True)
class _Lines:
    """Lines as numbers: whose, of which group, when; and what the numbers stand for."""

    customer: np.ndarray
    group: np.ndarray
    at: np.ndarray
    customers: pd.Index
    groups: pd.Index

    def baskets(self, as_of: np.datetime64) -> csr_array:
        """Return the logarithm of lines of the year before, shape (n customers, n groups)."""
        year = np.timedelta64(WINDOW_DAYS, "D")
        chosen = (self.at < as_of) & (self.at >= as_of - year)
        shape = (len(self.customers), len(self.groups))
        counts = csr_array(
            (np.ones(int(chosen.sum())), (self.customer[chosen], self.group[chosen])), shape=shape
        )
        counts.sum_duplicates()
        counts.data = np.log1p(counts.data)
        return counts


def _cosines(lake: Lake, pairs: pd.DataFrame) -> np.ndarray:
    """Return how near each customer and each offer lie in the factors of that instant's baskets."""
    lines = _lines(lake, pairs["as_of"])
    scopes = lake.fetch(_scopes(lake)).to_pandas()
    scopes = scopes[scopes["group"].isin(lines.groups)]
    offers = pd.Index(scopes["offer_id"].unique())
    places = (offers.get_indexer(scopes["offer_id"]), lines.groups.get_indexer(scopes["group"]))
    products = scopes["products"].to_numpy(dtype=np.float64)
    holds = csr_array((products, places), shape=(len(offers), len(lines.groups)))
    who = lines.customers.get_indexer(pd.Index(pairs["customer_id"]))
    what = offers.get_indexer(pd.Index(pairs["offer_id"]))
    instants = pairs["as_of"].dt.tz_localize(None).to_numpy()
    found = np.full(len(pairs), np.nan)
    for as_of in np.unique(instants):
        baskets = lines.baskets(as_of)
        here = (instants == as_of) & (who >= 0) & (what >= 0)
        # Nearly as many factors as groups would only repeat the baskets.
        groups, customers = (int((np.asarray(baskets.sum(axis=a)) > 0).sum()) for a in (0, 1))
        rank = min(FACTORS, groups // GROUPS_A_FACTOR, customers - 1)
        if rank < 1 or not here.any():
            continue
        # A fixed start, so that the same purchases give the same factors.
        factors: Any = svds(
            baskets, k=rank, v0=np.ones(min(len(lines.customers), len(lines.groups)))
        )[2]
        hers, its = _unit(baskets[who[here]] @ factors.T), _unit(holds @ factors.T)
        found[here] = np.einsum("ij,ij->i", hers, its[what[here]])
    return found


def _lines(lake: Lake, instants: "pd.Series[Any]") -> _Lines:
    first = instants.min() - pd.Timedelta(days=WINDOW_DAYS)
    rows: Rows = _grouped(lake)
    rows = rows.filter(
        (rows["at"] >= _instant(first.to_pydatetime()))
        & (rows["at"] < _instant(instants.max().to_pydatetime()))
    )
    found = lake.fetch(rows)
    customer, group = (found[name].combine_chunks() for name in ("customer_id", "group"))
    codes = [pd.factorize(column.to_pandas(), sort=True) for column in (customer, group)]
    at = found["at"].to_numpy().astype("datetime64[us]")
    return _Lines(codes[0][0], codes[1][0], at, pd.Index(codes[0][1]), pd.Index(codes[1][1]))


def _instant(at: datetime) -> Rows:
    return ibis.literal(at).cast("timestamp('UTC')")


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)

"""Reasons: why an offer suits a customer, made ready at publish so that an answer only reads them.

Contributions cost more than scores. So each customer has reasons of the offers that suit her best,
by score at a moment of which nothing is known; of the others she has none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.lake import Lake
from foundation.offer import Offer
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_vector
from recommender.pair_scores import Inputs, pair_matrix, pair_scores
from recommender.protected import may_be_told
from recommender.reasons import MOST, UNNAMED, reason_codes, topics
from recommender.response_model import ResponseModel

# Offers explained a customer.
BEST = 5
BLOCK = 4_096
# Goods of this part of an offer name it.
MAINLY = 0.8
CHANNEL = "app"


def reasons_of(
    model: ResponseModel,
    names: Sequence[str],
    vectors: np.ndarray,
    offers: Sequence[Offer],
    affinity: np.ndarray,
    goods: Sequence[str],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the topics of reasons, and the reasons' codes for every customer and offer.

    Args:
        names: Customer features, the first inputs of the model.
        vectors: Every customer's, shape (N, len(names)).
        affinity: Of each customer and offer, shape (N, M, A).
        goods: As from `goods_of`.

    Returns:
        Topics by key, behind codes from 1 on; codes of single bytes, the strongest first, 0 for
        none, shape (N, M, MOST).
    """
    told = topics(names)
    offered = model.names[len(names) : -len(AFFINITY_NAMES) - len(CONTEXT_NAMES)]
    its = np.array([offer_vector(offered, offer) for offer in offers])
    context = context_features(CHANNEL, None, "UTC", None)
    named = np.array([bool(name) for name in goods])
    codes = np.zeros((*affinity.shape[:2], MOST), dtype=np.uint8)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, min(start + BLOCK, len(vectors)))
        n = part.stop - start
        inputs = Inputs(vectors[part], its, affinity[part], np.tile(context, (n, 1)))
        customer, offer = _best(model, inputs, n, len(offers))
        matrix = pair_matrix(inputs, customer, offer)
        codes[start + customer, offer] = reason_codes(
            model, model.names, matrix, told, named[offer]
        )
    return tuple(topic.key for topic in told), codes


def _best(
    model: ResponseModel, inputs: Inputs, customers: int, offers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return customers and their best offers, pair by pair."""
    everyone, each = np.arange(customers), np.arange(offers)
    best = min(BEST, offers)
    if offers == best:
        return np.repeat(everyone, offers), np.tile(each, customers)
    scores = pair_scores(model, inputs, np.repeat(everyone, offers), np.tile(each, customers))
    order = np.argsort(-scores.reshape(customers, offers), axis=1, kind="stable")[:, :best]
    return np.repeat(everyone, best), order.ravel()


def goods_of(lake: Lake, offers: Sequence[str]) -> list[str]:
    """Return what each offer is for, as customers call it; empty where that may not be told.

    It may not where the offer holds for everything, or mainly for goods that are nobody's business.
    """
    scoped = lake.table("offers").select("offer_id", product_id=lambda t: t.scope.unnest())
    known = lake.table("products").select("product_id", "category", "subcategory")
    rows = lake.fetch(scoped.join(known, "product_id")).to_pandas()
    found = {str(offer_id): _named(part) for offer_id, part in rows.groupby("offer_id")}
    return [found.get(offer_id, "") for offer_id in offers]


def _named(products: pd.DataFrame) -> str:
    categories: pd.Series[Any] = products["category"]
    narrow = products["subcategory"].fillna(categories)
    private = [
        not (may_be_told(category) and may_be_told(name))
        for category, name in zip(categories, narrow, strict=True)
    ]
    if np.mean(private) >= 0.5:
        return ""
    for names in (narrow, categories):
        shares = names.value_counts(normalize=True)
        if shares.iloc[0] >= MAINLY:
            return str(shares.index[0]).lower()
    return UNNAMED

"""Offer features: what is known of an offer before anyone answers it."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from foundation.offer import Offer

PLAIN = (
    "offer_days",
    "offer_products",
    "offer_reward",
    "offer_min_spend",
    "offer_cost",
)
_KIND = "offer_campaign_kind="


def offer_feature_names(campaign_kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the names for a catalogue that knows these kinds of campaign."""
    return (*PLAIN, *(f"{_KIND}{kind}" for kind in sorted(set(campaign_kinds))))


def is_offer_feature(name: str) -> bool:
    """Whether `offer_features` knows how to compute a feature of this name."""
    return name in PLAIN or name.startswith(_KIND)


def offer_features(
    names: Sequence[str],
    *,
    valid_from: datetime,
    valid_to: datetime,
    products: int,
    reward: float,
    min_spend: float,
    cost: float,
    campaign_kind: str | None,
) -> np.ndarray:
    """Return one offer's features in the order of `names`.

    Args:
        products: Number of products in scope; 0 means all.
        reward, min_spend, cost: As in the offers contract, money in minor units.

    Returns:
        Floats, shape (len(names),). A kind of campaign the names do not know is all zeros.
    """
    known = {
        "offer_days": (valid_to - valid_from).total_seconds() / 86_400,
        "offer_products": float(products),
        "offer_reward": reward,
        "offer_min_spend": min_spend,
        "offer_cost": cost,
    }
    return np.array(
        [
            float(name == f"{_KIND}{campaign_kind}") if name.startswith(_KIND) else known[name]
            for name in names
        ]
    )


def offer_vector(names: Sequence[str], offer: Offer) -> np.ndarray:
    """Return the features of an offer of the catalogue, in the order of `names`."""
    return offer_features(
        names,
        valid_from=offer.valid_from,
        valid_to=offer.valid_to,
        products=offer.products,
        reward=offer.reward,
        min_spend=offer.min_spend,
        cost=offer.cost,
        campaign_kind=offer.campaign_kind,
    )

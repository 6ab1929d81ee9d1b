"""An offer as the service holds it in memory, ready to be judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from foundation.uses import NO_LIMITS, Limits, read_limits


@dataclass(frozen=True, slots=True)
class Offer:
    """A validated offer. `products` counts the scope, 0 meaning all products.

    `lever` is the marketer's own weight where offers are ranked in money.
    """

    offer_id: str
    title: str
    valid_from: datetime
    valid_to: datetime
    channels: frozenset[str]
    placements: frozenset[str]
    stores: frozenset[str]
    eligibility: Any
    customer_cap: int | None
    priority: int
    exclusive_group: str | None
    products: int
    reward: float
    min_spend: int
    cost: int
    campaign_kind: str | None
    popularity: float
    limits: Limits = NO_LIMITS
    lever: float = 1.0


def read_offer(document: Mapping[str, Any], popularity: float) -> Offer:
    """Return the offer in a row of the offers contract, its times written in ISO 8601.

    Args:
        popularity: Past response to it, in [0, 1]; ranks offers where nothing is known of her.
    """
    return Offer(
        offer_id=document["offer_id"],
        title=document["title"],
        valid_from=datetime.fromisoformat(document["valid_from"]),
        valid_to=datetime.fromisoformat(document["valid_to"]),
        channels=frozenset(document["channels"]),
        placements=frozenset(document["placements"]),
        stores=frozenset(document["stores"]),
        eligibility=document["eligibility"],
        customer_cap=document["customer_cap"],
        priority=document["priority"],
        exclusive_group=document["exclusive_group"],
        products=len(document["scope"]),
        reward=document["reward"],
        min_spend=document["min_spend"],
        cost=document["cost"],
        campaign_kind=document["campaign_kind"],
        popularity=popularity,
        limits=read_limits(document),
        # Catalogues published before there were levers have none.
        lever=document.get("lever") or 1.0,
    )

"""An offer as the service holds it in memory, ready to be judged."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Offer:
    """A validated offer. `products` counts the scope, 0 meaning all products."""

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

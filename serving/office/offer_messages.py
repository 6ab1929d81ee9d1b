"""Offers as the office reads and writes them. Money is decimal at this border."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from foundation.outcome import Channel, Id

OfferKind = Literal[
    "percent", "amount", "fixed_price", "points", "gift", "buy_n_get_m", "bundle", "streak",
    "informational",
]  # fmt: skip
Money = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Line = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
# Its depth and breadth have bounds of their own, see foundation.rules.
Rule = dict[str, Any]


class OfferTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An offer, whole: what is left out is not asked for.

    `reward` is percent, money (of `amount` and `fixed_price`), points or pieces, by `kind`.
    `eligibility` is a rule on the customer; `attribution_days` how long a redemption answers an
    exposure; `lever` the marketer's weight where offers rank by money.
    """

    title: Line
    kind: OfferKind
    reward: Annotated[float, Meta(ge=0, le=1e9)]
    valid_from: Annotated[datetime, Meta(tz=True)]
    valid_to: Annotated[datetime, Meta(tz=True)]
    cost: Money
    min_spend: Money = 0.0
    scope: Annotated[list[Id], Meta(max_length=200_000)] = []
    channels: Annotated[list[Channel], Meta(max_length=8)] = []
    placements: Annotated[list[Id], Meta(max_length=100)] = []
    stores: Annotated[list[Id], Meta(max_length=20_000)] = []
    eligibility: Rule | None = None
    total_cap: Count | None = None
    customer_cap: Count | None = None
    budget: Money | None = None
    stock: Count | None = None
    store_stock: Annotated[dict[Id, Count], Meta(max_length=20_000)] | None = None
    funder: Id | None = None
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    exclusive_group: Id | None = None
    combinable: bool = True
    campaign_kind: Id | None = None
    attribution_days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    lever: Annotated[float, Meta(ge=0.5, le=2)] | None = None


class NewOffer(OfferTerms, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An offer that there is not yet."""

    offer_id: Id


class ShownOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer of the live catalogue. `terms` can be sent back as they are."""

    offer_id: str
    version: str
    terms: OfferTerms


class WrittenOffer(ShownOffer, frozen=True, kw_only=True):
    """An offer as it was just written.

    `waits` says what its rule asks for that the live snapshot lacks: until the next `regulars
    segment` it is shown to nobody. `warnings` name products and stores that nobody knows.
    """

    waits: str | None
    warnings: list[str]


class OfferList(msgspec.Struct, frozen=True):
    """Some offers in the order of their ids; `next` is the `after` of the following page."""

    offers: list[ShownOffer]
    next: str | None


class WithdrawnOffer(msgspec.Struct, frozen=True):
    """An offer that is shown and taken no more; `reserved` customers had activated it."""

    offer_id: str
    reserved: int

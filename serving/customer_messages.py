"""What is asked and answered about one customer, as JSON."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from foundation.outcome import Channel, Id


class ConsentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Her answers by channel; `source` says where she gave them. Other channels stay."""

    consents: Annotated[dict[Channel, bool], Meta(min_length=1)]
    source: Id = "api"


class ConsentsAnswer(msgspec.Struct, frozen=True):
    """Her newest answers, which hold for every decision from now on."""

    customer_id: str
    consents: dict[str, bool]


class JourneyStep(msgspec.Struct, frozen=True):
    """Something that happened with her. `amount` is decimal net money of a receipt."""

    at: datetime
    kind: str
    channel: str
    offer_id: str | None = None
    order_id: str | None = None
    amount: float | None = None


class KnownConsent(msgspec.Struct, frozen=True):
    """A consent with who wrote it down when, and where she gave it."""

    channel: str
    granted: bool
    at: datetime
    who: str
    source: str


class CustomerAnswer(msgspec.Struct, frozen=True):
    """What is known of a customer: profile and segments by the live snapshot, all of her consents
    (the newest last), her journey (the newest first).
    """

    customer_id: str
    snapshot: str | None
    household_id: str | None
    time_zone: str | None
    segments: dict[str, str]
    features: dict[str, float | None]
    attributes: dict[str, Any]
    consents: list[KnownConsent]
    journey: list[JourneyStep]


class SnapshotExport(msgspec.Struct, frozen=True):
    """What the live snapshot holds of a customer.

    `affinities` says by offer, under the names of the models' inputs, how close she is to it, by
    what she bought and redeemed; `reasons` why an offer was found to suit her, the strongest
    first. What is unknown is left out of both. `remaining_value` is money in minor units.
    """

    version: str
    household_id: str | None = None
    time_zone: str | None = None
    segments: dict[str, str] = {}
    features: dict[str, float | None] = {}
    attributes: dict[str, Any] = {}
    counts: dict[str, int] = {}
    redemptions: dict[str, int] = {}
    remaining_value: float | None = None
    affinities: dict[str, dict[str, float]] = {}
    reasons: dict[str, list[str]] = {}


class CustomerExport(msgspec.Struct, frozen=True):
    """All that is known of a customer: rows of the database and the lake by table, her profile."""

    customer_id: str
    database: dict[str, list[dict[str, Any]]]
    lake: dict[str, list[dict[str, Any]]]
    snapshot: SnapshotExport | None


class ErasedAnswer(msgspec.Struct, frozen=True):
    """Rows that went or are kept under a pseudonym, by table, and what forgets her later."""

    customer_id: str
    rows: dict[str, int]
    pending: list[str]

"""What the service is asked and what it answers, as JSON. Money is decimal at this border."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# Ids are opaque, but a control character is a mistake and NUL breaks text columns.
Id = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Meta(max_length=4000, pattern=r"^[^\x00]*$")]
# The contract's channels and kinds, spelled out for the parser; a test holds them together.
Channel = Literal["store", "app", "web", "email", "push", "mail", "till", "call"]
Amount = Annotated[float, Meta(ge=-1e9, le=1e9)]
Quantity = Annotated[float, Meta(ge=-1e6, le=1e6)]


class AskedPlacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A spot to fill."""

    name: Id
    limit: Annotated[int, Meta(ge=1, le=20)] = 1


class AskedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the basket; `amount` is decimal money for the whole line."""

    product_id: Id
    quantity: Quantity
    amount: Amount


class AskedContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The moment: where, and what is in the basket."""

    store_id: Id | None = None
    basket: Annotated[list[AskedLine], Meta(max_length=500)] | None = None


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which offers for this customer, in this channel, now?"""

    customer_id: Id
    channel: Channel
    placements: Annotated[list[AskedPlacement], Meta(min_length=1, max_length=10)]
    context: AskedContext = AskedContext()


class AnsweredOffer(msgspec.Struct, frozen=True):
    """An offer to show."""

    offer_id: str
    title: str
    rank: int
    score: float
    propensity: float
    valid_to: datetime


class AnsweredPlacement(msgspec.Struct, frozen=True):
    """A filled spot. `fallback` says that the offers are not chosen for this customer."""

    name: str
    fallback: bool
    offers: list[AnsweredOffer]
    slate_propensity: float


class AnsweredExperiment(msgspec.Struct, frozen=True):
    """The customer's variant of a running experiment."""

    key: str
    variant: str


class AnsweredVersions(msgspec.Struct, frozen=True):
    """What decided."""

    catalogue: int
    model: str | None
    snapshot: str | None
    policy: str


class DecisionAnswer(msgspec.Struct, frozen=True):
    """The decision; it is in the database before this leaves. `causes` says why it is degraded."""

    decision_id: str
    customer_id: str
    degraded: bool
    causes: list[str]
    placements: list[AnsweredPlacement]
    experiments: list[AnsweredExperiment]
    versions: AnsweredVersions


Kind = Literal[
    "sent", "impression", "view", "activate", "redeem", "dismiss", "visit", "search", "purchase",
    "return", "complaint", "ticket_opened", "ticket_answered", "ticket_resolved", "survey",
]  # fmt: skip


class BoughtLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a receipt. `amount` is decimal net money, negative for a return."""

    line_id: Id
    product_id: Id
    quantity: Quantity
    amount: Amount
    discount: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    offer_discount: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    offer_id: Id | None = None
    returns_line_id: Id | None = None


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happened. A purchase or return carries its lines."""

    event_id: Id
    customer_id: Id
    at: Annotated[datetime, Meta(tz=True)]
    channel: Channel
    kind: Kind
    touchpoint: Id | None = None
    offer_id: Id | None = None
    decision_id: Id | None = None
    order_id: Id | None = None
    store_id: Id | None = None
    value: Amount | None = None
    text: Text | None = None
    lines: Annotated[list[BoughtLine], Meta(max_length=500)] = []


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of outcomes; an event_id told twice counts once."""

    events: Annotated[list[Outcome], Meta(min_length=1, max_length=1000)]


class OutcomeAnswer(msgspec.Struct, frozen=True):
    """How many were new, and how many had been told before."""

    accepted: int
    repeated: int


def schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return JSON schemas of every message by name, and references to them, for OpenAPI."""
    messages = (DecisionRequest, DecisionAnswer, OutcomeRequest, OutcomeAnswer)
    references, components = msgspec.json.schema_components(
        messages, ref_template="#/components/schemas/{name}"
    )
    return components, {m.__name__: r for m, r in zip(messages, references, strict=True)}

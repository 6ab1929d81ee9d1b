"""An outcome: something that happened to a customer, as a channel tells it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from foundation.errors import RegularsError
from foundation.money import to_minor
from foundation.own_id import OWN

LONGEST_ID = 200
# Ids are opaque, but a control character is a mistake and NUL breaks text columns.
Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
Text = Annotated[str, Meta(max_length=4000, pattern=r"^[^\x00]*$")]
# The contract's channels and kinds, spelled out for the parser; a test holds them together.
Channel = Literal["store", "app", "web", "email", "push", "mail", "till", "call"]
Amount = Annotated[float, Meta(ge=-1e9, le=1e9)]
Quantity = Annotated[float, Meta(ge=-1e6, le=1e6)]
Kind = Literal[
    "sent", "impression", "view", "activate", "redeem", "reverse", "dismiss", "visit", "search",
    "purchase", "return", "complaint", "ticket_opened", "ticket_answered", "ticket_resolved",
    "survey",
]  # fmt: skip


# The text of every event that was simulated.
SIMULATED = "simulated"

# Kinds whose value is money; any other value is a score.
MONEY_KINDS = frozenset({"redeem", "purchase", "return"})
# Kinds that carry the lines of a receipt, and no other kind does.
RECEIPT_KINDS = frozenset({"purchase", "return"})


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


EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(days=1)


def check_outcome(outcome: Outcome, now: datetime) -> None:
    """Pass an outcome that the lake can take.

    Raises:
        RegularsError: Its id is one of the service's own, its time lies before 1970 or over a day
            ahead, a purchase or return has no lines or another kind has some, a redeem names no
            offer, a reverse is told here, or an amount has more than two decimals.
    """
    if outcome.event_id.startswith(OWN):
        raise RegularsError(
            f"event {outcome.event_id!r}: ids that begin with {OWN!r} are the service's own; give "
            "it an id of yours"
        )
    if not EARLIEST <= outcome.at <= now + CLOCK_SKEW:
        raise RegularsError(
            f"event {outcome.event_id!r}: at {outcome.at.isoformat()} lies before 1970 or over a "
            "day ahead of the service's clock; send the time it happened"
        )
    if outcome.kind in RECEIPT_KINDS and not outcome.lines:
        # Its money would count nowhere: figures are made from lines.
        raise RegularsError(
            f"event {outcome.event_id!r}: lines is empty, a {outcome.kind} needs at least one; "
            "send what is on the receipt"
        )
    if outcome.lines and outcome.kind not in RECEIPT_KINDS:
        raise RegularsError(
            f"event {outcome.event_id!r}: kind {outcome.kind!r} carries {len(outcome.lines)} "
            "lines, only a purchase or return has some; send them as one of these"
        )
    if outcome.kind == "reverse":
        # Which use it gives back, its redemption alone says.
        raise RegularsError(
            f"event {outcome.event_id!r}: a reverse is not told as an outcome; give the use back "
            "with POST /v1/redemptions/{redemption_id}/reverse"
        )
    if outcome.kind == "redeem" and outcome.offer_id is None:
        # Neither its cost nor its cap would be known.
        raise RegularsError(
            f"event {outcome.event_id!r}: offer_id is missing, a redeem needs it; name the offer"
        )
    amounts = [a for b in outcome.lines for a in (b.amount, b.discount, b.offer_discount)]
    if outcome.value is not None and outcome.kind in MONEY_KINDS:
        amounts.append(outcome.value)
    for amount in amounts:
        try:
            to_minor(amount)
        except RegularsError as error:
            raise RegularsError(f"event {outcome.event_id!r}: {error}") from error

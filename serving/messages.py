"""What the service is asked and what it answers, as JSON. Money is decimal at this border."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from foundation.outcome import Amount, Channel, Id, Outcome, Quantity
from serving.customer_messages import (
    ConsentRequest,
    ConsentsAnswer,
    CustomerAnswer,
    CustomerExport,
    ErasedAnswer,
)


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
    """Which offers for this customer, in this channel, now?

    `explain` asks for a verdict on every candidate. `dry_run` decides and keeps nothing.
    """

    customer_id: Id
    channel: Channel
    placements: Annotated[list[AskedPlacement], Meta(min_length=1, max_length=10)]
    context: AskedContext = AskedContext()
    explain: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        names = [placement.name for placement in self.placements]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"placement {twice!r} is asked for twice; ask once, with a limit")


class RecommendationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which products go with these?"""

    basket: Annotated[list[Id], Meta(min_length=1, max_length=500)]
    limit: Annotated[int, Meta(ge=1, le=20)] = 5


class AnsweredProduct(msgspec.Struct, frozen=True):
    """A product that goes with the basket. `lift` is how many times as often as by chance it is
    bought with what the reason names; null where only factors say that the two go together.
    """

    product_id: str
    rank: int
    score: float
    lift: float | None
    reason: str


class RecommendationAnswer(msgspec.Struct, frozen=True):
    """Products to recommend, the best first; `causes` says why there are none."""

    products: list[AnsweredProduct]
    causes: list[str]
    snapshot: str | None


class AnsweredOffer(msgspec.Struct, frozen=True):
    """An offer to show. `reasons` say in short sentences why it suits her; there may be none."""

    offer_id: str
    title: str
    rank: int
    score: float
    propensity: float
    valid_to: datetime
    reasons: list[str]


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


class Considered(msgspec.Struct, frozen=True):
    """What became of a candidate: `verdict` is `shown` or the code of why not.

    `score` is null where it was refused before it was scored.
    """

    offer_id: str
    verdict: str
    score: float | None


class DecisionAnswer(msgspec.Struct, frozen=True):
    """The decision; it is on disk before this leaves. `causes` says why it is degraded.

    What has no `decision_id` is recorded nowhere, and nothing can come of it: a dry run, or a
    decision that neither the database nor the disk took. `considered` is there where asked for.
    """

    decision_id: str | None
    customer_id: str
    degraded: bool
    causes: list[str]
    placements: list[AnsweredPlacement]
    experiments: list[AnsweredExperiment]
    versions: AnsweredVersions
    # Held as the JSON it becomes.
    considered: list[Considered] | UnsetType = UNSET


class ReplayedOffer(msgspec.Struct, frozen=True):
    """An offer as it is drawn again."""

    offer_id: str
    rank: int
    score: float
    propensity: float


class ReplayedPlacement(msgspec.Struct, frozen=True):
    """A spot as it is filled again."""

    name: str
    fallback: bool
    offers: list[ReplayedOffer]
    slate_propensity: float


class ReplayAnswer(msgspec.Struct, frozen=True):
    """A decision made again from its record.

    `same` says whether that gives the recorded slates, with the same probabilities. `gone` names
    what it was made with and is not live any more: the record alone is what it is made from.
    """

    decision_id: str
    customer_id: str
    at: datetime
    same: bool
    gone: list[str]
    placements: list[ReplayedPlacement]
    experiments: list[AnsweredExperiment]
    versions: AnsweredVersions


class OutcomeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of outcomes; an event_id told twice counts once."""

    events: Annotated[list[Outcome], Meta(min_length=1, max_length=1000)]


class OutcomeAnswer(msgspec.Struct, frozen=True):
    """How many were new, and how many had been told before.

    `spooled` ones are kept until the database is back: how many of them are new is not known yet.
    """

    accepted: int
    repeated: int
    spooled: int = 0


class ActivationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keep one use of an offer for this customer."""

    customer_id: Id
    offer_id: Id
    channel: Channel
    store_id: Id | None = None
    decision_id: Id | None = None


class ActivationAnswer(msgspec.Struct, frozen=True):
    """The reservation and when it ends, or the reason why there is none."""

    activation_id: str | None
    expires_at: datetime | None
    refused: str | None


class RedemptionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Use an offer now: the use of `activation_id`, else the one kept for her first, else a new
    one."""

    customer_id: Id
    offer_id: Id
    channel: Channel
    activation_id: Id | None = None
    store_id: Id | None = None
    decision_id: Id | None = None
    order_id: Id | None = None


class RedemptionAnswer(msgspec.Struct, frozen=True):
    """The use, which is counted and told as an outcome; or the reason why there is none."""

    redemption_id: str | None
    refused: str | None


class EndedAnswer(msgspec.Struct, frozen=True):
    """What became of a use; `changed` is false where it was so before."""

    state: str
    changed: bool


def schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return JSON schemas of every message by name, and references to them, for OpenAPI."""
    messages = (
        DecisionRequest,
        DecisionAnswer,
        ReplayAnswer,
        OutcomeRequest,
        OutcomeAnswer,
        ActivationRequest,
        ActivationAnswer,
        RedemptionRequest,
        RedemptionAnswer,
        EndedAnswer,
        RecommendationRequest,
        RecommendationAnswer,
        ConsentRequest,
        ConsentsAnswer,
        CustomerAnswer,
        CustomerExport,
        ErasedAnswer,
    )
    references, components = msgspec.json.schema_components(
        messages, ref_template="#/components/schemas/{name}"
    )
    return components, {m.__name__: r for m, r in zip(messages, references, strict=True)}

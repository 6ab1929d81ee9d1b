"""The decision record: what was asked, known, considered, refused, drawn and answered.

The same record feeds A/B analysis, training and off-policy evaluation, and replays the decision.
It is bounded: the customer's vector once, a score for each eligible offer, one refusal code for
each other one.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

POLICY_KINDS = ("response", "popular", "random", "none")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a slate is drawn: a ranking, mixed with a share of random slates.

    `none` shows nothing; it is the policy of a holdout.
    """

    kind: Literal["response", "popular", "random", "none"]
    exploration: float = 0.0

    def __post_init__(self) -> None:
        # Outside of it, every propensity drawn by this policy would be wrong.
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"exploration is a share from 0 to 1, not {self.exploration}")


class BasketLine(msgspec.Struct, frozen=True):
    """A line of the basket at the till; `amount` in minor units."""

    product_id: str
    quantity: float
    amount: int


class Context(msgspec.Struct, frozen=True):
    """What the request said about the moment; `basket` is None where there is none."""

    store_id: str | None = None
    basket: list[BasketLine] | None = None


class Placement(msgspec.Struct, frozen=True):
    """A spot that can show up to `limit` offers."""

    name: str
    limit: int


class Assignment(msgspec.Struct, frozen=True):
    """The variant of an experiment that this customer (or household) is in."""

    key: str
    variant: str
    unit: str


class Shown(msgspec.Struct, frozen=True):
    """An offer in a slate; `propensity` is its probability given the slots above.

    `affinity` is what the snapshot knew of her and this offer (null is unknown), None where it
    knew nothing.
    """

    offer_id: str
    rank: int
    score: float
    propensity: float
    affinity: list[float | None] | None = None


class Slate(msgspec.Struct, frozen=True):
    """The offers of one placement; `slate_propensity` is the probability of exactly these.

    A later placement's is given the slates of the placements before it.
    """

    placement: str
    offers: list[Shown]
    slate_propensity: float
    fallback: bool


class Versions(msgspec.Struct, frozen=True):
    """What the decision was made with; `features` is the hash of the vector's definitions."""

    catalogue: int
    model: str | None
    snapshot: str | None
    features: str | None = None


class DecisionRecord(msgspec.Struct, frozen=True):
    """One decision, whole.

    `scores` are the eligible offers', `refusals` one code for each other candidate. `vector` is
    the customer's features (null is unknown) in the order of the snapshot's names. With
    `propensity_valid` false the answer was not the policy's own draw: such a record counts for
    intention-to-treat and not for off-policy evaluation.
    """

    decision_id: str
    customer_id: str
    at: datetime
    channel: str
    placements: list[Placement]
    context: Context
    known: bool
    vector: list[float | None] | None
    assignments: list[Assignment]
    policy: Policy
    scores: dict[str, float]
    refusals: dict[str, str]
    slates: list[Slate]
    seed: int
    propensity_valid: bool
    causes: list[str]
    versions: Versions


def encode(record: Any) -> bytes:
    """Return a record as JSON."""
    return msgspec.json.encode(record)


def decode_record(text: bytes | str) -> DecisionRecord:
    """Return the record that `encode` wrote."""
    return msgspec.json.decode(text, type=DecisionRecord)

"""The decision record: what was asked, known, considered, refused, drawn and answered.

The same record feeds A/B analysis, training and off-policy evaluation, and replays the decision.
It is bounded: the customer's vector once, a score for each eligible offer, one refusal code for
each other one.
"""

from datetime import datetime
from math import fsum, isfinite
from typing import Any, Literal

import msgspec

# What an experiment's variant may name; the other kinds carry numbers of their own.
POLICY_WORDS = ("response", "uplift", "popular", "rule", "random", "none")
# Under this name is kept what serves where no experiment says otherwise.
DEFAULT_POLICY = "default"
# These rank by the scores that are passed to them.
SCORED = frozenset({"response", "popular", "uplift"})


class Posterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is believed of an offer's mean reward.

    A beta distribution of a response has its two counts (at least some of each, such as 1 and 1
    before anything was seen), a normal one of money its mean and standard deviation.
    """

    family: Literal["beta", "normal"]
    first: float
    second: float

    def __post_init__(self) -> None:
        finite = isfinite(self.first) and isfinite(self.second)
        if not finite or self.second <= 0 or (self.family == "beta" and self.first <= 0):
            raise ValueError(
                "a beta posterior has two counts above 0, a normal one a mean and a standard "
                f"deviation above 0, not {self.first} and {self.second}"
            )


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a slate is drawn, whole: the record replays it from nothing else.

    | kind | slate |
    | --- | --- |
    | response, popular | the offers of the highest scores |
    | uplift | the same, but "no offer" outranks offers whose score is not above 0 |
    | rule | offers in the marketer's `order`, the others behind; without one by priority |
    | thompson | slot by slot, each offer with the chance that it is the best by `posteriors` |
    | random | slot by slot, each allowed offer alike |
    | mixture | that of one of `parts`, drawn by their `weights` |
    | none | nothing: the policy of a holdout |

    `exploration` is the share of slates drawn at random, over all of these. It is the floor: each
    of n eligible offers has at least exploration / n at the first slot, and where "no offer" is
    a candidate each of the n + 1 has exploration / (n + 1).
    """

    kind: Literal["response", "popular", "uplift", "rule", "thompson", "random", "mixture", "none"]
    exploration: float = 0.0
    order: tuple[str, ...] = ()
    posteriors: dict[str, Posterior] = {}
    parts: tuple["Policy", ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # Outside of it, every propensity drawn by this policy would be wrong.
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"exploration is a share from 0 to 1, not {self.exploration}")
        for kind, field in (
            ("rule", self.order),
            ("thompson", self.posteriors),
            ("mixture", self.parts),
            ("mixture", self.weights),
        ):
            if field and self.kind != kind:
                raise ValueError(f"a policy of kind {self.kind} takes nothing that a {kind} has")
        if self.kind == "thompson" and len({p.family for p in self.posteriors.values()}) != 1:
            raise ValueError("a thompson policy needs posteriors, all beta or all normal")
        if self.kind == "mixture":
            self._check_parts()

    def _check_parts(self) -> None:
        if not self.parts or len(self.parts) != len(self.weights):
            raise ValueError(
                f"a mixture has a weight for each part, not {len(self.weights)} for "
                f"{len(self.parts)} parts"
            )
        if not all(w > 0 for w in self.weights) or abs(fsum(self.weights) - 1) > 1e-9:
            raise ValueError(f"weights of a mixture are above 0 and sum to 1, not {self.weights}")
        if any(part.kind == "mixture" for part in self.parts):
            raise ValueError("a part of a mixture is no mixture itself; list its parts instead")
        # A record holds one score for each offer.
        if len({part.kind for part in self.parts} & SCORED) > 1:
            raise ValueError("parts of a mixture rank by one kind of score, there is room for one")

    @property
    def scored(self) -> str | None:
        """The kind whose scores this policy ranks by, None where it needs none."""
        if not self.parts:
            return self.kind if self.kind in SCORED else None
        return next((part.kind for part in self.parts if part.kind in SCORED), None)


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


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What of an offer a draw asks for beside its score; `placements` is empty for all of them."""

    priority: int = 0
    exclusive_group: str | None = None
    placements: list[str] = []


class DecisionRecord(msgspec.Struct, frozen=True):
    """One decision, whole.

    `scores` are the eligible offers', `refusals` one code for each other candidate. `vector` is
    the customer's features (null is unknown) in the order of the snapshot's names, `affinity`
    what was known of her and each of the `scores`' offers, in their order: little-endian floats of
    single precision, NaN where unknown, empty where all are, so that any model can score the
    decision again. Both are None of a customer the snapshot did not know. `levers` are the
    marketer's weights in the scores, of eligible offers where they are not 1. `terms` are eligible
    offers' that are not the usual ones, so that the slates can be drawn again. With
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
    affinity: bytes | None = None
    levers: dict[str, float] = {}
    terms: dict[str, Terms] = {}


def encode(record: Any) -> bytes:
    """Return a record as JSON."""
    return msgspec.json.encode(record)


def decode_record(text: bytes | str) -> DecisionRecord:
    """Return the record that `encode` wrote."""
    return msgspec.json.decode(text, type=DecisionRecord)

"""Why this offer for this customer? The facts that weigh most, as short sentences she may read.

The model's own contributions to the log-odds are added up by topic. Of the topics that speak for
the offer, the strongest are told, each by a fact of the customer's own that holds. A topic without
such a fact is not told, so no reason can contradict her data.

Only what is in a topic here can become a reason. Nothing of the customer's demographics is, nor
what she is worth, whether she may leave, where she is or at what hour; nor are goods that say
something of her health, her faith or her family.

Sources: Lundberg, Erion et al. 2020 (contributions of trees, as LightGBM computes them); for the
logistic regression coefficient times distance from the mean.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.protected import may_be_told

Codes = npt.NDArray[np.uint8]
# Figures by name: of one customer and offer, or a column of many.
Facts = Mapping[str, Any]

MOST = 3
# Days as good as without end: no number to be told.
AGES = 36_500
# What an offer is for where its goods have no name in common.
UNNAMED = "what is on offer"


class Explained(Protocol):
    """A fitted model that says what its inputs contribute."""

    def contributions(self, matrix: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Topic:
    """Inputs that say the same thing, and how it is said.

    Attributes:
        key: Its name in a snapshot.
        inputs: Their contributions are added up.
        holds: Whether the fact is there to be told, for one or for many.
        say: The fact; where it is of an offer the second argument names what the offer is for.
        of_offer: Whether the fact is of the customer and the offer's products.
    """

    key: str
    inputs: tuple[str, ...]
    holds: Callable[[Facts], Any]
    say: Callable[[Facts, str], str]
    of_offer: bool = False


_TOPICS = (
    Topic(
        "visits",
        (
            *("orders_7d", "orders_30d", "orders_90d", "orders_365d", "orders_trend"),
            *("visit_days_365d", "gap_mean_365d", "gap_spread_365d"),
        ),
        lambda f: f["orders_30d"] >= 2,
        lambda f, _: f"shopped {f['orders_30d']:.0f} times in the last 30 days",
    ),
    Topic(
        "lately",
        ("recency_days",),
        lambda f: (f["recency_days"] >= 0) & (f["recency_days"] < 8),
        lambda f, _: f"shopped {_days_ago(f['recency_days'])}",
    ),
    Topic(
        "tenure",
        ("tenure_days",),
        lambda f: (f["tenure_days"] >= 365) & (f["tenure_days"] < AGES),
        lambda f, _: f"has shopped here for {_number(f['tenure_days'] // 365, 'year')}",
    ),
    Topic(
        "variety",
        ("categories_90d", "products_90d"),
        lambda f: f["products_90d"] >= 20,
        lambda f, _: f"bought {f['products_90d']:.0f} different products in the last 90 days",
    ),
    Topic(
        "coupons",
        ("coupon_lines_90d", "coupon_lines_365d", "coupon_share_90d", "coupon_share_365d"),
        lambda f: f["coupon_lines_365d"] >= 1,
        lambda f, _: f"used {_number(f['coupon_lines_365d'], 'coupon')} in the last year",
    ),
    Topic(
        "redemptions",
        (
            *("offers_redeemed_90d", "offers_redeemed_365d", "redemptions_90d"),
            *("redemptions_365d", "redeem_rate_365d", "redeem_recency_days"),
        ),
        lambda f: f["offers_redeemed_365d"] >= 1,
        lambda f, _: f"redeemed {_number(f['offers_redeemed_365d'], 'offer')} in the last year",
    ),
    Topic(
        "weekend",
        ("weekend_share_365d",),
        lambda f: (f["weekend_share_365d"] > 0.5) & (f["orders_365d"] >= 10),
        lambda _, __: "shops mostly at weekends",
    ),
    Topic(
        "bought",
        ("affinity_share_365d", "affinity_lines_365d"),
        lambda f: f["affinity_lines_365d"] >= 2,
        # Lines of receipts: two of them may be of one visit.
        lambda f, goods: f"bought {f['affinity_lines_365d']:.0f} items of {goods} in the last year",
        of_offer=True,
    ),
    Topic(
        "bought_last",
        ("affinity_recency_days",),
        lambda f: (f["affinity_recency_days"] >= 0) & (f["affinity_recency_days"] < AGES),
        lambda f, goods: (
            f"has not bought {goods} for {int(f['affinity_recency_days'])} days"
            if f["affinity_recency_days"] >= 21
            else f"bought {goods} {_days_ago(f['affinity_recency_days'])}"
        ),
        of_offer=True,
    ),
    Topic(
        "kind",
        ("affinity_kind_sent_365d", "affinity_kind_redeem_rate_365d"),
        # At least one, rounded as it is told.
        lambda f: (f["affinity_kind_sent_365d"] >= 1) & (_redeemed(f) > 0.5),
        lambda f, _: (
            f"redeemed {_redeemed(f):.0f} of {f['affinity_kind_sent_365d']:.0f} such offers in "
            "the last year"
        ),
    ),
    Topic(
        "alike",
        ("affinity_factors",),
        lambda f: f["affinity_factors"] >= 0.3,
        lambda _, goods: f"{goods} goes with what is usually in the basket",
        of_offer=True,
    ),
)
_SHARE, _SHARE_END = "share_", "_365d"


def topics(names: Sequence[str]) -> tuple[Topic, ...]:
    """Return what may be told of customers with these features, in a fixed order."""
    known = {*names, *AFFINITY_NAMES}
    shares = [
        _category(name)
        for name in names
        if name.startswith(_SHARE) and name.endswith(_SHARE_END) and may_be_told(name)
    ]
    whole = [topic for topic in _TOPICS if set(topic.inputs) <= known]
    return (*whole, *shares)


def reason_codes(
    model: Explained,
    names: Sequence[str],
    matrix: np.ndarray,
    told: Sequence[Topic],
    named: np.ndarray,
) -> Codes:
    """Return the strongest topics of each customer and offer.

    Args:
        names: The matrix's columns.
        matrix: The model's inputs, shape (n, len(names)).
        told: Topics, as from `topics`.
        named: Whether the offer's goods may be told of, shape (n,).

    Returns:
        Places in `told` from 1 on, the strongest first, 0 where there is no further one, shape
        (n, MOST).
    """
    column = {name: place for place, name in enumerate(names)}
    parts = model.contributions(matrix)
    facts = {name: matrix[:, place] for name, place in column.items()}
    push = np.zeros((len(matrix), len(told) + 1))
    for place, topic in enumerate(told, start=1):
        weight = parts[:, [column[name] for name in topic.inputs]].sum(axis=1)
        holds = topic.holds(facts) & (named | (not topic.of_offer))
        push[:, place] = np.where(holds, weight, 0.0)
    strongest = np.argsort(-push, axis=1, kind="stable")[:, :MOST]
    speaks_for = np.take_along_axis(push, strongest, axis=1) > 0
    return np.where(speaks_for, strongest, 0).astype(np.uint8)


def sentences(
    codes: Sequence[int], told: Sequence[Topic | None], facts: Facts, goods: str
) -> list[str]:
    """Return the reasons behind codes, the strongest first; none whose fact does not hold.

    The codes may be older than the facts: what held when they were made is judged anew, and what
    is unknown (NaN) holds for nobody.

    Args:
        told: The topics the codes were made with, None where one is not known any more.
        facts: The customer's features and her affinity to the offer, by name.
        goods: What the offer is for, as a customer calls it; empty where that may not be told.
    """
    said: list[str] = []
    for code in codes:
        topic = told[code - 1] if code else None
        if topic is not None and (goods or not topic.of_offer) and topic.holds(facts):
            said.append(topic.say(facts, goods))
    return said


def _category(name: str) -> Topic:
    word = name.removeprefix(_SHARE).removesuffix(_SHARE_END).replace("_", " ").strip()
    return Topic(
        name,
        (name,),
        lambda f: f[name] >= 0.1,
        lambda _, __: f"often buys {word}",
    )


def _redeemed(facts: Facts) -> Any:
    return facts["affinity_kind_redeem_rate_365d"] * facts["affinity_kind_sent_365d"]


def _number(count: float, word: str) -> str:
    return f"{count:.0f} {word}" if count == 1 else f"{count:.0f} {word}s"


def _days_ago(days: float) -> str:
    whole = int(days)
    return {0: "within the last day", 1: "1 day ago"}.get(whole, f"{whole} days ago")

"""RFM: how recently, how often and for how much does each customer buy, next to the others?

A score is a fifth of the customers who ever bought: 5 holds the most recent, the most frequent, the
highest spenders. So a score is a rank and not a verdict: when everybody buys less, scores stay, and
"away longer than most" may be quite usual for her (lifecycle.py answers that). With fixed cuts a
score is a verdict, and how many customers get it is not known beforehand. The three scores give
one of a few named groups, each with a sentence for the marketer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

SCORES = 5

# One order is all that is known of her: a rank among regulars would call her seldom and poor.
NEW_BUYER_DAYS = 30


@dataclass(frozen=True)
class Cuts:
    """Fixed bounds instead of fifths: four rising ones each, minor units for spend.

    A customer at a bound has reached it: she gets the better score.
    """

    recency_days: Sequence[float]
    orders: Sequence[float]
    spend: Sequence[float]


NEW = "New"
NO_PURCHASE = "No purchase yet"

GROUPS: dict[str, str] = {
    "Champions": "Bought more lately, more often and for more than most.",
    "Loyal": "Buys more often than most and was here not long ago.",
    "Big spenders": "Comes less often than most, yet spends more than most; was here not long ago.",
    "Promising": "Bought more lately than most, but buys neither often nor much.",
    NEW: f"Made the first and only purchase within the last {NEW_BUYER_DAYS} days.",
    "Needs attention": "Middling in everything, and neither lately here nor long away.",
    "At risk": "Used to buy often or much, but has been away longer than most.",
    "Cannot lose": "Was among the most frequent and highest spenders, but has been away longer "
    "than most.",
    "Hibernating": "Bought seldom and little, and has been away longer than most.",
    NO_PURCHASE: "Has never bought; all three scores are 1.",
}


def rfm_group(recency: int, frequency: int, monetary: int) -> str:
    """Return the named group of three scores, for all 125 combinations.

    The map, with 5 best; the first line that fits decides:

    | recency | frequency | monetary | group |
    | --- | --- | --- | --- |
    | 1-2 | 4-5 | 4-5 | Cannot lose |
    | 1-2 | 3-5 or | 3-5 | At risk |
    | 1-2 | any | any | Hibernating |
    | 4-5 | 4-5 | 4-5 | Champions |
    | 3-5 | 4-5 | any | Loyal |
    | 3-5 | any | 4-5 | Big spenders |
    | 4-5 | any | any | Promising |
    | 3 | any | any | Needs attention |

    "New" and "No purchase yet" are facts about a customer and not ranks: rfm_groups knows them.
    """
    if recency <= 2:
        if frequency >= 4 and monetary >= 4:
            return "Cannot lose"
        return "At risk" if max(frequency, monetary) >= 3 else "Hibernating"
    if recency >= 4 and frequency >= 4 and monetary >= 4:
        return "Champions"
    if frequency >= 4:
        return "Loyal"
    if monetary >= 4:
        return "Big spenders"
    return "Promising" if recency >= 4 else "Needs attention"


def quantile_scores(values: Floats) -> Integers:
    """Score values 1-5 by the fifth they fall in; the largest get 5.

    Tie rule: equal values share the fifth in which the middle of their run falls. It depends on
    neither the order of rows nor on luck, and favours neither end: where 60 % of customers have
    one order, they all get 2 (the middle of the lowest 60 % is at 30 %).

    Args:
        values: No nulls, shape (n,).

    Returns:
        Scores, shape (n,). Fifths are equal only as far as ties allow.
    """
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    # Whole numbers throughout, so that a tie on a boundary cannot be rounded apart.
    return 1 + SCORES * (below + up_to) // (2 * max(len(values), 1))


def rfm_groups(profile: pd.DataFrame, cuts: Cuts | None = None) -> pd.DataFrame:
    """Score and name every customer.

    Args:
        profile: One row a customer: recency_days (null: never bought), orders and spend in the
            window (minor units; returns lower it, also below 0), lifetime_orders.
        cuts: Fixed bounds of the scores; fifths of the buyers without.

    Returns:
        Same index: recency_score, frequency_score, monetary_score (1-5) and rfm (a key of GROUPS).
    """
    recency = profile["recency_days"].to_numpy(np.float64, na_value=np.nan)
    orders = profile["orders"].to_numpy(np.float64, na_value=0)
    spend = profile["spend"].to_numpy(np.float64, na_value=0)
    bought = ~np.isnan(recency)
    scores = np.ones((3, len(profile)), dtype=np.int64)
    for row, values in enumerate((-recency, orders, spend)):
        # Only buyers are ranked: a large file of sign-ups would push every buyer to 5.
        scores[row, bought] = (
            quantile_scores(values[bought])
            if cuts is None
            else 1 + np.searchsorted(_bounds(cuts)[row], values[bought], side="right")
        )
    groups = _MAP[tuple(scores - 1)]
    # Of her whole past: one order in a short window may be the hundredth, or be before it.
    only = profile["lifetime_orders"].to_numpy(np.float64, na_value=0) == 1
    groups[only & (recency <= NEW_BUYER_DAYS)] = NEW
    groups[~bought] = NO_PURCHASE
    return pd.DataFrame(
        {
            "recency_score": scores[0],
            "frequency_score": scores[1],
            "monetary_score": scores[2],
            "rfm": pd.Series(groups, index=profile.index, dtype=object),
        },
        index=profile.index,
    )


def _bounds(cuts: Cuts) -> tuple[Floats, Floats, Floats]:
    recency = -np.asarray(cuts.recency_days, dtype=np.float64)[::-1]
    return recency, np.asarray(cuts.orders, np.float64), np.asarray(cuts.spend, np.float64)


_RANGE = range(1, SCORES + 1)
_MAP = np.array(
    [rfm_group(r, f, m) for r, f, m in product(_RANGE, repeat=3)], dtype=object
).reshape(SCORES, SCORES, SCORES)

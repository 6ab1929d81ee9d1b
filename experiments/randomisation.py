"""Randomisation inference: how large a difference would chance alone have dealt these customers?

Customers (or stores) are dealt to the two variants anew, thousands of times, as the experiment did,
and each time the studentised difference is taken as if they had been dealt so. If the offer changed
nobody, the answer is exact for any spend, however skewed, and any split. Because the difference is
studentised, it also holds in large samples where offers change the spread and not the mean.
"""

import hashlib
from dataclasses import dataclass

import numba
import numpy as np

from experiments.aggregates import Aggregates
from experiments.contrast import Contrast, Figure, contrast
from foundation.errors import RegularsError

# Each 2.5 % tail then holds 250 deals.
DEALS = 9_999
# With fewer the test is as exact, only its p coarser: 50 and 10 deals a tail.
FEWER_DEALS = (1_999, 399)
# Units dealt in a few seconds.
_DEALT_IN_SECONDS = 5e8
# Where outcomes repeat (a handful of buyers, or of stores), no p-value may lie near the wanted
# level; a test whose own tail misses alpha / 2 by more than this share of it is refused.
TAIL_TOLERANCE = 0.1


class InvalidDeal(RegularsError):
    """Units that cannot be dealt to two variants."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """Where the observed studentised difference stands among those that chance deals.

    Attributes:
        p: Twice the smaller tail, at most 1; a tail is one more than the deals beyond the observed
            value, over one more than all deals; those equal to it count half.
        lower, upper: The studentised difference is rejected below and above.
        lower_tail, upper_tail: The chance of that if the offer changes nobody. It follows from
            both variants taken together, whichever is better.
    """

    p: float
    lower: float
    upper: float
    lower_tail: float
    upper_tail: float

    def holds(self, confidence: float) -> bool:
        """Say whether both tails are what they should be."""
        wanted = (1 - confidence) / 2
        most = max(abs(self.lower_tail - wanted), abs(self.upper_tail - wanted))
        return most <= TAIL_TOLERANCE * wanted


def randomisation(
    figure: Figure,
    treatment: np.ndarray,
    control: np.ndarray,
    confidence: float = 0.95,
    deals: int = DEALS,
) -> Dealt:
    """Return where the observed contrast stands among those that chance deals.

    Args:
        figure: As for `contrast`.
        treatment, control: One row of columns a unit (a cluster: its sums), shapes (n, k).
        confidence: Of the interval that `lower` and `upper` are for.
        deals: How many; alpha / 2 times one more than it should be a whole number.

    Raises:
        InvalidDeal: A variant has no unit, or the columns differ.

    Source: Fisher 1935; studentised, Janssen 1997, Chung and Romano 2013; the observed deal counts
    among the dealt, Phipson and Smyth 2010.
    """
    if not (len(treatment) and len(control)) or treatment.shape[1:] != control.shape[1:]:
        raise InvalidDeal(
            f"treatment has rows of shape {treatment.shape}, control {control.shape}; both need "
            "units, described by the same columns"
        )
    if figure == "mean" and treatment.shape[1] <= 2:
        # Means move along; squares of large values keep their digits, and idle customers stay 0.
        middle = np.median(np.concatenate([treatment, control]), axis=0)
        treatment, control = treatment - middle, control - middle
    # However a file lies, and whoever was treated, chance deals the same.
    treatment, control = _ordered(treatment), _ordered(control)
    pooled = _ordered(np.concatenate([treatment, control]))
    seed = seed_of(pooled)
    both = Aggregates.from_rows(pooled)
    # The smaller variant is the quicker one to deal; the other gets the rest.
    if len(treatment) <= len(control):
        given = dealt_sums(pooled, len(treatment), seed, deals)
        chance = contrast(figure, given, both - given, both)
    else:
        given = dealt_sums(pooled, len(control), seed, deals)
        chance = contrast(figure, both - given, given, both)
    arms = Aggregates.from_rows(treatment), Aggregates.from_rows(control)
    return placed(
        float(studentised(contrast(figure, *arms, both))), studentised(chance), confidence
    )


def seed_of(pooled: np.ndarray) -> int:
    """Return the seed for dealing these values, sorted, of both variants together.

    The same values are dealt the same in every run; other values otherwise: with one seed for all,
    every analysis of a size would share the luck of one set of deals. Who was treated has no part.
    """
    # Adding 0 turns -0 into 0.
    told = np.ascontiguousarray(pooled + 0.0).tobytes()
    return int.from_bytes(hashlib.blake2b(told, digest_size=4).digest(), "little")


def affordable_deals(treatment: np.ndarray, control: np.ndarray) -> int:
    """Return how many deals of these units take seconds, shapes (n, k)."""
    smaller = min(len(treatment), len(control)) / max(len(treatment) + len(control), 1)
    active = sum(int(np.any(rows != 0, axis=1).sum()) for rows in (treatment, control))
    affordable = _DEALT_IN_SECONDS / max(active * smaller, 1.0)
    return next((many for many in (DEALS, *FEWER_DEALS) if many <= affordable), FEWER_DEALS[-1])


def studentised(found: Contrast) -> np.ndarray:
    """Return the difference over its standard error, shape of the contrast.

    Infinite where the variants differ and neither varies, 0 where they do not even differ.
    """
    # Sums added in another order differ in their last digits; equal deals must stay equal.
    difference, error = found.difference, np.sqrt(found.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(difference == 0, 0.0, difference / error)
    return np.where(np.isfinite(ratio), np.round(ratio, 9), ratio)


def placed(seen: float, dealt: np.ndarray, confidence: float = 0.95) -> Dealt:
    """Return where one value stands among those that chance deals.

    Args:
        seen: The observed value.
        dealt: By chance, shape (deals,).
        confidence: As for `randomisation`.
    """
    alpha = 1 - confidence
    ordered = np.sort(np.append(dealt, seen))
    # Cut points between distinct values, and the share of deals above each value, half of its own.
    values, counts = np.unique(ordered, return_counts=True)
    upto = np.cumsum(counts)
    # The observed value is any of those equal to it; where there are none, a tail is exactly one
    # more than the deals beyond it, over one more than all.
    half = (counts + 1) / 2
    above = (len(ordered) - upto + half) / len(ordered)
    below = (upto - counts + half) / len(ordered)
    # A hair of slack: 250 / 10,000 is a fraction a double does not hold.
    high = above <= alpha / 2 + 1e-12
    low = below <= alpha / 2 + 1e-12
    place = int(np.searchsorted(values, seen))
    return Dealt(
        p=min(1.0, 2 * min(float(above[place]), float(below[place]))),
        lower=_cut(values, int(low.sum()) - 1),
        upper=_cut(values, len(values) - int(high.sum()) - 1),
        lower_tail=float(counts[low].sum() / len(ordered)),
        upper_tail=float(counts[high].sum() / len(ordered)),
    )


def dealt_sums(rows: np.ndarray, size: int, seed: int, deals: int = DEALS) -> Aggregates:
    """Deal `size` of the units to a variant, again and again, and sum up its columns.

    Args:
        rows: One row a unit, shape (n, k).
        size: Units in the variant, at most n.
        seed: The same seed deals the same.
        deals: How often.

    Returns:
        Aggregates of shape (deals,); their third moments are left at 0, no deal needs its own.
    """
    k = rows.shape[1]
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    active = rows[np.any(rows != 0, axis=1)]
    products = [active[:, i] * active[:, j] for i, j in pairs]
    summed = np.ascontiguousarray(np.column_stack([active, *products]))
    rng = np.random.default_rng(seed)
    # Most customers buy nothing: how many buyers are dealt is drawn at once.
    idle = len(rows) - len(active)
    if len(active):
        counts = rng.hypergeometric(len(active), idle, size, deals) if idle else [size] * deals
        sums = _deal(summed, np.asarray(counts, dtype=np.int64), int(rng.integers(2**31)))
    else:
        sums = np.zeros((deals, k + len(pairs)))
    second = np.empty((deals, k, k))
    for place, (i, j) in enumerate(pairs):
        second[:, i, j] = second[:, j, i] = sums[:, k + place]
    third = np.zeros((deals, k, k, k))
    return Aggregates(np.full(deals, float(size)), sums[:, :k], second, third)


def _ordered(units: np.ndarray) -> np.ndarray:
    return units[np.lexsort(units.T[::-1])]


@numba.njit(cache=True)
def _deal(summed: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:  # pragma: no cover
    """Sum the first `counts` rows of as many shuffles (Fisher and Yates, only as far as needed)."""
    np.random.seed(seed)
    n, width = summed.shape
    order = np.arange(n)
    sums = np.zeros((len(counts), width))
    for deal in range(len(counts)):
        for place in range(counts[deal]):
            other = place + int(np.random.random() * (n - place))
            order[place], order[other] = order[other], order[place]
            for column in range(width):
                sums[deal, column] += summed[order[place], column]
    return sums


def _cut(values: np.ndarray, place: int) -> float:
    """Return the middle between a value and the next one; infinite past either end."""
    if place < 0:
        return -np.inf
    if place + 1 >= len(values):
        return np.inf
    return float((values[place] + values[place + 1]) / 2)

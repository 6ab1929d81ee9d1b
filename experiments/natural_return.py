"""Natural return: how many sleeping customers come back, and how many would have anyway?

Some of those who slept come back by themselves, so a rate of return proves nothing by itself. What
the offers did is the difference to sleepers who were held out of them by chance.
"""

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from experiments.welch import Moments, difference
from foundation.errors import RegularsError, TooLittleData
from foundation.scores import Interval

CONFIDENCE = 0.95
# Spend is nearly all zeros: below, a mean rests on a handful of baskets and is far from normal.
LEAST_RETURNED = 10


class Returned(msgspec.Struct, frozen=True):
    """How many of the sleeping came back, and what they spent, a mean over all who slept.

    `rate` has Wilson's interval (1927). `spend` is in minor units with Student's interval; where
    too few came back there is none, and `refused` says so.
    """

    sleeping: int
    returned: int
    rate: Interval
    spend: Interval | None
    refused: str | None = None


class NaturalReturn(msgspec.Struct, frozen=True):
    """Sleepers who could get offers beside those held out, and the differences, offered minus held.

    `rate_difference` has Newcombe's interval (1998, method 10: Wilson's combined),
    `spend_difference` Welch's, in minor units a sleeper; where too few came back there is none,
    and `refused` says so.
    """

    offered: Returned
    held_out: Returned
    rate_difference: Interval
    spend_difference: Interval | None
    refused: str | None = None


def returned(came: ArrayLike, spend: ArrayLike) -> Returned:
    """Sum up who came back.

    Args:
        came: Whether she bought, shape (n,).
        spend: What she spent in minor units, 0 who did not buy, shape (n,).

    Raises:
        TooLittleData: Nobody slept.
        RegularsError: The shapes differ.
    """
    whether, amounts = np.asarray(came, dtype=bool), np.asarray(spend, dtype=np.float64)
    if whether.shape != amounts.shape:
        raise RegularsError(
            f"{whether.size} sleepers have {amounts.size} amounts of spend; give each one, 0 too"
        )
    if not whether.size:
        raise TooLittleData("nobody slept, so there is no rate of return; name another run")
    count = int(whether.sum())
    wilson = stats.binomtest(count, whether.size).proportion_ci(CONFIDENCE, method="wilson")
    rate = Interval(count / whether.size, float(wilson.low), float(wilson.high))
    if count < LEAST_RETURNED:
        return Returned(whether.size, count, rate, None, _too_few("sleepers", count))
    moments = Moments.from_values(amounts)
    error = math.sqrt(moments.variance / moments.n)
    margin = float(stats.t.isf((1 - CONFIDENCE) / 2, moments.n - 1)) * error
    mean = Interval(moments.mean, moments.mean - margin, moments.mean + margin)
    return Returned(whether.size, count, rate, mean)


def natural_return(came: ArrayLike, spend: ArrayLike, held_out: ArrayLike) -> NaturalReturn:
    """Compare sleepers who could get offers with those held out by chance.

    Args:
        came, spend: As in returned, one value a unit of assignment.
        held_out: Whether the unit was held out, shape (n,).

    Raises:
        TooLittleData: One of the two has nobody.
    """
    whether, amounts = np.asarray(came, dtype=bool), np.asarray(spend, dtype=np.float64)
    held = np.asarray(held_out, dtype=bool)
    for name, arm in (("offered", ~held), ("held out", held)):
        if not arm.any():
            raise TooLittleData(
                f"no sleeper of {held.size} was {name}, so there is nothing to compare; wait for "
                "a run with more"
            )
    offered, natural = (returned(whether[arm], amounts[arm]) for arm in (~held, held))
    p, q = offered.rate, natural.rate
    gap = p.value - q.value
    rates = Interval(
        gap,
        gap - math.hypot(p.value - p.low, q.high - q.value),
        gap + math.hypot(p.high - p.value, q.value - q.low),
    )
    for name, arm in (("offered", offered), ("held-out", natural)):
        if arm.returned < LEAST_RETURNED:
            told = _too_few(f"{name} sleepers", arm.returned)
            return NaturalReturn(offered, natural, rates, None, told)
    spent = difference(
        Moments.from_values(amounts[~held]), Moments.from_values(amounts[held]), CONFIDENCE
    )
    money = Interval(spent.estimate, spent.low, spent.high)
    return NaturalReturn(offered, natural, rates, money)


def _too_few(who: str, count: int) -> str:
    return (
        f"{count} {who} came back, a mean of their spend needs {LEAST_RETURNED}; allow more days, "
        "or wait"
    )

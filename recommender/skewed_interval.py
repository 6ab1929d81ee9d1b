"""How far may a sum of few, unequal jumps be from its mean? An interval that knows it is skewed.

A value earned by rare rewards under unequal weights is a sum of few jumps: it errs upwards by one
large jump more, and downwards by none. Normal intervals do not know that and miss on one side.
"""

import numpy as np
from scipy.special import gammainc, gammaincinv

from foundation.scores import Interval

TAIL = 0.025


def skewed_interval(
    value: float,
    influence: np.ndarray,
    up: float,
    down: float,
    surplus: float = np.inf,
) -> Interval:
    """Return a value's 95 % interval.

    The influences above 0 and those below are two sums of jumps, each with the gamma limits of a
    weighted Poisson sum; the two are put together by the recovery of variances. To first order
    this is the normal interval with the sandwich error; to second order it has the skewness of
    the jumps.

    Args:
        value: The estimate.
        influence: What each independent customer adds to its error, shape (n_customers,), summing
            to 0, in the value's unit.
        up, down: The largest jump that one customer more could bring to either side, above 0.
        surplus: Effective successes over the number below which no interval is given. A value
            shown only when successes were many is shown rather when it is too far from 0, so its
            limit towards 0 is that of the value given that it is shown. Infinite where no such
            choice was made.

    Source: Fay and Feuer 1997 (gamma limits); Zou and Donner 2008 (recovery of variances);
        Fithian, Sun and Taylor 2014 (limits given the choice).
    """
    rise = np.maximum(influence, 0.0)
    fall = np.maximum(-influence, 0.0)
    chosen_up, chosen_down = (surplus, np.inf) if value > 0 else (np.inf, surplus)
    rise_low, rise_high = _limits(rise, up, chosen_up)
    fall_low, fall_high = _limits(fall, down, chosen_down)
    return Interval(
        value,
        value - float(np.hypot(rise.sum() - rise_low, fall_high - fall.sum())),
        value + float(np.hypot(rise_high - rise.sum(), fall.sum() - fall_low)),
    )


def _limits(jumps: np.ndarray, unseen: float, surplus: float) -> tuple[float, float]:
    total, squares = float(jumps.sum()), float(jumps @ jumps)
    low = 0.0
    if squares > 0:
        low = _fewest(total**2 / squares, surplus) * squares / total
    # The largest jump that was seen may yet come once more.
    unseen = max(unseen, float(jumps.max(initial=0.0)))
    total, squares = total + unseen, squares + unseen**2
    return low, float(gammaincinv(total**2 / squares, 1 - TAIL)) * squares / total


def _fewest(count: float, surplus: float) -> float:
    """Return the lowest mean of a Poisson count, given that counts below are not shown."""
    plain = float(gammaincinv(count, TAIL))
    if not np.isfinite(surplus):
        return plain
    shown_from = count / surplus
    low, high = 0.0, plain
    for _ in range(40):
        middle = (low + high) / 2
        reached = gammainc(count, middle) / max(gammainc(shown_from, middle), 1e-300)
        low, high = (low, middle) if reached > TAIL else (middle, high)
    return low

"""Confidence sequences: intervals that stay right however often, and whenever, one looks.

The truth leaves such an interval at any look at all in at most 5 % of experiments, so that a report
may be read every day and the experiment stopped on what it says. The price is width: most at looks
far from the size it was tuned for, so tune it at the planned number of customers.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from foundation.errors import RegularsError


class InvalidSequence(RegularsError):
    """A size, level or time no always-valid bound exists for."""


def tuned_rho(planned_n: float, alpha: float = 0.05) -> float:
    """Return the rho whose sequence is (nearly) narrowest at the planned customers of both arms.

    Raises:
        InvalidSequence: planned_n is not positive, or alpha not inside (0, 1).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, appendix B.2.
    """
    _check(planned_n, "planned number of customers")
    _check_level(alpha)
    return math.sqrt((-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned_n)


def critical_value(n: ArrayLike, planned_n: float, alpha: float = 0.05) -> np.ndarray:
    """Return how many ordinary standard errors the sequence reaches to each side.

    Args:
        n: Customers of both arms so far, any shape.
        planned_n: Customers of both arms the sequence is tuned for, fixed before the start.
        alpha: The chance of ever leaving the truth out.

    Returns:
        The half-width over the standard error, shape of n; infinite before the first customer.

    Raises:
        InvalidSequence: As for `tuned_rho`.

    Source: the asymptotic confidence sequence of Waudby-Smith et al. 2021, theorem 2.2. Asymptotic
    means: the first looks rest on means that are near normal, as any t-interval does.
    """
    information = np.asarray(n, dtype=np.float64) * tuned_rho(planned_n, alpha) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.sqrt(
            2 * (information + 1) / information * np.log(np.sqrt(information + 1) / alpha)
        )
    return np.where(information > 0, reach, np.inf)


def always_valid_p(z: ArrayLike, n: ArrayLike, planned_n: float, alpha: float = 0.05) -> np.ndarray:
    """Return the level at which the sequence just leaves zero out, at most 1.

    It is at most `alpha` exactly where the interval leaves zero out. The chance that it ever falls
    to any level below is at most that level.

    Args:
        z: Estimate over its ordinary standard error.
        n, planned_n, alpha: As for `critical_value`; alpha only tunes.
    """
    information = np.asarray(n, dtype=np.float64) * tuned_rho(planned_n, alpha) ** 2
    square = np.asarray(z, dtype=np.float64) ** 2
    exponent = 0.5 * np.log1p(information) - square * information / (2 * (information + 1))
    return np.minimum(1.0, np.exp(exponent))


def best_mixture_rho(v: float, alpha: float = 0.05) -> float:
    """Return the rho at which the two-sided normal mixture is (nearly) lowest at intrinsic time v.

    For the lowest one-sided bound at alpha take the rho of 2 alpha.

    Source: Howard, Ramdas, McAuliffe and Sekhon 2021, section 3.5, with the expansion of Lambert's
    W their own implementation takes (within .005 % of the lowest bound at alpha = .05).
    """
    _check(v, "intrinsic time")
    return 1 / tuned_rho(v, alpha) ** 2


def mixture_bound(v: ArrayLike, rho: float, alpha: float = 0.05, sides: int = 2) -> np.ndarray:
    """Return the bound a sum with intrinsic time v ever crosses with a chance of at most alpha.

    Args:
        v: Intrinsic time (for a sum: its variance so far), any shape.
        rho: Where the bound is tight, see `best_mixture_rho`.
        sides: 2 bounds the absolute sum, 1 the sum from above.

    Raises:
        InvalidSequence: v, rho or alpha is not positive, or sides is neither 1 nor 2.

    Source: Howard et al. 2021, equations 14 (two-sided, closed) and 3.7 (one-sided, by its
    defining equation).
    """
    times = np.asarray(v, dtype=np.float64)
    _check(rho, "rho")
    _check_level(alpha)
    for time in times.ravel():
        _check(float(time), "intrinsic time")
    if sides == 2:
        return np.sqrt((times + rho) * np.log((times + rho) / (rho * alpha**2)))
    if sides != 1:
        raise InvalidSequence(f"a bound has 1 or 2 sides, got {sides}; choose one")
    bounds = [_one_sided_bound(float(time), rho, alpha) for time in times.ravel()]
    return np.asarray(bounds).reshape(times.shape)


def _one_sided_bound(v: float, rho: float, alpha: float) -> float:
    """Solve for the sum at which the half-normal mixture of likelihood ratios is 1 / alpha."""

    def excess(total: float) -> float:
        scale = v + rho
        log_mixture = (
            0.5 * math.log(4 * rho / scale)
            + total**2 / (2 * scale)
            + float(special.log_ndtr(total / math.sqrt(scale)))
        )
        return log_mixture + math.log(alpha)

    # The two-sided bound lies above: it splits alpha.
    highest = 2 * math.sqrt((v + rho) * math.log((v + rho) / (rho * alpha**2)))
    return float(optimize.root_scalar(excess, bracket=(0.0, highest), xtol=1e-12).root)


def _check(value: float, name: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise InvalidSequence(f"{name} is {value}, it must be a number above 0")


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidSequence(f"alpha {alpha} must lie between 0 and 1; write .05")

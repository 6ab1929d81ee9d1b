"""Confidence sequences: intervals that stay right however often, and whenever, one looks.

The truth leaves such an interval at any look at all in at most 5 % of experiments, so that a report
may be read every day and the experiment stopped on what it says. The price is width: most at looks
far from the size it was tuned for, so tune it at the planned number of customers.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import RegularsError


class InvalidSequence(RegularsError):
    """A size, level or time no always-valid bound exists for."""


def tuned_rho(planned_n: float, alpha: float = 0.05) -> float:
    """Return the rho whose sequence is (nearly) narrowest at the planned customers of both arms.

    Raises:
        InvalidSequence: planned_n is not positive, or alpha not inside (0, 1).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, appendix B.2.
    """
    check_positive(planned_n, "planned number of customers")
    check_level(alpha)
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


def check_positive(value: float, name: str) -> None:
    """Refuse a size or a time that is none.

    Raises:
        InvalidSequence: The value is not a number above 0.
    """
    if not (value > 0 and math.isfinite(value)):
        raise InvalidSequence(f"{name} is {value}, it must be a number above 0")


def check_level(alpha: float) -> None:
    """Refuse a level that is none.

    Raises:
        InvalidSequence: alpha is not inside (0, 1).
    """
    if not 0 < alpha < 1:
        raise InvalidSequence(f"alpha {alpha} must lie between 0 and 1; write .05")

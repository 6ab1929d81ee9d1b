"""Is a difference near enough to normal for Student's tails, at this skewness and this split?

Asked of both variants taken together, never of which is better, so that the answer cannot favour
anybody. Where it is no, tails come from randomisation, or the comparison is refused.
"""

import numpy as np
from numpy.typing import ArrayLike

# Units a variant below which a variance is too rough to lean on; clusters above all.
LEAST_UNITS = 40
# Skewness of the difference at which a 2.5 % tail is 2.5 +- .25 %, by the first Edgeworth term:
# (2 * 1.96**2 + 1) / 6 * phi(1.96) * .03 = .25 %.
MOST_SKEWNESS = 0.03
# Equal splits cancel that term; the next one, of kurtosis, makes the test lose power and alpha. At
# 50 units a squared skewness it takes about .1 % (lognormal spend of 5 % buyers).
UNITS_PER_SQUARED_SKEWNESS = 50


# A ratio's own bend skews its studentised difference as 6 * 1.96**2 / (2 * 1.96**2 + 1) as much
# skewness of its units would, the other way.
SKEWNESS_OF_BEND = 2.6546


def near_normal(
    skewness: ArrayLike, treatment_n: ArrayLike, control_n: ArrayLike, bend: ArrayLike = 0.0
) -> np.ndarray:
    """Say where Welch's test keeps each tail.

    Args:
        skewness: Of one unit's part in the figure, both variants together, any shape; NaN where
            nothing varies, which is not near normal.
        treatment_n, control_n: Units.
        bend: Of a ratio, as in `contrast`.

    Returns:
        Whether, of the common shape.

    Source: first Edgeworth term of the studentised difference (Hall 1992); for one sample it is
    the rule of Kohavi et al. 2014 (355 squared skewness), with a narrower tolerance. The bend is
    the second derivative's part in the same term: a ratio that errs upwards has a denominator that
    errs downwards, and errors estimated at that ratio.
    """
    gamma = larger_skewness(skewness, bend)
    n, m = np.asarray(treatment_n, dtype=np.float64), np.asarray(control_n, dtype=np.float64)
    least = np.minimum(n, m)
    lopsided = gamma * np.abs(1 / n**2 - 1 / m**2) / (1 / n + 1 / m) ** 1.5
    return (
        (least >= LEAST_UNITS)
        & (least >= UNITS_PER_SQUARED_SKEWNESS * gamma**2)
        & (lopsided <= MOST_SKEWNESS)
    )


def larger_skewness(skewness: ArrayLike, bend: ArrayLike) -> np.ndarray:
    """Return the larger of a ratio's skewness with its bend and without, as a size.

    They may cancel in the term of skewness, and not in that of kurtosis.
    """
    own = np.asarray(skewness, dtype=np.float64)
    bent = own - SKEWNESS_OF_BEND * np.asarray(bend, dtype=np.float64)
    return np.maximum(np.abs(own), np.abs(bent))

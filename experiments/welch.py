"""Welch's comparison of two means: by how much do the variants differ, and how sure is that?

The answer is the difference of the means with an interval that misses the truth in 5 % of
experiments, and the chance of a difference this large if there is none. Decide on this absolute
difference. The relative effect is for reading only: its bounds come from Fieller and are None
where the control's mean may be zero, since any percentage is then possible.

The 5 % need means near normal: near_normal.py says where they are. On spend with few buyers and a
lopsided split (500 against 9,500) a true null is rejected in 12.9 %.
"""

import math
from typing import Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from foundation.errors import RegularsError, TooLittleData

# Fieller's interval takes Student's quantile below, the normal one from here on (.1 % apart).
_MANY_DEGREES = 1000.0


class InvalidMoments(RegularsError):
    """Values or sums no comparison can be made from."""


class Moments(msgspec.Struct, frozen=True):
    """All a comparison of means needs to know of one variant.

    `variance` is the sample's, with n - 1; it is 0 for a single value, which `difference`
    refuses.
    """

    n: int
    mean: float
    variance: float

    def __post_init__(self) -> None:
        """Refuse what is not a number: it would travel silently into the result."""
        if not (math.isfinite(self.mean) and math.isfinite(self.variance) and self.variance >= 0):
            raise InvalidMoments(
                f"moments of {self.n} values are mean {self.mean} and variance {self.variance}; "
                "both must be finite and the variance not negative, look for gaps in the values"
            )

    @classmethod
    def from_values(cls, values: ArrayLike) -> Self:
        """Return the moments of one value a unit, shape (n,)."""
        array = np.asarray(values, dtype=np.float64)
        if array.size == 0:
            raise TooLittleData("there is no value to take a mean of; wait for the first unit")
        if not bool(np.isfinite(array).all()):
            raise InvalidMoments("a value is missing or infinite; write 0 where nothing happened")
        # The rounded mean of equal values leaves a variance of rounding noise, which would pass
        # for information.
        if float(array.min()) == float(array.max()):
            return cls(n=array.size, mean=float(array[0]), variance=0.0)
        return cls(n=array.size, mean=float(array.mean()), variance=float(array.var(ddof=1)))

    @classmethod
    def from_sums(cls, total: float, squares: float, n: int) -> Self:
        """Return the moments from a sum, a sum of squares and a count, as an engine adds them up.

        Digits cancel where the mean is large beside the spread; prefer `from_values` there.
        """
        if n < 1:
            raise TooLittleData("there is no value to take a mean of; wait for the first unit")
        mean = total / n
        spread = squares - total * mean
        # Rounding may leave a trace below zero where all values are equal; more is a wrong sum.
        if spread < 0 and spread > -1e-9 * squares:
            spread = 0.0
        return cls(n=n, mean=mean, variance=spread / (n - 1) if n > 1 else 0.0)


class Difference(msgspec.Struct, frozen=True):
    """Treatment minus control, with its interval and two-sided p-value."""

    estimate: float
    low: float
    high: float
    p: float
    standard_error: float
    df: float
    confidence: float


class Relative(msgspec.Struct, frozen=True):
    """The difference as a share of the control's mean.

    No estimate where that mean is not positive (a share of nothing, or of a loss); no bounds
    where it may be zero.
    """

    estimate: float | None
    low: float | None
    high: float | None


def satterthwaite(
    treatment_variance: ArrayLike,
    treatment_n: ArrayLike,
    control_variance: ArrayLike,
    control_n: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard error of a difference and its degrees of freedom, of any shape.

    NaN degrees where nothing varies.

    Source: Welch 1947; Satterthwaite 1946.
    """
    n, m = np.asarray(treatment_n, dtype=np.float64), np.asarray(control_n, dtype=np.float64)
    of_treatment, of_control = np.asarray(treatment_variance) / n, np.asarray(control_variance) / m
    total = of_treatment + of_control
    # Shares instead of squared variances: those underflow for small figures.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = of_treatment / total
        df = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    return np.sqrt(total), df


def student_p(estimate: ArrayLike, error: ArrayLike, df: ArrayLike) -> np.ndarray:
    """Return the two-sided p-value of estimates, of any shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # From the survival function: 1 - cdf turns 2.7e-113 into 0.
        return 2 * stats.t.sf(np.abs(np.asarray(estimate)) / np.asarray(error), df)


def difference(treatment: Moments, control: Moments, confidence: float = 0.95) -> Difference:
    """Return the difference of two means without assuming equal variances.

    Raises:
        TooLittleData: An arm has fewer than 2 units, or no value in either arm differs.

    Source: Welch 1947; degrees of freedom by Satterthwaite 1946.
    """
    error, df = _error(treatment, control, confidence)
    estimate = treatment.mean - control.mean
    margin = float(stats.t.isf((1 - confidence) / 2, df)) * error
    return Difference(
        estimate=estimate,
        low=estimate - margin,
        high=estimate + margin,
        p=float(student_p(estimate, error, df)),
        standard_error=error,
        df=df,
        confidence=confidence,
    )


def relative(treatment: Moments, control: Moments, confidence: float = 0.95) -> Relative:
    """Return the relative effect with the set of ratios the data do not contradict.

    Raises:
        TooLittleData: As for `difference`.

    Source: Fieller 1954, for independent means: the ratios r with
    (treatment - r control)**2 <= q**2 (variance of treatment - r control).
    """
    _, df = _error(treatment, control, confidence)
    tail = (1 - confidence) / 2
    quantile = float(stats.t.isf(tail, df) if df < _MANY_DEGREES else stats.norm.isf(tail))
    return _fieller(treatment, control, -quantile, quantile)


def relative_within(treatment: Moments, control: Moments, low: float, high: float) -> Relative:
    """Return the relative effect with the ratios that a method's interval does not contradict.

    The method's critical values are read from its interval of the difference, [low, high], so that
    both scales agree about zero: whatever looks, chance or scores made it.

    Source: Fieller 1954, as `relative`, with these critical values, one a side.
    """
    error = math.sqrt(treatment.variance / treatment.n + control.variance / control.n)
    if error == 0:
        # Nobody against everybody: the difference has an interval by its score, the ratio none.
        sure = control.mean > 0
        return Relative(treatment.mean / control.mean - 1 if sure else None, None, None)
    estimate = treatment.mean - control.mean
    return _fieller(treatment, control, (estimate - high) / error, (estimate - low) / error)


def _fieller(treatment: Moments, control: Moments, lower: float, upper: float) -> Relative:
    """Return the ratios at which the studentised difference lies within [lower, upper]."""
    if control.mean <= 0:
        return Relative(estimate=None, low=None, high=None)
    level = treatment.mean / control.mean
    # At the estimate itself the studentised difference is 0, which must lie inside.
    ends = (
        None
        if not lower < 0 < upper
        else (_root(treatment, control, upper, -1), _root(treatment, control, lower, 1))
    )
    if ends is None or ends[0] is None or ends[1] is None:
        return Relative(estimate=level - 1, low=None, high=None)
    return Relative(estimate=level - 1, low=ends[0] - 1, high=ends[1] - 1)


def _root(treatment: Moments, control: Moments, critical: float, side: int) -> float | None:
    """Return the lower (side -1) or upper (1) root of Fieller's quadratic, None where it has none.

    The bounds solve a r**2 - 2 b r + c = 0, which is an interval only for a > 0: the control's mean
    is then away from zero. Divided by its square, so that tiny units do not underflow.
    """
    level = treatment.mean / control.mean
    scale = (critical / control.mean) ** 2
    a = 1 - scale * control.variance / control.n
    if a <= 0:
        return None
    c = level**2 - scale * treatment.variance / treatment.n
    return (level + side * math.sqrt(max(level**2 - a * c, 0.0))) / a


def _error(treatment: Moments, control: Moments, confidence: float) -> tuple[float, float]:
    """Return the standard error of the difference and its degrees of freedom."""
    if not 0 < confidence < 1:
        raise InvalidMoments(f"confidence {confidence} must lie between 0 and 1; write .95")
    for name, arm in (("treatment", treatment), ("control", control)):
        if arm.n < 2:
            raise TooLittleData(
                f"{name} has {arm.n} unit(s), an interval needs at least 2; wait for more"
            )
    error, df = satterthwaite(treatment.variance, treatment.n, control.variance, control.n)
    if error == 0:
        raise TooLittleData(
            f"{_constant(treatment.mean, control.mean)}, so there is no spread to judge a "
            "difference by; wait for more"
        )
    return float(error), float(df)


def _constant(treatment: float, control: float) -> str:
    if treatment == control:
        return f"every unit has the same value, {treatment:g}"
    return (
        f"every unit of a variant has the same value ({treatment:g} in treatment, {control:g} in "
        "control)"
    )

"""The contrast of two variants: a figure of each, their difference, and how sure it is.

A mean, a ratio of sums, either of them adjusted by what was known before (CUPED): all are smooth
functions of means, so the delta method turns a variant into a figure and the variance of one unit's
part in it. Whatever is decided about method is read from both variants together, never from which
of them is better.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.aggregates import Aggregates

Figure = Literal["mean", "ratio"]
# Standard errors that a ratio's denominator must lie above 0 for the delta method to hold.
SURELY_ABOVE = 4.0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A figure in treatment and in control; all arrays of one shape (...).

    Attributes:
        treatment, control: The figures, adjusted where there is a covariate.
        treatment_variance, control_variance: Of one unit's part in the figure, so that variance / n
            is the figure's.
        treatment_n, control_n: Units.
        skewness: Of one unit's part, both variants taken together.
        bend: The covariance of that part with a ratio's denominator, over the part's standard
            deviation and the denominator's mean; 0 where nothing is divided. See near_normal.py.
        adjusted: Whether what was before tells anything, so that the figures are adjusted by it.
    """

    treatment: np.ndarray
    control: np.ndarray
    treatment_variance: np.ndarray
    control_variance: np.ndarray
    treatment_n: np.ndarray
    control_n: np.ndarray
    skewness: np.ndarray
    bend: np.ndarray
    adjusted: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        return self.treatment - self.control

    @property
    def variance(self) -> np.ndarray:
        """Of the difference."""
        return self.treatment_variance / self.treatment_n + self.control_variance / self.control_n


def contrast(
    figure: Figure, treatment: Aggregates, control: Aggregates, pooled: Aggregates | None = None
) -> Contrast:
    """Return the contrast of two variants.

    Args:
        figure: "mean" of the first column, or "ratio" of the first to the second. What columns
            follow are from before the experiment, the covariate (CUPED): the mean of one, the
            ratio of two.
        treatment, control: Sums of these columns.
        pooled: Both together, if at hand.

    Source: delta method; CUPED with one coefficient for both variants, Deng, Xu, Kohavi and Walker
    2013, for ratios by linearisation, Deng, Knoblich and Lu 2018.
    """
    both = treatment + control if pooled is None else pooled
    k = both.first.shape[-1]
    width = 1 if figure == "mean" else 2
    adjusted = k > width
    covariate: Figure = "mean" if k - width == 1 else "ratio"
    slope = np.zeros(both.n.shape)
    if adjusted:
        slope = slope_of(figure, covariate, both, width)
    centre = value_of(covariate, both.mean[..., width:]) if adjusted else None
    arms: list[tuple[np.ndarray, np.ndarray]] = []
    for arm in (treatment, control):
        mean = arm.mean
        value = value_of(figure, mean[..., :width])
        weights = gradient_of(figure, mean[..., :width])
        if centre is not None:
            moved = _times(slope, value_of(covariate, mean[..., width:]) - centre)
            value = value - moved
            before = _times(-slope[..., None], gradient_of(covariate, mean[..., width:]))
            weights = np.concatenate([weights, before], axis=-1)
        arms.append((value, quadratic(weights, arm.covariance)))
    (up, up_variance), (down, down_variance) = arms
    weights = _weights(figure, covariate, both, width, slope)
    return Contrast(
        treatment=up,
        control=down,
        treatment_variance=up_variance,
        control_variance=down_variance,
        treatment_n=treatment.n,
        control_n=control.n,
        skewness=both.skewness(weights),
        bend=np.zeros(both.n.shape) if figure == "mean" else _bend(weights, both),
        adjusted=slope != 0,
    )


def error_among(both: Aggregates, column: int, n: np.ndarray) -> np.ndarray:
    """Return the standard error that a column's mean has among n of these units, shape (...)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(both.covariance[..., column, column] / n)


def surely_above(both: Aggregates, column: int, n: np.ndarray) -> np.ndarray:
    """Say whether a column's mean lies SURELY_ABOVE of its errors among n units above 0."""
    mean, error = both.mean[..., column], error_among(both, column, n)
    # A single unit has no error; of none at all there is nothing.
    return (mean > 0) & (mean > SURELY_ABOVE * np.where(np.isnan(error), 0.0, error))


def _times(slope: np.ndarray, covariate: np.ndarray) -> np.ndarray:
    """Return their product; 0 where the covariate is not used, whatever it is."""
    with np.errstate(invalid="ignore"):
        return np.where(slope != 0, slope * covariate, 0.0)


def value_of(figure: Figure, mean: np.ndarray) -> np.ndarray:
    """Return a figure from the means of its columns, shape (..., 1) or (..., 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean[..., 0] if figure == "mean" else mean[..., 0] / mean[..., 1]


def gradient_of(figure: Figure, mean: np.ndarray) -> np.ndarray:
    """Return by how much a figure moves with each of these means, same shape."""
    if figure == "mean":
        return np.ones_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / mean[..., 1]
        return np.stack([inverse, -mean[..., 0] * inverse**2], axis=-1)


def slope_of(figure: Figure, covariate: Figure, both: Aggregates, width: int) -> np.ndarray:
    """Return CUPED's coefficient; 0 where the covariate tells nothing.

    It does not vary, or is a ratio to what may be zero.

    Args:
        both: Sums of both variants together; the covariate's columns come after `width` others.
    """
    now = gradient_of(figure, both.mean[..., :width])
    before = gradient_of(covariate, both.mean[..., width:])
    covariance = both.covariance
    shared = np.einsum("...i,...j,...ij->...", now, before, covariance[..., :width, width:])
    own = quadratic(before, covariance[..., width:, width:])
    told = own > 0
    if covariate == "ratio":
        # Around a zero any ratio is possible.
        told &= surely_above(both, width + 1, both.n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(told, shared / own, 0.0)


def _weights(
    figure: Figure, covariate: Figure, both: Aggregates, width: int, slope: np.ndarray
) -> np.ndarray:
    """Return how much each column counts in one unit's part of the figure, shape (..., k)."""
    weights = gradient_of(figure, both.mean[..., :width])
    if both.first.shape[-1] > width:
        before = _times(-slope[..., None], gradient_of(covariate, both.mean[..., width:]))
        weights = np.concatenate([weights, before], axis=-1)
    return weights


def _bend(weights: np.ndarray, both: Aggregates) -> np.ndarray:
    covariance = both.covariance
    shared = np.einsum("...i,...i->...", weights, covariance[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return shared / np.sqrt(quadratic(weights, covariance)) / both.mean[..., 1]


def quadratic(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the variance of a weighted sum of columns with this covariance, shape (...)."""
    value = np.einsum("...i,...j,...ij->...", weights, weights, matrix)
    # Where parts cancel (a covariate that is the metric itself) rounding leaves a trace, of either
    # sign, that would pass for information.
    whole = np.einsum("...i,...i,...ii->...", weights, weights, matrix)
    return np.where(value > 1e-13 * whole, value, 0.0)

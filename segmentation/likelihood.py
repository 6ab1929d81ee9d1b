"""Maximum likelihood over positive parameters: the top, how sure it is, or that there is none.

Parameters are searched by their logarithms. Where a likelihood rises towards a limit model and is
flat there, the limit is the answer: after a short history customers often look alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import digamma

from foundation.errors import RegularsError

Floats = np.ndarray
# The mean negative log-likelihood of logarithms of parameters, and its slope, shape (n,).
Loss = Callable[[Floats], tuple[float, Floats]]

# Logarithms of parameters stay inside: so far out a limit model is told from no other.
BOUND = 12.0
# Where there are more rows the hill is climbed on every k-th of them; the last steps see them all.
CLIMBED_ROWS = 40_000
# The last steps, and how short one is at the top: far below a parameter's third digit.
LAST_STEPS = 12
AT_THE_TOP = 1e-7
# Slope of the mean log-likelihood, per unit of a parameter's logarithm, that counts as none.
FLAT = 1e-4
# Below it a parameter's logarithm has a standard error above 2: nothing is known of it.
LEAST_CURVATURE = 1 / 4


class NotConverged(RegularsError):
    """No start led to a maximum of the likelihood; the last champion stays."""


def lowest(loss: Loss, start: Floats, tolerance: float) -> Any:
    """Return where a mean negative log-likelihood is lowest: x, fun and jac."""
    return optimize.minimize(
        loss,
        start,
        method="L-BFGS-B",
        jac=True,
        bounds=[(-BOUND, BOUND)] * len(start),
        options={"ftol": tolerance, "gtol": 1e-9, "maxiter": 500, "maxls": 40},
    )


def lowest_of_all(whole: Loss, near: Floats, climbed: Loss) -> Any:
    """Return where the loss of all rows is lowest, from where that of every k-th of them is.

    Newton's steps by the curvature of the fewer rows: it hardly differs from that of all, so that
    each step leaves a few percent of the way, and only slopes of all rows are asked for. Where they
    do not end at a top, all rows are climbed.
    """
    curvature = _curvature(climbed, near)
    # Along a limit, and where nothing is known, there is no way to go.
    free = (np.abs(near) < BOUND) & (np.diag(curvature) > 1e-9)
    inverse = np.zeros_like(curvature)
    inverse[np.ix_(free, free)] = np.linalg.pinv(
        curvature[np.ix_(free, free)], rcond=1e-9, hermitian=True
    )
    at = near
    for _ in range(LAST_STEPS):
        fun, slope = whole(at)
        step = -inverse @ slope
        flat = np.abs(without_limits(at, slope)).max() < FLAT
        if np.abs(step).max(initial=0.0) < AT_THE_TOP and flat:
            return optimize.OptimizeResult(x=at, fun=fun, jac=slope)
        at = np.clip(at + step, -BOUND, BOUND)
    return lowest(whole, near, 1e-14)


def without_limits(at: Floats, slope: Floats) -> Floats:
    """Return a slope but where it rises beyond a bound: there it does so for ever."""
    return np.where((np.abs(at) >= BOUND) & (slope * at < 0), 0.0, slope)


def refuse_slope(slope: Floats, subject: str) -> None:
    """Refuse an end of the search from which the likelihood still rises.

    Raises:
        NotConverged: It does, or its slope is no number.
    """
    steepest = float(np.abs(slope).max())
    if not steepest < FLAT:
        raise NotConverged(
            f"{subject}: the likelihood still rises by {steepest:.2g} a customer where the search "
            "ended, so it has no maximum; load a longer history, or use another model"
        )


def covariance(loss: Loss, top: Floats, customers: float) -> Floats:
    """Return the inverse curvature of the log-likelihood of so many customers, shape (n, n).

    A direction in which the likelihood is flat has no variance: near a limit model nothing, not
    even a forecast, depends on it.
    """
    curvature = customers * _curvature(loss, top)
    known = np.ix_(*[np.diag(curvature) > LEAST_CURVATURE] * 2)
    found = np.zeros_like(curvature)
    found[known] = np.linalg.pinv(curvature[known], rcond=1e-9, hermitian=True)
    return found


def normal_draws(mean: Floats, spread: Floats, number: int, draw: np.random.Generator) -> Floats:
    """Return draws of a normal distribution with this covariance, shape (number, n)."""
    variance, direction = np.linalg.eigh(spread)
    steps = draw.standard_normal((number, len(mean))) * np.sqrt(np.maximum(variance, 0.0))
    return mean + steps @ direction.T


def _curvature(loss: Loss, at: Floats, step: float = 1e-4) -> Floats:
    """Return the matrix of second derivatives by central differences of slopes, shape (n, n)."""
    second = np.array(
        [(loss(at + unit)[1] - loss(at - unit)[1]) / (2 * step) for unit in np.eye(len(at)) * step]
    )
    return (second + second.T) / 2


def digamma_rise(start: Floats | float, by: Floats | float) -> Floats:
    """Return digamma(start + by) - digamma(start), which keeps its digits where both are large.

    Source: Abramowitz and Stegun 6.3.18 beyond 1e4.
    """
    end = start + by
    far = (
        np.log1p(by / start)
        + by / (2 * start * end)
        + by * (start + end) / (12 * (start * end) ** 2)
    )
    return np.where(np.asarray(start) > 1e4, far, digamma(end) - digamma(start))

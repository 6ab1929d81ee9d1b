"""Maximum likelihood over positive parameters: the top, how sure it is, or that there is none.

Parameters are searched by their logarithms. Where a likelihood rises towards a limit model and is
flat there, the limit is the answer: after a short history customers often look alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from foundation.errors import RegularsError

Floats = np.ndarray
Loss = Callable[[Floats], float]

# Logarithms of parameters stay inside: so far out a limit model is told from no other.
BOUND = 12.0
# The top is looked for on every k-th row where there are more than these: the error that this
# leaves in the parameters is in their covariance, and is small beside any customer's own chance.
MOST_ROWS = 40_000
# Slope of the mean log-likelihood, per unit of a parameter's logarithm, that counts as none.
FLAT = 1e-4
# Below it a parameter's logarithm has a standard error above 2: nothing is known of it.
LEAST_CURVATURE = 1 / 4


class NotConverged(RegularsError):
    """No start led to a maximum of the likelihood; the last champion stays."""


def lowest(loss: Loss, start: Floats, tolerance: float) -> Any:
    """Return where a mean negative log-likelihood is lowest: x, fun and jac."""
    # Central differences: one-sided ones are too coarse for the third digit of a parameter.
    return optimize.minimize(
        loss,
        start,
        method="L-BFGS-B",
        jac="3-point",
        bounds=[(-BOUND, BOUND)] * len(start),
        options={"ftol": tolerance, "gtol": 1e-7, "maxiter": 500},
    )


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


def covariance(loss: Loss, top: Floats) -> Floats:
    """Return the inverse curvature of a negative log-likelihood, shape (n, n).

    A direction in which the likelihood is flat has no variance: near a limit model nothing, not
    even a forecast, depends on it.
    """
    curvature = _curvature(loss, top)
    known = np.ix_(*[np.diag(curvature) > LEAST_CURVATURE] * 2)
    found = np.zeros_like(curvature)
    found[known] = np.linalg.pinv(curvature[known], rcond=1e-9, hermitian=True)
    return found


def normal_draws(mean: Floats, spread: Floats, number: int, draw: np.random.Generator) -> Floats:
    """Return draws of a normal distribution with this covariance, shape (number, n)."""
    variance, direction = np.linalg.eigh(spread)
    steps = draw.standard_normal((number, len(mean))) * np.sqrt(np.maximum(variance, 0.0))
    return mean + steps @ direction.T


def _curvature(loss: Loss, at: Floats, step: float = 1e-3) -> Floats:
    """Return the matrix of second derivatives by central differences, shape (n, n)."""
    n = len(at)
    unit = np.eye(n) * step
    second = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            second[i, j] = second[j, i] = (
                loss(at + unit[i] + unit[j])
                - loss(at + unit[i] - unit[j])
                - loss(at - unit[i] + unit[j])
                + loss(at - unit[i] - unit[j])
            ) / (4 * step * step)
    return second

"""How many more purchases will she make, and does she still buy at all?

Three models of a customer who buys at her own rate until, unseen, she stops. They differ in when
she may stop: BG/NBD after a purchase, never before the first repeat; MBG/NBD also right after the
first purchase; Pareto/NBD at any time. BG/NBD therefore calls every one-time buyer alive, and is no
churn model. All likelihoods are in logarithms and hold for extreme histories.

Sources: Fader, Hardie and Lee 2005 (BG/NBD); Batislam, Denizel and Filiztekin 2007 and Hoppe and
Wagner 2007 (MBG/NBD); Schmittlein, Morrison and Colombo 1987, Fader and Hardie 2005 (Pareto/NBD).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize
from scipy.special import betaln, gammaln, hyp2f1

from foundation.errors import RegularsError
from segmentation.purchase_summary import PurchaseSummary

Name = Literal["bg_nbd", "mbg_nbd", "pareto_nbd"]
NAMES: tuple[Name, ...] = ("bg_nbd", "mbg_nbd", "pareto_nbd")

Floats = np.ndarray


# Logarithms of parameters stay inside: at e^12 weeks a limit model is told from no other.
BOUND = 12.0
# Slope of the mean log-likelihood, per unit of a parameter's logarithm, that counts as none.
FLAT = 1e-4
# Below it a parameter's logarithm has a standard error above 2: nothing is known of it.
LEAST_CURVATURE = 1 / 4
# Starts are tried on every k-th history, which is enough to find the hill. The top is looked for
# on as many as these at most: the error that this leaves is in the covariance.
PILOT_GROUPS = 3_000
MOST_GROUPS = 50_000


class NotConverged(RegularsError):
    """No start led to a maximum of the likelihood; the last champion stays."""


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted model.

    `parameters` are (r, alpha, a, b), for Pareto/NBD (r, alpha, s, beta), times in weeks;
    `covariance` is that of their logarithms, from the likelihood's curvature, shape (4, 4). A
    direction in which the likelihood is flat (customers alike in rate or in stopping) has none.
    """

    name: Name
    parameters: tuple[float, float, float, float]
    log_likelihood: float
    covariance: Floats

    def expected(self, x: Floats, t_x: Floats, T: Floats, weeks: float) -> Floats:
        """Return the expected purchases in the next `weeks`, given each history."""
        return expected_purchases(self.name, self.parameters, x, t_x, T, weeks)

    def alive(self, x: Floats, t_x: Floats, T: Floats) -> Floats:
        """Return the probability that each customer has not stopped."""
        return alive_probability(self.name, self.parameters, x, t_x, T)


def fit(name: Name, summary: PurchaseSummary) -> PurchaseModel:
    """Fit a model by maximum likelihood.

    Where the likelihood rises towards a limit model and is flat there, the limit is the answer:
    after a short history customers often look alike in how they stop.

    Raises:
        NotConverged: No start led to a maximum.
    """
    # From the histories' own scale, and from elsewhere, lest a flat corner is taken for the top.
    usual = max(float(np.average(summary.T, weights=summary.count)) / 4, 1e-3)
    starts = np.linalg.solve(_RIDGE, np.log([[0.5, usual, 0.8, 2.0], [1.0, usual, 1.0, usual]]).T)
    pilot, _ = _loss(name, summary, PILOT_GROUPS)
    hill = min((_lowest(pilot, start, 1e-9) for start in starts.T), key=lambda found: found.fun)
    loss, used = _loss(name, summary, MOST_GROUPS)
    top = _lowest(loss, hill.x, 1e-14)
    customers = int(summary.count.sum())
    slope = float(np.abs(top.jac).max())
    # Also refuses a slope that is no number.
    if not slope < FLAT:
        raise NotConverged(
            f"{name} on {customers:,} customers: the likelihood still rises by {slope:.2g} a "
            "customer where the search ended, so it has no maximum; load a longer history, or use "
            "another model"
        )
    whole, _ = _loss(name, summary, len(summary.x))
    return PurchaseModel(
        name=name,
        parameters=tuple(float(v) for v in np.exp(_RIDGE @ top.x)),  # pyright: ignore[reportArgumentType]
        log_likelihood=float(-whole(_RIDGE @ top.x) * customers),
        covariance=_covariance(lambda z: loss(_RIDGE @ z) * used, top.x),
    )


def _covariance(loss: Callable[[Floats], float], top: Floats) -> Floats:
    """Return the covariance of the logarithms from the curvature at the top, shape (4, 4)."""
    curvature = _curvature(loss, top)
    # Near a limit model the likelihood no longer depends on the spread, nor do forecasts.
    known = np.diag(curvature) > LEAST_CURVATURE
    found = np.zeros_like(curvature)
    rows = np.ix_(known, known)
    found[rows] = np.linalg.pinv(curvature[rows], rcond=1e-9, hermitian=True)
    return _RIDGE @ found @ _RIDGE.T


def _loss(
    name: Name, summary: PurchaseSummary, most: int
) -> tuple[Callable[[Floats], float], float]:
    """Return the mean negative log-likelihood of every k-th history, and whose number it is."""
    # Groups are sorted by history, so every k-th of them is a stratified sample.
    chosen = slice(None, None, -(-len(summary.x) // most))
    x, t_x, T = summary.x[chosen], summary.t_x[chosen], summary.T[chosen]
    count = summary.count[chosen]
    customers = float(count.sum())

    def loss(logs: Floats) -> float:
        return float(-(count * log_likelihood(name, np.exp(logs), x, t_x, T)).sum() / customers)

    return loss, customers


# The mean rate r / alpha and the odds a / b (or rate s / beta) of stopping are well known also
# where the spread around them is not: a search along their logarithms crawls along no ridge.
_RIDGE = np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])


def _lowest(loss: Callable[[Floats], float], start: Floats, tolerance: float) -> Any:
    # Central differences: one-sided ones are too coarse for the third digit of beta.
    return optimize.minimize(
        lambda z: loss(_RIDGE @ z),
        start,
        method="L-BFGS-B",
        jac="3-point",
        bounds=[(-BOUND, BOUND)] * len(start),
        options={"ftol": tolerance, "gtol": 1e-7, "maxiter": 500},
    )


def _curvature(loss: Callable[[Floats], float], at: Floats, step: float = 1e-3) -> Floats:
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


def log_likelihood(name: Name, parameters: Floats, x: Floats, t_x: Floats, T: Floats) -> Floats:
    """Return each history's log-likelihood, shape (n,)."""
    alive, stopped = _log_parts(name, parameters, x, t_x, T)
    return np.logaddexp(alive, stopped)


def alive_probability(
    name: Name, parameters: tuple[float, ...], x: Floats, t_x: Floats, T: Floats
) -> Floats:
    """Return the probability of not having stopped by T, shape (n,)."""
    alive, stopped = _log_parts(name, np.asarray(parameters), x, t_x, T)
    return np.exp(-np.logaddexp(0.0, stopped - alive))


def _log_parts(
    name: Name, parameters: Floats, x: Floats, t_x: Floats, T: Floats
) -> tuple[Floats, Floats]:
    """Return the logarithms of the likelihood's two parts: still alive at T, stopped before."""
    r, alpha, third, fourth = parameters
    buying = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    if name == "pareto_nbd":
        s, beta = third, fourth
        alive = buying - (r + x) * np.log(alpha + T) + s * (np.log(beta) - np.log(beta + T))
        return alive, buying + s * np.log(beta) + _log_stopping_integral(
            r, alpha, s, beta, x, t_x, T
        )
    a, b = third, fourth
    if name == "mbg_nbd":
        alive = buying + betaln(a, b + x + 1) - betaln(a, b) - (r + x) * np.log(alpha + T)
        stopped = buying + betaln(a + 1, b + x) - betaln(a, b) - (r + x) * np.log(alpha + t_x)
        return alive, stopped
    alive = buying + betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + T)
    # Without a repeat purchase there was no chance to stop.
    repeated = x > 0
    after = np.where(repeated, x, 1.0)
    stopped = buying + betaln(a + 1, b + after - 1) - betaln(a, b) - (r + x) * np.log(alpha + t_x)
    return alive, np.where(repeated, stopped, -np.inf)


# Gauss-Legendre on (-1, 1); 32 nodes keep ten digits also for parameters of a millionth.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


def _log_stopping_integral(
    r: float, alpha: float, s: float, beta: float, x: Floats, t_x: Floats, T: Floats
) -> Floats:
    """Return log of the integral over t_x..T of s (alpha + u)^-(r+x) (beta + u)^-(s+1) du.

    The closed form is a difference of hypergeometric functions that lose all digits, or do not
    end, for extreme parameters. The integrand falls from t_x on by a power law, so it is summed
    on a grid that is geometric in u - t_x, in units of its own steepness there.
    """
    steepness = (r + x) / (alpha + t_x) + (s + 1) / (beta + t_x)
    span = np.log1p((T - t_x) * steepness)
    y = span[:, None] * (NODES + 1) / 2
    u = t_x[:, None] + np.expm1(y) / steepness[:, None]
    values = y - (r + x)[:, None] * np.log(alpha + u) - (s + 1) * np.log(beta + u)
    highest = values.max(axis=1)
    total = (np.exp(values - highest[:, None]) * WEIGHTS / 2).sum(axis=1)
    # Seen only up to the last purchase (T = t_x): there was no time to stop.
    with np.errstate(divide="ignore"):
        return np.log(s) - np.log(steepness) + np.log(span) + highest + np.log(total)


def expected_purchases(
    name: Name, parameters: tuple[float, ...], x: Floats, t_x: Floats, T: Floats, weeks: float
) -> Floats:
    """Return the expected purchases in (T, T + weeks] given each history, shape (n,)."""
    r, alpha, third, fourth = parameters
    alive = alive_probability(name, parameters, x, t_x, T)
    if name == "pareto_nbd":
        s, beta = third, fourth
        longer = np.log1p(weeks / (beta + T))
        # The limit at s = 1 is the logarithm itself.
        still = longer if abs(s - 1) < 1e-9 else -np.expm1(-(s - 1) * longer) / (s - 1)
        return alive * (r + x) * (beta + T) / (alpha + T) * still
    a, b = third, fourth
    if abs(a - 1) < 1e-5:
        # The formula divides by a - 1; its two sides meet.
        below = expected_purchases(name, (r, alpha, 1 - 2e-5, b), x, t_x, T, weeks)
        above = expected_purchases(name, (r, alpha, 1 + 2e-5, b), x, t_x, T, weeks)
        return (below + above) / 2
    z = weeks / (alpha + T + weeks)
    chances = b + x + 1 if name == "mbg_nbd" else b + x
    total = a + chances - 1
    # Euler's transformation gives two forms of one function. The series of the first is bounded for
    # those who stop easily, of the second for heavy buyers; the other one overflows.
    easily = a - 1 > r + x
    series = hyp2f1(
        np.where(easily, r + x, total - r - x),
        np.where(easily, chances, a - 1),
        total,
        z,
    )
    power = np.where(easily, r + x, a - 1)
    return alive * total / (a - 1) * (1 - (1 - z) ** power * series)

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
from typing import Literal

import numpy as np
from scipy import optimize
from scipy.special import betaln, gammaln, hyp2f1

from foundation.errors import RegularsError
from segmentation.purchase_summary import PurchaseSummary

Name = Literal["bg_nbd", "mbg_nbd", "pareto_nbd"]
NAMES: tuple[Name, ...] = ("bg_nbd", "mbg_nbd", "pareto_nbd")

Floats = np.ndarray


class NotConverged(RegularsError):
    """No start led to a maximum of the likelihood; the last champion stays."""


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted model.

    `parameters` are (r, alpha, a, b), for Pareto/NBD (r, alpha, s, beta), times in weeks;
    `covariance` is that of their logarithms, from the likelihood's curvature, shape (4, 4).
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

    Raises:
        NotConverged: No start led to a maximum.
    """
    customers = summary.count.sum()

    def loss(logs: Floats) -> float:
        value = log_likelihood(name, np.exp(logs), summary.x, summary.t_x, summary.T)
        return float(-(summary.count * value).sum() / customers)

    # From the histories' own scale, and from elsewhere, lest a flat corner is taken for the top.
    usual = max(float(np.average(summary.T, weights=summary.count)) / 4, 1e-3)
    starts = [np.log([0.5, usual, 0.8, 2.0]), np.log([1.0, usual, 1.0, usual])]
    tries = [
        optimize.minimize(loss, s, method="L-BFGS-B", bounds=[(-12.0, 12.0)] * 4, tol=1e-12)
        for s in starts
    ]
    best = min(tries, key=lambda t: t.fun)
    polished = optimize.minimize(
        loss, best.x, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12, "maxiter": 4000}
    )
    top = polished if polished.fun <= best.fun else best
    if not np.isfinite(top.fun) or np.any(np.abs(top.x) >= 11.9):
        raise NotConverged(
            f"{name} on {customers:,} customers has no maximum inside its bounds; "
            "load a longer history, or use another model"
        )
    curvature = _curvature(loss, top.x) * customers
    return PurchaseModel(
        name=name,
        parameters=tuple(float(v) for v in np.exp(top.x)),  # pyright: ignore[reportArgumentType]
        log_likelihood=float(-top.fun * customers),
        covariance=np.linalg.pinv(curvature, hermitian=True),
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
    # After Euler's transformation nothing overflows for heavy buyers.
    if name == "mbg_nbd":
        series = hyp2f1(a + b - r, a - 1, a + b + x, z)
        return alive * (a + b + x) / (a - 1) * (1 - (1 - z) ** (a - 1) * series)
    series = hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, z)
    return alive * (a + b + x - 1) / (a - 1) * (1 - (1 - z) ** (a - 1) * series)

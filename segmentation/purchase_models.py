"""How many more purchases will she make, and does she still buy at all?

Three models of a customer who buys at her own rate until, unseen, she stops. They differ in when
she may stop: BG/NBD after a purchase, never before the first repeat; MBG/NBD also right after the
first purchase; Pareto/NBD at any time. BG/NBD therefore calls every one-time buyer alive, and is no
churn model. All likelihoods are in logarithms and hold for extreme histories.

Sources: Fader, Hardie and Lee 2005 (BG/NBD); Batislam, Denizel and Filiztekin 2007 and Hoppe and
Wagner 2007 (MBG/NBD); Schmittlein, Morrison and Colombo 1987, Fader and Hardie 2005 (Pareto/NBD).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betaln, gammaln, hyp2f1

from segmentation.likelihood import (
    CLIMBED_ROWS,
    Loss,
    covariance,
    digamma_rise,
    lowest,
    lowest_of_all,
    normal_draws,
    refuse_slope,
)
from segmentation.purchase_summary import PurchaseSummary

Name = Literal["bg_nbd", "mbg_nbd", "pareto_nbd"]
NAMES: tuple[Name, ...] = ("bg_nbd", "mbg_nbd", "pareto_nbd")

Floats = np.ndarray


# Starts are tried on every k-th history, which is enough to find the hill.
PILOT_GROUPS = 3_000


# The mean rate r / alpha and the odds a / b (or rate s / beta) of stopping are well known also
# where the spread around them is not: a search along their logarithms crawls along no ridge.
RIDGE = np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])


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

    def draw_parameters(self, number: int, draw: np.random.Generator) -> Floats:
        """Return parameters as likely as the data leave them, shape (number, 4)."""
        logs = np.log(self.parameters)
        return np.exp(normal_draws(logs, self.covariance, number, draw))


def fit(name: Name, summary: PurchaseSummary) -> PurchaseModel:
    """Fit a model by maximum likelihood.

    Raises:
        NotConverged: No start led to a maximum, nor to a limit.
    """
    # From the histories' own scale, and from elsewhere, lest a flat corner is taken for the top.
    usual = max(float(np.average(summary.T, weights=summary.count)) / 4, 1e-3)
    starts = np.linalg.solve(RIDGE, np.log([[0.5, usual, 0.8, 2.0], [1.0, usual, 1.0, usual]]).T)
    pilot = _loss(name, summary, PILOT_GROUPS)
    hill = min((lowest(pilot, start, 1e-9) for start in starts.T), key=lambda found: found.fun)
    climbed = _loss(name, summary, CLIMBED_ROWS)
    top = lowest(climbed, hill.x, 1e-14)
    if len(summary.x) > CLIMBED_ROWS:
        top = lowest_of_all(_loss(name, summary, len(summary.x)), top.x, climbed)
    customers = int(summary.count.sum())
    refuse_slope(top.jac, f"{name} on {customers:,} customers")
    spread = covariance(climbed, top.x, customers)
    return PurchaseModel(
        name=name,
        parameters=tuple(float(v) for v in np.exp(RIDGE @ top.x)),  # pyright: ignore[reportArgumentType]
        log_likelihood=float(-top.fun * customers),
        covariance=RIDGE @ spread @ RIDGE.T,
    )


def _loss(name: Name, summary: PurchaseSummary, most: int) -> Loss:
    """Return the mean negative log-likelihood of every k-th history, with its slope."""
    # Groups are sorted by history, so every k-th of them is a stratified sample.
    chosen = slice(None, None, -(-len(summary.x) // most))
    x, t_x, T = summary.x[chosen], summary.t_x[chosen], summary.T[chosen]
    count = summary.count[chosen]
    customers = float(count.sum())

    def loss(along: Floats) -> tuple[float, Floats]:
        parameters = np.exp(RIDGE @ along)
        total, slope = 0.0, np.zeros(len(along))
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            found, slopes = _with_slopes(name, parameters, x[rows], t_x[rows], T[rows])
            total += float(count[rows] @ found)
            slope += slopes @ count[rows]
        return -total / customers, -(RIDGE.T @ (parameters * slope)) / customers

    return loss


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
    if name == "pareto_nbd":
        r, alpha, s, beta = parameters
        alive, before = _pareto_log_parts(parameters, x, T)
        found = np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            grid = _StoppingGrid.of(r, alpha, s, beta, x[rows], t_x[rows], T[rows])
            found[rows] = grid.log_integral
        return alive, before + found
    r, alpha, a, b = parameters
    buying = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
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


def _with_slopes(
    name: Name, parameters: Floats, x: Floats, t_x: Floats, T: Floats
) -> tuple[Floats, Floats]:
    """Return log-likelihoods of a block, shape (n,), and their slopes by parameter, (4, n)."""
    r, alpha, third, fourth = parameters
    if name == "pareto_nbd":
        s, beta = third, fourth
        grid = _StoppingGrid.of(r, alpha, s, beta, x, t_x, T)
        alive, before = _pareto_log_parts(parameters, x, T)
        stopped = before + grid.log_integral
        alive_by = -np.log1p(T / beta), s * T / (beta * (beta + T))
        late, soon = grid.mean(np.log1p(grid.u / alpha)), grid.mean(1 / (alpha + grid.u))
        stopped_by = (
            1 / s - grid.mean(np.log1p(grid.u / beta)),
            s / beta - (s + 1) * grid.mean(1 / (beta + grid.u)),
        )
    else:
        a, b = third, fourth
        alive, stopped = _log_parts(name, parameters, x, t_x, T)
        chances = x + (name == "mbg_nbd")
        less = digamma_rise(a + b, chances)
        alive_by = -less, digamma_rise(b, chances) - less
        late, soon = np.log1p(t_x / alpha), 1 / (alpha + t_x)
        stopped_by = 1 / a - less, digamma_rise(b, np.maximum(chances - 1, 0.0)) - less
    found = np.logaddexp(alive, stopped)
    share = np.exp(alive - found)
    gone = 1 - share
    slopes = [
        digamma_rise(r, x) - share * np.log1p(T / alpha) - gone * late,
        r / alpha - (r + x) * (share / (alpha + T) + gone * soon),
        *(share * one + gone * other for one, other in zip(alive_by, stopped_by, strict=True)),
    ]
    return found, np.array(slopes)


# Gauss-Legendre on (-1, 1); 32 nodes keep ten digits also for parameters of a millionth.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
# Histories at once, so that their grids stay in the processor's cache.
BLOCK = 1_000


@dataclass(frozen=True)
class _StoppingGrid:
    """The integral over u in t_x..T of (alpha + u)^-(r+x) (beta + u)^-(s+1), for a block.

    The closed form is a difference of hypergeometric functions that lose all digits, or do not
    end, for extreme parameters. The integrand falls from t_x on by a power law, so it is summed
    on a grid that is geometric in u - t_x, in units of its own steepness there. `u` and `weight`
    are of shape (n, nodes).
    """

    log_integral: Floats
    u: Floats
    weight: Floats

    @staticmethod
    def of(
        r: float, alpha: float, s: float, beta: float, x: Floats, t_x: Floats, T: Floats
    ) -> "_StoppingGrid":
        n, last = (r + x)[:, None], t_x[:, None]
        steepness = n / (alpha + last) + (s + 1) / (beta + last)
        span = np.log1p((T[:, None] - last) * steepness)
        y = span * ((NODES + 1) / 2)
        u = last + np.expm1(y) / steepness
        y -= n * np.log(alpha + u)
        y -= (s + 1) * np.log(beta + u)
        highest = y.max(axis=1)
        weight = np.exp(y - highest[:, None])
        total = weight @ (WEIGHTS / 2)
        # Seen only up to the last purchase (T = t_x): there was no time to stop.
        with np.errstate(divide="ignore"):
            log_integral = np.log(span[:, 0] / steepness[:, 0]) + highest + np.log(total)
        return _StoppingGrid(log_integral, u, weight)

    def mean(self, values: Floats) -> Floats:
        """Return the mean of values at the moments of stopping, shape (n,)."""
        return (self.weight * values) @ WEIGHTS / (self.weight @ WEIGHTS)


def _pareto_log_parts(parameters: Floats, x: Floats, T: Floats) -> tuple[Floats, Floats]:
    """Return the logarithms of being alive at T, and of all but the integral of having stopped."""
    r, alpha, s, beta = parameters
    buying = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    alive = buying - (r + x) * np.log(alpha + T) + s * (np.log(beta) - np.log(beta + T))
    return alive, buying + s * np.log(beta) + np.log(s)


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
    with np.errstate(over="ignore", invalid="ignore"):
        found = total / (a - 1) * (1 - (1 - z) ** power * series)
    # Both overflow for some parameters of hundreds beside some of a hundredth.
    lost = ~np.isfinite(found)
    if lost.any():
        odds = np.broadcast_to(weeks / (alpha + T), found.shape)[lost]
        found[lost] = _purchases_while_alive(r + x[lost], odds, a, chances[lost])
    return alive * found


# Steps of a trapezoid rule, for an integrand that dies away doubly exponentially.
STEPS = np.linspace(-12.0, 12.0, 481)


def _purchases_while_alive(shape: Floats, odds: Floats, a: float, chances: Floats) -> Floats:
    """Return the mean of (1 - (1 + p odds)^-shape) / p over p ~ Beta(a, chances), shape (n,).

    Summed over the logit of p, whose density has one hill and exponential tails.
    """
    found = np.empty(len(shape))
    for start in range(0, len(shape), BLOCK):
        rows = slice(start, start + BLOCK)
        b, n, c = chances[rows, None], shape[rows, None], odds[rows, None]
        width = np.sqrt(1 / a + 1 / b)
        logit = np.log(a / b) + width * np.sinh(STEPS)
        log_p, log_q = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
        weight = np.exp(a * log_p + b * log_q - betaln(a, b)) * width * np.cosh(STEPS)
        # log(1 + p c) keeps its digits where p has none left; there the mean is n c itself.
        p = np.exp(np.maximum(log_p, -700.0))
        bought = -np.expm1(-n * np.log1p(p * c)) / p
        found[rows] = (weight * bought).sum(axis=1) * (STEPS[1] - STEPS[0])
    return found

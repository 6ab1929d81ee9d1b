"""What does a purchase of hers bring? The Gamma-Gamma model of mean spend per purchase.

A customer's purchases vary around a mean of her own; few purchases are drawn towards the
population's mean, many speak for themselves. It assumes that spend does not depend on how often
she buys.

Source: Fader, Hardie and Lee 2005, "RFM and CLV"; Fader and Hardie 2013, "The Gamma-Gamma Model".
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from foundation.errors import TooLittleData
from segmentation.likelihood import (
    CLIMBED_ROWS,
    FLAT,
    Loss,
    covariance,
    digamma_rise,
    lowest,
    lowest_of_all,
    normal_draws,
    refuse_slope,
    without_limits,
)

Floats = np.ndarray
FEWEST_REPEAT_BUYERS = 10


@dataclass(frozen=True)
class SpendModel:
    """A fitted model: parameters (p, q, v), v in the unit of the amounts.

    `covariance` is that of their logarithms, from the likelihood's curvature, shape (3, 3).
    """

    parameters: tuple[float, float, float]
    log_likelihood: float
    customers: int
    covariance: Floats

    def expected_spend(self, x: Floats, spend: Floats) -> Floats:
        """Return the expected mean spend per purchase, shape (n,).

        Args:
            x: Repeat purchases.
            spend: Mean spend of a repeat purchase; unread where x is 0.

        A customer without a repeat purchase gets the population's mean, which is unknown (NaN)
        where q is at most 1.
        """
        p, q, v = self.parameters
        told = told_spend(x, spend)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = p * (v + told) / (p * x + q - 1)
        return np.where(p * x + q > 1, mean, np.nan)

    def draw_parameters(self, number: int, draw: np.random.Generator) -> Floats:
        """Return parameters as likely as the data leave them, shape (number, 3)."""
        return np.exp(normal_draws(np.log(self.parameters), self.covariance, number, draw))


def told_spend(x: Floats, spend: Floats) -> Floats:
    """Return what all repeat purchases brought; returns can take all of it, but no more."""
    return np.where(x > 0, np.maximum(np.nan_to_num(spend), 0.0), 0.0) * x


def fit_spend(x: Floats, spend: Floats) -> SpendModel:
    """Fit by maximum likelihood on customers with a repeat purchase of positive mean spend.

    Args:
        x: Repeat purchases, shape (n,).
        spend: Mean spend of a repeat purchase, shape (n,).

    Raises:
        TooLittleData: Fewer than 10 such customers.
        NotConverged: The likelihood has no maximum, nor a limit to rise to.
    """
    used = (x > 0) & (spend > 0)
    n, mean = x[used], spend[used]
    if len(n) < FEWEST_REPEAT_BUYERS:
        raise TooLittleData(
            f"spend of {len(n)} repeat buyers: at least {FEWEST_REPEAT_BUYERS} are needed; "
            "load a longer history"
        )
    # In parts of the usual amount, so that no currency lies outside the bounds.
    usual = float(mean.mean())
    mean = mean / usual

    chosen = slice(None, None, -(-len(n) // CLIMBED_ROWS))
    climbed = _loss(n[chosen], mean[chosen])
    hill = lowest(climbed, np.log([2.0, 3.0, 1.0]), 1e-9)
    top = lowest(climbed, hill.x, 1e-15)
    # Where the hill is steep in one direction and has no end in another, the last steps of a climb
    # are lost in rounding.
    if len(n) > CLIMBED_ROWS or np.abs(without_limits(top.x, top.jac)).max() >= FLAT:
        top = lowest_of_all(_loss(n, mean), top.x, climbed)
    # Where a customer's amounts are all alike (one price, say) it rises along p for ever; so far
    # out they vary by a quarter of a percent, which is that limit for all that is told of it.
    refuse_slope(without_limits(top.x, top.jac), f"spend of {len(n):,} repeat buyers")
    p, q, v = (float(value) for value in np.exp(top.x))
    return SpendModel(
        parameters=(p, q, v * usual),
        log_likelihood=-len(n) * float(top.fun + np.log(usual)),
        customers=len(n),
        covariance=covariance(climbed, top.x, len(n)),
    )


def _loss(n: Floats, mean: Floats) -> Loss:
    """Return the mean negative log density of means of n purchases, with its slope."""

    def loss(logs: Floats) -> tuple[float, Floats]:
        p, q, v = np.exp(logs)
        times, spent = p * n, n * mean
        density = (
            gammaln(times + q)
            - gammaln(times)
            - gammaln(q)
            + q * np.log(v)
            + (times - 1) * np.log(mean)
            + times * np.log(n)
            - (times + q) * np.log(v + spent)
        )
        by_p = n * (digamma_rise(times, q) + np.log(spent) - np.log(v + spent))
        by_q = digamma_rise(q, times) - np.log1p(spent / v)
        by_v = q / v - (times + q) / (v + spent)
        slope = np.array([by_p.mean(), by_q.mean(), by_v.mean()])
        return -float(density.mean()), -np.exp(logs) * slope

    return loss

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
from segmentation.likelihood import BOUND, MOST_ROWS, covariance, lowest, normal_draws, refuse_slope

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

    chosen = slice(None, None, -(-len(n) // MOST_ROWS))
    fitted = len(n[chosen])

    def loss(logs: Floats) -> float:
        return -float(_log_density(logs, n[chosen], mean[chosen]).mean())

    hill = lowest(loss, np.log([2.0, 3.0, 1.0]), 1e-9)
    top = lowest(loss, hill.x, 1e-15)
    # Where a customer's amounts are all alike (one price, say) it rises along p for ever; so far
    # out they vary by a quarter of a percent, which is that limit for all that is told of it.
    limit = (np.abs(top.x) >= BOUND) & (top.jac * top.x < 0)
    refuse_slope(np.where(limit, 0.0, top.jac), f"spend of {len(n):,} repeat buyers")
    p, q, v = (float(value) for value in np.exp(top.x))
    return SpendModel(
        parameters=(p, q, v * usual),
        log_likelihood=float((_log_density(top.x, n, mean) - np.log(usual)).sum()),
        customers=len(n),
        covariance=covariance(lambda logs: loss(logs) * fitted, top.x),
    )


def _log_density(logs: Floats, n: Floats, mean: Floats) -> Floats:
    """Return the log density of the mean of n purchases, shape (n_customers,)."""
    p, q, v = np.exp(logs)
    return (
        gammaln(p * n + q)
        - gammaln(p * n)
        - gammaln(q)
        + q * np.log(v)
        + (p * n - 1) * np.log(mean)
        + p * n * np.log(n)
        - (p * n + q) * np.log(v + mean * n)
    )

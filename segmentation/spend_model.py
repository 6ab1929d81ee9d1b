"""What does a purchase of hers bring? The Gamma-Gamma model of mean spend per purchase.

A customer's purchases vary around a mean of her own; few purchases are drawn towards the
population's mean, many speak for themselves. It assumes that spend does not depend on how often
she buys.

Source: Fader, Hardie and Lee 2005, "RFM and CLV"; Fader and Hardie 2013, "The Gamma-Gamma Model".
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.special import gammaln

from foundation.errors import TooLittleData
from segmentation.purchase_models import NotConverged

Floats = np.ndarray
FEWEST_REPEAT_BUYERS = 10


@dataclass(frozen=True)
class SpendModel:
    """A fitted model: parameters (p, q, v), v in the unit of the amounts."""

    parameters: tuple[float, float, float]
    log_likelihood: float
    customers: int

    def expected_spend(self, x: Floats, spend: Floats) -> Floats:
        """Return the expected mean spend per purchase, shape (n,).

        Args:
            x: Repeat purchases.
            spend: Mean spend of a repeat purchase; unread where x is 0.

        A customer without a repeat purchase gets the population's mean, which is unknown (NaN)
        where q is at most 1.
        """
        p, q, v = self.parameters
        told = np.where(x > 0, spend, 0.0) * x
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = p * (v + told) / (p * x + q - 1)
        return np.where(p * x + q > 1, mean, np.nan)


def fit_spend(x: Floats, spend: Floats) -> SpendModel:
    """Fit by maximum likelihood on customers with a repeat purchase of positive mean spend.

    Args:
        x: Repeat purchases, shape (n,).
        spend: Mean spend of a repeat purchase, shape (n,).

    Raises:
        TooLittleData: Fewer than 10 such customers.
        NotConverged: The likelihood has no maximum inside its bounds.
    """
    used = (x > 0) & (spend > 0)
    n, mean = x[used], spend[used]
    if len(n) < FEWEST_REPEAT_BUYERS:
        raise TooLittleData(
            f"spend of {len(n)} repeat buyers: at least {FEWEST_REPEAT_BUYERS} are needed; "
            "load a longer history"
        )
    usual = float(mean.mean())

    def loss(logs: Floats) -> float:
        p, q, v = np.exp(logs)
        value = (
            gammaln(p * n + q)
            - gammaln(p * n)
            - gammaln(q)
            + q * np.log(v)
            + (p * n - 1) * np.log(mean)
            + p * n * np.log(n)
            - (p * n + q) * np.log(v + mean * n)
        )
        return float(-value.mean())

    start = np.log([2.0, 3.0, usual])
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(-14.0, 14.0)] * 3)
    top = optimize.minimize(
        loss,
        found.x,
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-13, "maxiter": 6000},
    )
    if not np.isfinite(top.fun) or np.any(np.abs(top.x) >= 13.9):
        raise NotConverged(
            f"the spend of {len(n):,} repeat buyers has no maximum inside its bounds; "
            "load a longer history"
        )
    p, q, v = (float(value) for value in np.exp(top.x))
    return SpendModel((p, q, v), float(-top.fun * len(n)), len(n))

"""Bayesian reading of two proportions: the chance to win, and what a wrong choice would cost.

The same data as the test's, under a flat prior, in words a board asks for. It is no second way to
decide: it holds for one look at the end, and says nothing of an experiment read every day. So a
report of a plan does not show it; an analysis of a file, which is one look, does.
"""

import math

import msgspec
import numpy as np
from scipy import stats

from foundation.errors import TooLittleData


class Posterior(msgspec.Struct, frozen=True):
    """What is believed of the relative lift after the data.

    `risk_keeping` is the lift expected to be lost by keeping the control, `risk_shipping` by
    shipping the treatment: the mean of what one would be wrong by, 0 where one is right.
    """

    lift: float
    low: float
    high: float
    chance_to_win: float
    risk_keeping: float
    risk_shipping: float


def relative_lift(
    responders: int, n: int, control_responders: int, control_n: int, confidence: float = 0.95
) -> Posterior:
    """Return the normal posterior of the relative lift of a proportion, flat prior.

    Raises:
        TooLittleData: Nobody responded in the control, or all or none did in both variants.

    Source: delta method for the spread; expected losses in closed form, Stucchio 2015.
    """
    if not control_responders:
        raise TooLittleData("nobody in the control responded, a lift has no base; wait for more")
    rate, base = responders / n, control_responders / control_n
    lift = rate / base - 1
    variance = rate * (1 - rate) / n / base**2
    variance += base * (1 - base) / control_n * rate**2 / base**4
    if variance == 0:
        raise TooLittleData("everybody responded alike, so nothing is known of the spread")
    spread = math.sqrt(variance)
    z = lift / spread
    gain = spread * float(stats.norm.pdf(z)) + lift * float(stats.norm.cdf(z))
    reach = float(stats.norm.isf((1 - confidence) / 2)) * spread
    return Posterior(
        lift=lift,
        low=lift - reach,
        high=lift + reach,
        chance_to_win=float(stats.norm.cdf(z)),
        risk_keeping=gain,
        risk_shipping=gain - lift,
    )


def chance_to_win(responders: int, n: int, control_responders: int, control_n: int) -> float:
    """Return the exact chance that the treatment's rate is the higher one, under flat priors.

    Source: beta posteriors of two independent binomials; their integral over the treatment's
    quantiles by Gauss-Legendre quadrature.
    """
    points, weights = np.polynomial.legendre.leggauss(200)
    own = stats.beta(responders + 1, n - responders + 1)
    other = stats.beta(control_responders + 1, control_n - control_responders + 1)
    return float(other.cdf(own.ppf((points + 1) / 2)) @ weights / 2)

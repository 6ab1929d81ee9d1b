"""Shrinkage: what do the luckiest of many comparisons bring, without their luck?

All true effects are taken to come from one normal, of which nothing is known beforehand: neither
its middle nor its spread. Who was chosen for a high estimate is drawn back towards the middle, the
further the less effects here differ beyond their errors. What is not known of middle and spread is
common to all, so that a sum is less sure than its parts, taken for independent, would make it.
"""

from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from foundation.errors import TooLittleData

# With fewer comparisons a spread that may be anything leaves nothing to integrate (Gelman 2006).
LEAST_COMPARISONS = 3
_SPREADS = 400


def shrunken_sum(
    effects: Sequence[float],
    errors: Sequence[float],
    weights: Sequence[float],
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Return the mean of a weighted sum of the true effects, and its interval.

    Args:
        effects, errors: Estimates and their standard errors, n each.
        weights: Of the true effects in the sum, n; 0 for those that only teach the normal.
        confidence: Of the interval.

    Raises:
        TooLittleData: There are fewer than LEAST_COMPARISONS.

    Source: the hierarchical normal model, Gelman et al., Bayesian Data Analysis, 5.4, with flat
    priors of middle and spread (Gelman 2006); the spread by quadrature.
    """
    seen, error, weight = (
        np.asarray(each, dtype=np.float64) for each in (effects, errors, weights)
    )
    if len(seen) < LEAST_COMPARISONS:
        raise TooLittleData(
            f"{len(seen)} comparison(s) do not show how effects usually lie, "
            f"{LEAST_COMPARISONS} do; wait for more to end"
        )
    # Spreads from 0 to infinity, dense around the size of the errors.
    place = (np.arange(_SPREADS) + 0.5) / _SPREADS
    spread = (float(np.median(error)) * place / (1 - place))[:, None]
    precision = 1 / (error**2 + spread**2)
    of_middle = 1 / precision.sum(axis=1)
    middle = of_middle * (precision @ seen)
    away = (precision * (seen - middle[:, None]) ** 2).sum(axis=1)
    log_density = 0.5 * (np.log(of_middle) + np.log(precision).sum(axis=1) - away)
    likely = np.exp(log_density - log_density.max()) / (1 - place) ** 2
    likely /= likely.sum()
    kept = spread**2 * precision
    means = (kept * seen + (1 - kept) * middle[:, None]) @ weight
    own = (kept * error**2) @ weight**2
    deviations = np.sqrt(own + ((1 - kept) @ weight) ** 2 * of_middle)

    def quantile(chance: float) -> float:
        ends = stats.norm.ppf(chance, means, deviations)
        low, high = float(ends.min()), float(ends.max())
        return float(
            optimize.root_scalar(
                lambda at: float(likely @ stats.norm.cdf(at, means, deviations)) - chance,
                bracket=(low - 1e-9 * abs(low), high + 1e-9 * abs(high)),
            ).root
        )

    tail = (1 - confidence) / 2
    return float(likely @ means), quantile(tail), quantile(1 - tail)

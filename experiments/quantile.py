"""The difference of two quantiles: what changed for the middle, or for the best, customers?

A quantile is where it is by the values around it, so its error comes from order statistics on both
sides of it. Where many customers have the very same value there (price points), a quantile jumps
from one to the next and no interval is right: the comparison is refused.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from scipy import stats

from experiments.effect import Effect
from experiments.randomisation import placed, seed_of
from experiments.welch import Moments, relative_within

# Units in the smaller variant from which the normal tails are right to .3 %; below, chance deals.
MANY_UNITS = 10_000
# The same for those beyond the quantile: with 100 of them and 19 times as many in the other variant
# one tail of lognormal spend holds 3.1 %, not 2.5.
MANY_BEYOND = 1_000
# Each 2.5 % tail then holds 50 deals.
DEALS = 1_999
# With more units than this, fewer deals: as exact, only p is coarser.
_UNITS_DEALT_OFTEN = 200_000
_FEWER_DEALS = 399
# The most customers that may share a value, of those the quantile could be at.
MOST_TIED = 0.1
# Order statistics this many standard deviations of a rank from the quantile's.
_REACH = float(stats.norm.isf(0.025))


@dataclass(frozen=True, slots=True)
class Ranks:
    """The order statistics a variant of n units needs: places in [0, n - 1], perhaps between two.

    They are what an engine is asked for beside the count; `values` reads them from sorted values.
    `outside` says that one of them would lie beyond the lowest or highest value, and was held back:
    the distance to it is then no measure of the quantile's error.
    """

    n: int
    at: float
    low: float
    high: float
    outside: bool

    def values(self, ordered: np.ndarray) -> tuple[float, float, float]:
        """Return the quantile and the values at both sides, from sorted values, shape (n,)."""
        places = np.arange(self.n)
        at, low, high = (
            float(np.interp(place, places, ordered)) for place in (self.at, self.low, self.high)
        )
        return at, low, high


def ranks(n: int, level: float) -> Ranks:
    """Return the places of a quantile and of its neighbours in n sorted values.

    Source: McKean and Schrader 1984; Price and Bonett 2002. The quantile is Weibull's (type 6 of
    Hyndman and Fan 1996), whose rank is right on average.
    """
    at = level * (n + 1) - 1
    reach = _REACH * math.sqrt(n * level * (1 - level))
    outside = at - reach < 0 or at + reach > n - 1
    low, middle, high = (min(max(place, 0.0), n - 1.0) for place in (at - reach, at, at + reach))
    return Ranks(n, middle, low, high, outside)


def quantile_variance(low: float, high: float) -> float:
    """Return the variance of a quantile from the values at both sides of it."""
    return ((high - low) / (2 * _REACH)) ** 2


def compare_quantiles(
    treatment: np.ndarray,
    control: np.ndarray,
    level: float,
    confidence: float = 0.95,
    deals: int = DEALS,
) -> Effect:
    """Compare a quantile of two variants.

    Args:
        treatment, control: One value a unit, shapes (n,) and (m,).
        level: Of the quantile, in (0, 1).
        confidence: Of the interval.
        deals: How many, where chance deals.

    Source: order statistics as in `ranks`; below MANY_UNITS, or MANY_BEYOND the quantile, the
    randomisation distribution of the studentised difference (randomisation.py). Where an order
    statistic would lie outside the values there is no error to go by, and the answer is a refusal.
    """
    up, down = np.sort(treatment), np.sort(control)
    of_up, of_down = ranks(len(up), level), ranks(len(down), level)
    (a, a_low, a_high), (b, b_low, b_high) = of_up.values(up), of_down.values(down)
    pooled = np.sort(np.concatenate([up, down]))
    smaller = min(len(up), len(down))
    refused = _too_far_out(smaller, level) if of_up.outside or of_down.outside else None
    refused = refused or _tied(pooled, smaller, level)
    if refused:
        return Effect(mean=a, control_mean=b, refused=refused, method="order statistics")
    variances = quantile_variance(a_low, a_high), quantile_variance(b_low, b_high)
    error = math.sqrt(sum(variances))
    method = "order statistics"
    upper = float(stats.norm.isf((1 - confidence) / 2))
    lower = -upper
    if smaller < MANY_UNITS or _beyond(smaller, level) < MANY_BEYOND:
        often = min(deals, DEALS if len(pooled) <= _UNITS_DEALT_OFTEN else _FEWER_DEALS)
        chance = _dealt(pooled, len(up), level, often)
        seen = placed(_studentised(a - b, error), chance, confidence)
        if not seen.holds(confidence):
            return Effect(
                mean=a,
                control_mean=b,
                refused=f"{smaller:,} units in the smaller variant have too few "
                f"different values around the quantile {level:g}; wait for more",
                method="randomisation",
            )
        lower, upper, p, method = seen.lower, seen.upper, seen.p, "randomisation"
    else:
        p = float(2 * stats.norm.sf(abs(a - b) / error))
    moments = [
        Moments(n, value, variance * n)
        for n, value, variance in ((len(up), a, variances[0]), (len(down), b, variances[1]))
    ]
    low, high = a - b - upper * error, a - b - lower * error
    share = relative_within(moments[0], moments[1], low, high)
    return Effect(
        mean=a,
        control_mean=b,
        difference=a - b,
        low=low,
        high=high,
        p=p,
        relative=share.estimate,
        relative_low=share.low,
        relative_high=share.high,
        method=method,
        standard_error=error,
    )


def _beyond(smaller: int, level: float) -> float:
    """Return the units expected on the quantile's thinner side in the smaller variant."""
    return smaller * min(level, 1 - level)


def _too_far_out(smaller: int, level: float) -> str:
    needed = math.ceil((_REACH + 1) ** 2 / min(level, 1 - level))
    return (
        f"{smaller:,} units in the smaller variant leave {_beyond(smaller, level):.3g} beyond the "
        f"quantile {level:g}, which says nothing of its error; wait for some {needed:,}, or take a "
        "quantile further in"
    )


def _tied(pooled: np.ndarray, smaller: int, level: float) -> str | None:
    """Say why the quantile is tied, from both variants together."""
    places = ranks(smaller, level)
    scale = (len(pooled) - 1) / max(smaller - 1, 1)
    near = pooled[math.floor(places.low * scale) : math.ceil(places.high * scale) + 1]
    _, counts = np.unique(near, return_counts=True)
    most = int(counts.argmax())
    value, share = float(np.unique(near)[most]), float(counts[most] / len(near))
    if share <= max(MOST_TIED, 1.5 / len(near)):
        return None
    return (
        f"{share:.0%} of the units around the quantile {level:g} have the value {value:g}, a "
        "quantile cannot be told apart there; compare the share above it, or the mean"
    )


def _studentised(difference: float, error: float) -> float:
    if difference == 0:
        return 0.0
    return difference / error if error > 0 else math.copysign(math.inf, difference)


def _dealt(pooled: np.ndarray, n: int, level: float, deals: int) -> np.ndarray:
    """Return the studentised difference of each deal of sorted values to variants."""
    seed = seed_of(pooled)
    if level > 0.5:
        # The same from the other end, which is nearer.
        return -_deal(-pooled[::-1], n, _places(pooled, n, 1 - level), 2 * _REACH, seed, deals)
    return _deal(pooled, n, _places(pooled, n, level), 2 * _REACH, seed, deals)


def _places(pooled: np.ndarray, n: int, level: float) -> np.ndarray:
    both = ranks(n, level), ranks(len(pooled) - n, level)
    return np.array([[one.low, one.at, one.high] for one in both], dtype=np.float64)


@numba.njit(cache=True)
def _deal(
    pooled: np.ndarray, n: int, places: np.ndarray, width: float, seed: int, deals: int
) -> np.ndarray:  # pragma: no cover
    """Deal sorted values to two variants; read three order statistics of each as they come.

    Source: selection sampling, algorithm S of Knuth, The Art of Computer Programming 3.4.2.
    """
    np.random.seed(seed)
    total = len(pooled)
    answer = np.empty(deals)
    found = np.empty((2, 3))
    last = np.empty(2)
    seen = np.empty(2, dtype=np.int64)
    wanted = np.empty(2, dtype=np.int64)
    for deal in range(deals):
        seen[:] = 0
        wanted[:] = 0
        for index in range(total):
            arm = 0 if np.random.random() * (total - index) < n - seen[0] else 1
            value = pooled[index]
            while wanted[arm] < 3 and places[arm, wanted[arm]] <= seen[arm]:
                # Between two places a value is read as np.interp would.
                share = places[arm, wanted[arm]] - (seen[arm] - 1)
                if share >= 1.0:
                    found[arm, wanted[arm]] = value
                else:
                    found[arm, wanted[arm]] = last[arm] + share * (value - last[arm])
                wanted[arm] += 1
            last[arm] = value
            seen[arm] += 1
            if wanted[0] == 3 and wanted[1] == 3:
                break
        difference = found[0, 1] - found[1, 1]
        variance = 0.0
        for arm in range(2):
            variance += ((found[arm, 2] - found[arm, 0]) / width) ** 2
        if difference == 0.0:
            answer[deal] = 0.0
        elif variance == 0.0:
            answer[deal] = np.inf if difference > 0 else -np.inf
        else:
            answer[deal] = difference / np.sqrt(variance)
    return answer

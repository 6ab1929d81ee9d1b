"""Lifecycle: is a customer keeping to her own rhythm, or has she fallen silent?

The same three silent weeks mean nothing for someone who comes monthly and much for someone who came
daily. So her silence is judged against her own gaps: `silence_chance` says how often a gap of hers
would last at least this long if nothing had changed, and the state follows from that figure.

Derivation. Her gaps between visit days are gamma distributed with mean 1/rate and shape k. The
shape is one over the squared variation (spread / mean) of her gaps: 1 for purchases at random
(Poisson, exponential gaps), above 1 for a steady rhythm, below 1 for bursts. Rates differ between
customers by a gamma(a, b) distribution, as in Ehrenberg's NBD model of repeat buying (1959). With
n gaps of total length S her rate is then gamma(a + nk, b + kS), and her next gap exceeds t with
chance

    I_x(a + nk, k),   x = (b + kS) / (b + kS + kt)

(I: the regularised incomplete beta function; for k = 1 the Lomax tail (1 + t/(b + S))^-(a + n)).
One visit or a hundred need no separate treatment: who has few gaps is lent the population's rhythm,
with all its uncertainty, and each gap of her own counts for more than it. a and b are those that
make the gaps of everybody here most likely; the silences are left out, being what is judged.

The silence t is measured in average days where a year before is known (see season.py). Gaps are
not: a year of them holds every week once, so they average to average days. Their spread then holds
the season too, which errs on the side of patience.

Who came back from a silence that was dormant or lost, judged by what was known when she came, is
reactivated until she has come often enough or long enough to be called active again. That needs no
earlier run.

Limits. At any moment a share of about q of the customers who shop at random and have not changed
lies below q; steady ones less often, those who come in bursts more often. A customer's own season
is not known: a shopper who comes every summer looks lost in spring.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betainc, betaln, gammaln

from segmentation.season import EVEN, Season

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Silence:
    """A silence worth a name: rarer than `chance` in her rhythm, and at least `days` long."""

    chance: float
    days: int

    @property
    def sentence(self) -> str:
        return (
            f"{self.days} days or more, and longer than all but 1 in {round(1 / self.chance)} "
            "of the usual gaps"
        )


# The chances stand for 3.0, 5.3 and 7.6 times the usual gap of a well-known random shopper. The
# days are for daily ones, whose gaps tell nothing of a holiday or an illness: without them, some
# customers of Complete Journey were lost after eight days.
SLOWING = Silence(1 / 20, 7)
DORMANT = Silence(1 / 200, 21)
LOST = Silence(1 / 2000, 42)

# The features look back a year: nobody has a rhythm in a window without a visit.
WINDOW_DAYS = 365

# Three visits make two gaps: too few to call anybody a regular.
NEW_VISITS = 3
NEW_DAYS = 90

# What the states are made of, as foundation.features names it.
RHYTHM_FEATURES = (
    "recency_days",
    "tenure_days",
    "visit_days_365d",
    "gap_mean_365d",
    "gap_spread_365d",
)

STATES: dict[str, str] = {
    "new": f"First bought within the last {NEW_DAYS} days and came on at most {NEW_VISITS} days, "
    "still in rhythm.",
    "active": f"Keeps to the usual rhythm, or was here within {SLOWING.days} days.",
    "reactivated": f"Came back from being dormant or lost within the last {NEW_DAYS} days, and "
    f"came on at most {NEW_VISITS} days since.",
    "slowing": f"Silent for {SLOWING.sentence}.",
    "dormant": f"Silent for {DORMANT.sentence}.",
    "lost": f"Silent for {LOST.sentence}; or for a year.",
    "no purchase": "Has never bought.",
}


@dataclass(frozen=True)
class Rhythm:
    """How gaps vary among customers: what a customer with few gaps is lent.

    Rates are gamma(`shape`, `scale`): an average of shape / scale visit days a day. `variation` is
    the squared spread / mean of gaps.
    """

    shape: float
    scale: float
    variation: float


# Random purchases at about one a month, so vaguely that half wait longer than 30 days for the next
# and one in ten longer than 270. It stands in where there is nobody to learn from.
UNKNOWN_RHYTHM = Rhythm(shape=1.0, scale=30.0, variation=1.0)
CUSTOMERS_TO_LEARN_FROM = 30

# A customer's own variation counts half after this many gaps: below, a spread is mostly chance.
VARIATION_PRIOR_GAPS = 10
# Gaps are whole days, so a daily shopper shows no spread at all; shape stays below 20.
LEAST_VARIATION = 0.05


@dataclass(frozen=True)
class _Gaps:
    """Number, total and squared variation of each customer's gaps; variation null below two."""

    number: Floats
    total: Floats
    variation: Floats


def lifecycle_states(
    profile: pd.DataFrame, season: Season = EVEN, returns: pd.DataFrame | None = None
) -> pd.Series:
    """Name where every customer stands; a key of STATES each.

    Args:
        profile: One row a customer: recency_days (null: never bought), tenure_days,
            visit_days_365d, gap_mean_365d (null: no gap), gap_spread_365d (null: below two gaps).
        season: What the days of her silence are worth.
        returns: The same columns as they were when a customer last came back from a long gap, and
            returned_days, how long ago that was; indexed as the profile, who did not is not there.

    Returns:
        States, same index.
    """
    population = learn_rhythm(profile)
    states = _silence_states(profile, population, season, 0.0)
    keeping = states == "active"
    newcomer = (_floats(profile, "tenure_days") <= NEW_DAYS) & (
        _floats(profile, "visit_days_365d") <= NEW_VISITS
    )
    states[keeping & newcomer] = "new"
    if returns is not None:
        then = _silence_states(returns, population, season, _floats(returns, "returned_days"))
        back = states.index.isin(returns.index[then.isin(["dormant", "lost"])])
        states[keeping & back] = "reactivated"
    return states


def silence_chance(profile: pd.DataFrame, season: Season = EVEN) -> pd.Series:
    """Return the chance that a gap of hers lasts at least as long as the present silence.

    Args:
        profile, season: As in lifecycle_states.

    Returns:
        Chances in [0, 1], same index; null for customers who never bought.
    """
    chance = _chance(profile, learn_rhythm(profile), season, 0.0)
    return pd.Series(chance, index=profile.index, name="silence_chance")


def _silence_states(
    profile: pd.DataFrame, population: Rhythm, season: Season, end: Floats | float
) -> pd.Series:
    """Judge silences that ended `end` days ago, by profiles as of then."""
    recency = _floats(profile, "recency_days")
    chance = _chance(profile, population, season, end)

    def is_silent(silence: Silence) -> npt.NDArray[np.bool_]:
        return (chance < silence.chance) & (recency >= silence.days)

    states = np.select(
        [
            np.isnan(recency),
            is_silent(LOST) | (recency >= WINDOW_DAYS),
            is_silent(DORMANT),
            is_silent(SLOWING),
        ],
        ["no purchase", "lost", "dormant", "slowing"],
        default="active",
    )
    return pd.Series(states, index=profile.index, dtype=object, name="lifecycle")


def longer_silence_chance(profile: pd.DataFrame, days: int) -> pd.Series:
    """Return the chance that the present silence lasts `days` more, if nothing has changed.

    Args:
        profile: As in lifecycle_states.

    Returns:
        Chances in [0, 1], same index; null for customers who never bought.
    """
    population = learn_rhythm(profile)
    silence = _floats(profile, "recency_days")
    longer = _log_tail(profile, population, silence + days)
    chance = np.exp(longer - _log_tail(profile, population, silence))
    return pd.Series(chance, index=profile.index, name="longer_silence_chance")


def _chance(
    profile: pd.DataFrame, population: Rhythm, season: Season, end: Floats | float
) -> Floats:
    recency = _floats(profile, "recency_days")
    silence = season.elapsed(recency + end, np.zeros_like(recency) + end)
    return np.exp(_log_tail(profile, population, silence))


def _log_tail(profile: pd.DataFrame, population: Rhythm, silence: Floats) -> Floats:
    """Return the log of the chance that a gap of hers lasts at least so many days."""
    gaps = _gaps(profile)
    regularity = 1 / _shrunk_variation(gaps, population.variation)
    own = population.shape + gaps.number * regularity
    known = population.scale + regularity * gaps.total
    share = known / (known + regularity * silence)
    chance = betainc(own, regularity, share)
    # Where the integral underflows, its leading term: x**a (1 - x)**(b - 1) / (a B(a, b)).
    leading = (
        own * np.log(share)
        + (regularity - 1) * np.log1p(-np.minimum(share, 1 - 1e-16))
        - np.log(own)
        - betaln(own, regularity)
    )
    return np.where(chance > 1e-250, np.log(np.maximum(chance, 1e-300)), np.minimum(leading, 0.0))


def learn_rhythm(profile: pd.DataFrame) -> Rhythm:
    """Learn from everybody's gaps how rhythms differ, by maximum likelihood.

    Args:
        profile: As in lifecycle_states.

    Returns:
        UNKNOWN_RHYTHM where fewer than CUSTOMERS_TO_LEARN_FROM have a gap.
    """
    gaps = _gaps(profile)
    has = gaps.number > 0
    if has.sum() < CUSTOMERS_TO_LEARN_FROM:
        return UNKNOWN_RHYTHM
    # Sorted, since a floating sum in another order is another sum: the order of rows must not
    # decide who is slowing.
    order = np.lexsort((gaps.variation[has], gaps.total[has], gaps.number[has]))
    gaps = _Gaps(*(v[has][order] for v in (gaps.number, gaps.total, gaps.variation)))
    variation = _pooled_variation(gaps)
    regularity = 1 / _shrunk_variation(gaps, variation)
    events = gaps.number * regularity
    time = gaps.total * regularity

    def surprise(logs: Floats) -> float:
        a, b = np.exp(logs)
        likelihood = (
            gammaln(a + events) - gammaln(a) + a * np.log(b) - (a + events) * np.log(b + time)
        )
        return -float(likelihood.mean())

    usual = float(np.median(gaps.total / gaps.number))
    # Bounds: when all keep one rhythm the best shape is infinite.
    best = minimize(
        surprise,
        np.log([1.0, usual]),
        method="L-BFGS-B",
        bounds=[(np.log(0.1), np.log(100.0)), (np.log(usual / 1e3), np.log(usual * 1e3))],
    )
    a, b = np.exp(best.x)
    return Rhythm(shape=float(a), scale=float(b), variation=variation)


def _gaps(profile: pd.DataFrame) -> _Gaps:
    mean = _floats(profile, "gap_mean_365d")
    # The first visit of all has no gap before it; when it is older than the window, each visit
    # in the window has one.
    first_inside = _floats(profile, "tenure_days") < WINDOW_DAYS
    number = _floats(profile, "visit_days_365d") - first_inside
    number = np.where(np.isnan(mean), 0.0, np.maximum(number, 1.0))
    variation = (_floats(profile, "gap_spread_365d") / mean) ** 2
    return _Gaps(number, number * np.nan_to_num(mean), np.where(number < 2, np.nan, variation))


def _pooled_variation(gaps: _Gaps) -> float:
    known = ~np.isnan(gaps.variation)
    if not known.any():
        return UNKNOWN_RHYTHM.variation
    return float(np.average(gaps.variation[known], weights=gaps.number[known] - 1))


def _shrunk_variation(gaps: _Gaps, usual: float) -> Floats:
    known = ~np.isnan(gaps.variation)
    weight = np.where(known, gaps.number - 1, 0.0)
    own = np.where(known, gaps.variation, 0.0)
    shrunk = (VARIATION_PRIOR_GAPS * usual + weight * own) / (VARIATION_PRIOR_GAPS + weight)
    return np.maximum(shrunk, LEAST_VARIATION)


def _floats(profile: pd.DataFrame, name: str) -> Floats:
    return profile[name].to_numpy(np.float64, na_value=np.nan)

"""Power: how many customers, how long, and how small an effect could be seen?

Everything follows from the standard error the experiment will have, and that from the lake's own
history: mean, variance, correlation with what was before, how alike customers of a cluster are,
traffic a day. Effects are relative to the control's mean, as people speak of them.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import optimize, stats

from experiments.confidence_sequence import critical_value
from experiments.group_sequential import Spending, boundaries, detection
from foundation.errors import RegularsError

# A relative effect of a million per cent, and as many customers as nobody has: no root beyond.
_MOST_EFFECT = 1e4
_MOST_UNITS = 1e15


class InvalidPower(RegularsError):
    """A question about power that has no answer."""


class History(msgspec.Struct, frozen=True):
    """What is known of a metric before the experiment, per unit of assignment.

    Attributes:
        mean: Of the metric; for a ratio, the ratio.
        variance: Of one unit's value; for a ratio, of one unit's linearised part.
        correlation: With the covariate of CUPED, 0 without one.
    """

    mean: float
    variance: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not (self.mean > 0 and math.isfinite(self.mean)):
            raise InvalidPower(
                f"the history's mean is {self.mean}, a relative effect needs one above 0; "
                "plan with a metric that is positive on average"
            )
        if not (self.variance > 0 and math.isfinite(self.variance)):
            raise InvalidPower(
                f"the history's variance is {self.variance}, it must be above 0; take a longer "
                "history, in which values differ"
            )
        if not -1 < self.correlation < 1:
            raise InvalidPower(
                f"correlation {self.correlation} must lie between -1 and 1; it is that of the "
                "metric with itself before the experiment"
            )


class Split(msgspec.Struct, frozen=True):
    """The shares of the experiment's units that a treatment and the control get."""

    treatment: float = 0.5
    control: float = 0.5

    def __post_init__(self) -> None:
        if not (
            self.treatment > 0 and self.control > 0 and self.treatment + self.control < 1 + 1e-9
        ):
            raise InvalidPower(
                f"shares {self.treatment} and {self.control} must be above 0 and at most 1 together"
            )


class Fixed(msgspec.Struct, frozen=True, tag="fixed"):
    """One look, at the end."""

    alpha: float = 0.05


class AlwaysValid(msgspec.Struct, frozen=True, tag="always valid"):
    """Looks at any time, under a confidence sequence tuned at planned_n units of both variants."""

    planned_n: float
    looks: int = 1
    alpha: float = 0.05


class GroupSequential(msgspec.Struct, frozen=True, tag="group sequential"):
    """Equally spaced looks with spent alpha."""

    looks: int
    spending: Spending = "obrien_fleming"
    alpha: float = 0.05


StopRule = Fixed | AlwaysValid | GroupSequential


def proportion_history(rate: float) -> History:
    """Return the history of a share of units.

    Raises:
        InvalidPower: The rate is not inside (0, 1).
    """
    return History(mean=rate, variance=rate * (1 - rate))


def ratio_history(
    numerator: float,
    denominator: float,
    numerator_variance: float,
    denominator_variance: float,
    covariance: float,
) -> History:
    """Return the history of a ratio of sums from the moments of its two columns.

    Source: delta method: variance of (y - R x) / mean of x.
    """
    if not denominator > 0:
        raise InvalidPower(f"the denominator's mean is {denominator}, it must be above 0")
    ratio = numerator / denominator
    spread = numerator_variance - 2 * ratio * covariance + ratio**2 * denominator_variance
    return History(mean=ratio, variance=spread / denominator**2)


def clustered_history(
    history: History, size: float, within: float, size_variation: float = 0.0
) -> History:
    """Return a customer's history where whole clusters are assigned.

    Args:
        history: Of a customer.
        size: Mean customers a cluster.
        within: Intraclass correlation, 0-1.
        size_variation: Standard deviation of the sizes over their mean.

    Source: design effect 1 + ((1 + cv**2) size - 1) within, Eldridge, Ashby and Kerry 2006.
    """
    if not (size >= 1 and 0 <= within <= 1 and size_variation >= 0):
        raise InvalidPower(
            f"clusters of {size} with correlation {within} and size variation {size_variation}: "
            "size is at least 1, the correlation within 0-1, the variation not negative"
        )
    inflation = 1 + ((1 + size_variation**2) * size - 1) * within
    return msgspec.structs.replace(history, variance=history.variance * inflation)


def standard_error(history: History, n: float, split: Split, effect: float) -> float:
    """Return the standard error of the relative effect, by the delta method.

    Args:
        history: Of the metric.
        n: Units in the whole experiment.
        split: Shares of the two variants compared.
        effect: True relative effect.
    """
    variance = history.variance * (1 - history.correlation**2)
    treatment, control = n * split.treatment, n * split.control
    return math.sqrt(variance * (1 / treatment + (1 + effect) ** 2 / control)) / history.mean


def power(
    history: History,
    n: float,
    effect: float,
    split: Split | None = None,
    rule: StopRule | None = None,
) -> float:
    """Return the chance to call an effect of this size by the end.

    Args:
        history: Of the metric.
        n: Units in the whole experiment.
        effect: True relative effect, above -1.
        split: Shares of the two variants compared; halves by default.
        rule: Fixed by default. An always-valid rule with one look is asked at the end only.

    Raises:
        InvalidPower: n or the effect is out of range.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(n, effect)
    drift = abs(effect) / standard_error(history, n, shares, effect)
    return _detects(stop, n * (shares.treatment + shares.control), drift)


def detectable_effect(
    history: History,
    n: float,
    wanted: float = 0.8,
    split: Split | None = None,
    rule: StopRule | None = None,
) -> float:
    """Return the smallest relative gain that is called with the wanted power.

    Raises:
        InvalidPower: No gain is: the control is too small for a relative effect of any size.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(n, 0.0)
    drift = _drift_for(stop, n * (shares.treatment + shares.control), wanted)

    def excess(effect: float) -> float:
        return effect / standard_error(history, n, shares, effect) - drift

    if excess(_MOST_EFFECT) < 0:
        raise InvalidPower(
            f"no relative effect has {wanted:.0%} power at {n:,.0f} units, the control's own mean "
            "is too uncertain; plan more units"
        )
    return float(optimize.root_scalar(excess, bracket=(0.0, _MOST_EFFECT), xtol=1e-12).root)


def sample_size(
    history: History,
    effect: float,
    wanted: float = 0.8,
    split: Split | None = None,
    rule: StopRule | None = None,
) -> int:
    """Return the units of the whole experiment that call this effect with the wanted power.

    An always-valid rule keeps the planned_n it has: set it to the answer, and ask again.

    Raises:
        InvalidPower: The effect is 0.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(1.0, effect)
    if effect == 0:
        raise InvalidPower("an effect of 0 is never called; plan for the smallest that matters")

    def lacking(log_n: float) -> float:
        return power(history, math.exp(log_n), effect, shares, stop) - wanted

    found = optimize.root_scalar(
        lacking, bracket=(math.log(2.0), math.log(_MOST_UNITS)), xtol=1e-10
    ).root
    return math.ceil(math.exp(found) - 1e-6)


def days(units: float, units_a_day: Sequence[float]) -> int:
    """Return the days until so many distinct units have come.

    Args:
        units: Wanted.
        units_a_day: New units on each day of a history; past its end the last week repeats.

    Raises:
        InvalidPower: Nobody came in the last week of the history.
    """
    come = np.cumsum(np.asarray(units_a_day, dtype=np.float64))
    if len(come) and come[-1] >= units:
        return int(np.searchsorted(come, units)) + 1
    week = np.asarray(units_a_day[-7:], dtype=np.float64)
    if not len(week) or not week.sum() > 0:
        raise InvalidPower(
            f"{come[-1] if len(come) else 0:,.0f} of {units:,.0f} units came, and nobody new in "
            "the last week; plan a larger audience or a larger effect"
        )
    left = units - (come[-1] if len(come) else 0.0)
    # A hair of slack: sums of many days are not exact.
    whole = max(math.ceil(left / week.sum() - 1e-9) - 1, 0)
    rest = left - whole * week.sum()
    more = int(np.searchsorted(np.cumsum(week), rest - 1e-9 * units)) + 1
    return len(come) + 7 * whole + more


def _detects(rule: StopRule, n: float, drift: float) -> float:
    if isinstance(rule, Fixed):
        # The far tail too: at no effect power is alpha.
        bound = float(stats.norm.isf(rule.alpha / 2))
        return float(stats.norm.sf(bound - drift) + stats.norm.sf(bound + drift))
    bounds, looks = _bounds(rule, n)
    return detection(looks, bounds.tolist(), drift)


def _bounds(rule: AlwaysValid | GroupSequential, n: float) -> tuple[np.ndarray, list[float]]:
    looks = [(look + 1) / rule.looks for look in range(rule.looks)]
    if isinstance(rule, GroupSequential):
        return boundaries(looks, rule.alpha, rule.spending), looks
    return critical_value(np.asarray(looks) * n, rule.planned_n, rule.alpha), looks


def _drift_for(rule: StopRule, n: float, wanted: float) -> float:
    """Return the z expected at the end that is called with the wanted power."""
    if not 0 < wanted < 1:
        raise InvalidPower(f"power {wanted} must lie between 0 and 1; write .8")

    def chance(drift: float) -> float:
        return _detects(rule, n, drift)

    if chance(0.0) >= wanted:
        return 0.0
    return float(
        optimize.root_scalar(
            lambda drift: chance(drift) - wanted, bracket=(0.0, 60.0), xtol=1e-9
        ).root
    )


def _check(n: float, effect: float) -> None:
    if not (n > 0 and math.isfinite(n)):
        raise InvalidPower(f"{n} units are planned, it must be a number above 0")
    if not (effect > -1 and math.isfinite(effect)):
        raise InvalidPower(f"relative effect {effect} must be above -1 (a loss of everything)")

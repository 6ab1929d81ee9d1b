"""Power: how many customers, how long, and how small an effect could be seen?

Everything follows from the standard error the experiment will have, and that from the lake's own
history: mean, variance, correlation with what was before, how alike customers of a cluster are,
traffic a day. Effects are relative to the control's mean, as people speak of them.
"""

import math
from typing import Literal

import msgspec
import numpy as np
from scipy import optimize, stats

from experiments.confidence_sequence import critical_value
from experiments.group_sequential import Spending, boundaries, detection
from experiments.metrics import Metric, Proportion, Quantile, Ratio
from foundation.errors import RegularsError

# A relative effect of a million per cent, and as many customers as nobody has: no root beyond.
_MOST_EFFECT = 1e4
_MOST_UNITS = 1e15
# One a variant: fewer are no experiment, however large the effect.
_FEWEST_ASKED = 2
_LEAST_UNITS = 3


class InvalidPower(RegularsError):
    """A question about power that has no answer."""


class History(msgspec.Struct, frozen=True):
    """What is known of a metric before the experiment, per unit of assignment.

    Attributes:
        mean: Of the metric; for a ratio, the ratio.
        variance: Of one unit's value; for a ratio, of one unit's linearised part.
        correlation: With the covariate of CUPED, 0 without one.
        share: Whether it is a share of units, whose variance an effect moves along.
    """

    mean: float
    variance: float
    correlation: float = 0.0
    share: bool = False

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

# What is held against its error: the effect over the control's mean, whose own error counts too, or
# the plain difference, as reports decide.
Judged = Literal["relative", "difference"]


def proportion_history(rate: float) -> History:
    """Return the history of a share of units.

    Raises:
        InvalidPower: The rate is not inside (0, 1).
    """
    return History(mean=rate, variance=rate * (1 - rate), share=True)


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


def history_of(metric: Metric, rows: np.ndarray) -> History:
    """Return the history of a metric from one row a unit, as `metrics.rows` returns them.

    Args:
        metric: A mean, a ratio or a proportion; what is `before` is the covariate of CUPED.
        rows: Shape (n, k).

    Raises:
        InvalidPower: It is a quantile, there are fewer than 3 units, or the history has no
            positive mean or no variance.
    """
    if isinstance(metric, Quantile):
        raise InvalidPower(
            f"the quantile of {metric.column.name!r} has no power by these formulae; plan with a "
            "mean, a ratio or a proportion"
        )
    if len(rows) < _LEAST_UNITS:
        raise InvalidPower(
            f"the history has {len(rows)} unit(s), a variance needs at least {_LEAST_UNITS}; take "
            "a longer history or a larger audience"
        )
    if isinstance(metric, Proportion):
        return proportion_history(float(rows[:, 0].mean()))
    width = 2 if isinstance(metric, Ratio) else 1
    mean, spread = rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))
    if isinstance(metric, Ratio):
        plain = ratio_history(
            float(mean[0]),
            float(mean[1]),
            float(spread[0, 0]),
            float(spread[1, 1]),
            float(spread[0, 1]),
        )
    else:
        plain = History(float(mean[0]), float(spread[0, 0]))
    correlation = _correlation(_linearised(rows[:, :width]), _linearised(rows[:, width:]))
    return msgspec.structs.replace(plain, correlation=correlation)


def intraclass_correlation(values: np.ndarray, cluster: np.ndarray) -> float:
    """Return how alike the members of a cluster are: 0 not at all, 1 the same; at least 0.

    Args:
        values: One a member, shape (n,).
        cluster: Whose member, shape (n,).

    Raises:
        InvalidPower: All members are in one cluster, or each is alone in hers.

    Source: the analysis-of-variance estimator, Donner and Koval 1980.
    """
    _, place, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    n, k = len(values), len(sizes)
    if not 1 < k < n:
        raise InvalidPower(
            f"{n} member(s) in {k} cluster(s) do not show how alike members are; some clusters "
            "need two members or more, and there must be two clusters"
        )
    means = np.bincount(place, weights=values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    within = float(((values - means[place]) ** 2).sum()) / (n - k)
    size = (n - float((sizes**2).sum()) / n) / (k - 1)
    whole = between + (size - 1) * within
    return max((between - within) / whole, 0.0) if whole > 0 else 0.0


def standard_error(
    history: History, n: float, split: Split, effect: float, judged: Judged = "relative"
) -> float:
    """Return the standard error of the effect over the control's mean, by the delta method.

    Args:
        history: Of the metric.
        n: Units in the whole experiment.
        split: Shares of the two variants compared.
        effect: True relative effect.
        judged: Whether the control's mean is uncertain itself, as for a relative effect.

    Raises:
        InvalidPower: The effect on a share makes it more than 1.
    """
    left = 1 - history.correlation**2
    treated = history.variance * left
    if history.share:
        rate = history.mean * (1 + effect)
        if rate > 1 + 1e-9:
            raise InvalidPower(
                f"an effect of {effect:+.0%} on a share of {history.mean:.1%} makes more than all; "
                "plan a smaller one"
            )
        treated = max(rate * (1 - rate), 0.0)
    also = (1 + effect) ** 2 if judged == "relative" else 1.0
    treatment, control = n * split.treatment, n * split.control
    variance = treated / treatment + also * history.variance * left / control
    return math.sqrt(variance) / history.mean


def power(
    history: History,
    n: float,
    effect: float,
    split: Split | None = None,
    rule: StopRule | None = None,
    judged: Judged = "relative",
) -> float:
    """Return the chance to call an effect of this size by the end.

    Args:
        history: Of the metric.
        n: Units in the whole experiment.
        effect: True relative effect, above -1.
        split: Shares of the two variants compared; halves by default.
        rule: Fixed by default. An always-valid rule with one look is asked at the end only.
        judged: The relative effect by default.

    Raises:
        InvalidPower: n or the effect is out of range.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(n, effect)
    drift = abs(effect) / standard_error(history, n, shares, effect, judged)
    return _detects(stop, n * (shares.treatment + shares.control), drift)


def detectable_effect(
    history: History,
    n: float,
    wanted: float = 0.8,
    split: Split | None = None,
    rule: StopRule | None = None,
    judged: Judged = "relative",
) -> float:
    """Return the smallest relative gain that is called with the wanted power.

    Raises:
        InvalidPower: No gain is: the control is too small for a relative effect of any size.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(n, 0.0)
    drift = _drift_for(stop, n * (shares.treatment + shares.control), wanted)

    def excess(effect: float) -> float:
        return effect / standard_error(history, n, shares, effect, judged) - drift

    # Nobody can do it more often than always.
    most = 1 / history.mean - 1 if history.share else _MOST_EFFECT
    if excess(most) < 0:
        raise InvalidPower(
            f"no relative effect has {wanted:.0%} power at {n:,.0f} units, the control's own mean "
            "is too uncertain; plan more units"
        )
    return float(optimize.root_scalar(excess, bracket=(0.0, most), xtol=1e-12).root)


def sample_size(
    history: History,
    effect: float,
    wanted: float = 0.8,
    split: Split | None = None,
    rule: StopRule | None = None,
    judged: Judged = "relative",
) -> int:
    """Return the units of the whole experiment that call this effect with the wanted power.

    An always-valid rule keeps the planned_n it has: set it to the answer, and ask again.

    Raises:
        InvalidPower: The effect is 0, or so small that no number of units calls it.
    """
    shares, stop = split or Split(), rule or Fixed()
    _check(1.0, effect)
    if effect == 0:
        raise InvalidPower("an effect of 0 is never called; plan for the smallest that matters")

    def lacking(log_n: float) -> float:
        return power(history, math.exp(log_n), effect, shares, stop, judged) - wanted

    fewest, most = math.log(_FEWEST_ASKED), math.log(_MOST_UNITS)
    if lacking(fewest) >= 0:
        return _FEWEST_ASKED
    if lacking(most) < 0:
        raise InvalidPower(
            f"a relative effect of {effect:g} is not called with {wanted:.0%} power by any number "
            "of units; plan for a larger one"
        )
    found = optimize.root_scalar(lacking, bracket=(fewest, most), xtol=1e-10).root
    return math.ceil(math.exp(found) - 1e-6)


def _linearised(columns: np.ndarray) -> np.ndarray | None:
    """Return each unit's part in a mean (one column) or a ratio (two), None of no column."""
    if columns.shape[1] == 2:
        numerator, denominator = columns.T
        if not denominator.mean() > 0:
            return None
        return numerator - numerator.mean() / denominator.mean() * denominator
    return columns[:, 0] if columns.shape[1] else None


def _correlation(part: np.ndarray | None, before: np.ndarray | None) -> float:
    # What does not vary explains nothing.
    if part is None or before is None or not (part.std() > 0 and before.std() > 0):
        return 0.0
    return float(np.corrcoef(part, before)[0, 1])


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

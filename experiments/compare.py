"""Compare two variants on one metric: the right method for the data, or a refusal.

Which method is taken follows from both variants together and the sizes of each, never from which
of them is better. Welch's test where the difference is near normal; else randomisation, if single
units are at hand and outcomes differ enough; else a refusal that says what would help.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from scipy import optimize

from experiments.aggregates import Aggregates
from experiments.confidence_sequence import always_valid_p, critical_value
from experiments.contrast import Contrast, Figure, contrast, error_among, surely_above
from experiments.effect import Effect
from experiments.group_sequential import Spending, boundaries
from experiments.near_normal import LEAST_UNITS, larger_skewness, near_normal
from experiments.post_stratification import post_stratified
from experiments.proportion import (
    LEAST_EXPECTED,
    enough_responders,
    proportion_interval,
    proportion_p,
)
from experiments.randomisation import DEALS, affordable_deals, randomisation
from experiments.welch import Moments, difference, relative_within
from foundation.errors import TooLittleData

Units = tuple[np.ndarray, np.ndarray]

# Between these levels boundaries are solved for; beyond, a p-value is told as the end's.
_ALPHAS = (1e-12, 0.99)


def compare(
    figure: Figure,
    treatment: Aggregates,
    control: Aggregates,
    units: Units | Callable[[], Units] | None = None,
    confidence: float = 0.95,
    most_deals: int = DEALS,
) -> Effect:
    """Compare a mean or a ratio, adjusted where its columns have a covariate.

    Args:
        figure, treatment, control: As for `contrast`; sums of strata are post-stratified.
        units: The rows behind treatment and control, shapes (n, k), for randomisation; or what
            fetches them, called only if they are needed.
        confidence: Of the interval.
        most_deals: Of the randomisation; with fewer it is as exact, only p is coarser.
    """
    found = _contrasted(figure, treatment, control)
    if isinstance(found, Effect):
        return found
    if units is None or _is_normal(found) or _refused(found, confidence):
        return _named(compare_contrast(found, confidence), treatment)
    # Chance deals whole variants, whatever the stratum.
    found = contrast(figure, _whole(treatment), _whole(control))
    treated, controls = units() if callable(units) else units
    deals = min(affordable_deals(treated, controls), most_deals)
    dealt = randomisation(figure, treated, controls, confidence, deals)
    if not dealt.holds(confidence):
        return _without(
            found,
            _told(found, "and outcomes repeat too often for randomisation; wait for more units"),
        )
    error = math.sqrt(float(found.variance))
    estimate = float(found.difference)
    return _shown(
        found,
        low=estimate - dealt.upper * error,
        high=estimate - dealt.lower * error,
        p=dealt.p,
        method="randomisation",
    )


def compare_contrast(found: Contrast, confidence: float = 0.95) -> Effect:
    """Compare what is already a contrast, such as a post-stratified one."""
    refused = _refused(found, confidence)
    if refused:
        return refused
    if not _is_normal(found):
        return _without(found, _told(found, "compare single units, which randomisation can judge"))
    absolute = difference(*moments_of(found), confidence)
    return _shown(found, absolute.low, absolute.high, absolute.p, "welch")


def compare_always(
    figure: Figure,
    treatment: Aggregates,
    control: Aggregates,
    planned_n: float,
    confidence: float = 0.95,
) -> Effect:
    """Compare as `compare`, with an interval that stays right however often one looks.

    Args:
        figure, treatment, control: As for `contrast`.
        planned_n: Units of both variants in the plan.
        confidence: That the truth is in the interval at all looks.
    """
    found = _near_normal(figure, treatment, control, confidence)
    if isinstance(found, Effect):
        return found
    n = float(found.treatment_n + found.control_n)
    error, estimate = math.sqrt(float(found.variance)), float(found.difference)
    reach = float(critical_value(n, planned_n, 1 - confidence)) * error
    p = float(always_valid_p(estimate / error, n, planned_n, 1 - confidence))
    told = _shown(found, estimate - reach, estimate + reach, p, "always valid")
    return _named(told, treatment)


def compare_at_look(
    figure: Figure,
    treatment: Aggregates,
    control: Aggregates,
    look: int,
    looks: int,
    spending: Spending,
    confidence: float = 0.95,
    information: Sequence[float] = (),
) -> Effect:
    """Compare as `compare` at a planned look, with an interval that holds at all of them together.

    Args:
        figure, treatment, control: As for `contrast`.
        look: Number of this look, from 1.
        looks: Planned, equally spaced.
        spending: How alpha is shared out over them.
        confidence: That the truth is in the interval at all looks.
        information: At the looks up to this one, in any unit; equally spaced by default.

    Source: repeated confidence intervals, Jennison and Turnbull 1989, by boundaries of Lan and
    DeMets 1983; p is the level at which the interval just leaves zero out.
    """
    found = _near_normal(figure, treatment, control, confidence)
    if isinstance(found, Effect):
        return found
    fractions = [number / looks for number in range(1, look + 1)]
    amounts = list(information) or None

    def bound(alpha: float) -> float:
        return float(boundaries(fractions, alpha, spending, information=amounts)[-1])

    error, estimate = math.sqrt(float(found.variance)), float(found.difference)
    reach = bound(1 - confidence)
    if math.isinf(reach):
        return _without(found, f"look {look} of {looks} has no error to spend yet; wait for more")
    z = abs(estimate / error)
    p = 1.0 if z <= bound(_ALPHAS[1]) else _ALPHAS[0]
    if bound(_ALPHAS[1]) < z < bound(_ALPHAS[0]):
        p = float(
            optimize.root_scalar(lambda alpha: bound(alpha) - z, bracket=_ALPHAS, rtol=1e-6).root
        )
    reach *= error
    told = _shown(found, estimate - reach, estimate + reach, p, "group sequential")
    return _named(told, treatment)


def _is_normal(found: Contrast) -> bool:
    return bool(near_normal(found.skewness, found.treatment_n, found.control_n, found.bend))


def _near_normal(
    figure: Figure, treatment: Aggregates, control: Aggregates, confidence: float
) -> Contrast | Effect:
    """Return a contrast that may be looked at again and again, or the effect that says why not."""
    found = _contrasted(figure, treatment, control)
    if isinstance(found, Effect):
        return found
    refused = _refused(found, confidence)
    if refused:
        return refused
    if not _is_normal(found):
        return _without(found, _told(found, "wait for more units, or cap the metric in a new plan"))
    return found


def compare_proportions(
    responders: float,
    n: float,
    control_responders: float,
    control_n: float,
    confidence: float = 0.95,
) -> Effect:
    """Compare two shares of units that responded.

    Args:
        responders, control_responders: Units that did.
        n, control_n: All units.
        confidence: Of the interval.
    """
    counts = (responders, n, control_responders, control_n)
    share, control_share = responders / n, control_responders / control_n
    if not bool(enough_responders(*counts)):
        rate = (responders + control_responders) / (n + control_n)
        return Effect(
            mean=share,
            control_mean=control_share,
            refused=f"the smaller variant of {min(n, control_n):,.0f} units expects "
            f"{rate * min(n, control_n):.1f} responders and {(1 - rate) * min(n, control_n):.1f} "
            f"others, a share needs {LEAST_EXPECTED} of both; wait for more",
            method="score",
        )
    _, p = proportion_p(*counts)
    low, high = proportion_interval(*counts, confidence)
    moments = [
        Moments(int(size), rate, rate * (1 - rate) * size / (size - 1))
        for rate, size in ((share, n), (control_share, control_n))
    ]
    ratio = relative_within(moments[0], moments[1], float(low), float(high))
    return Effect(
        mean=share,
        control_mean=control_share,
        difference=share - control_share,
        low=float(low),
        high=float(high),
        p=float(p),
        relative=ratio.estimate,
        relative_low=ratio.low,
        relative_high=ratio.high,
        method="score",
        standard_error=math.sqrt(sum(one.variance / one.n for one in moments)),
    )


def moments_of(found: Contrast) -> tuple[Moments, Moments]:
    """Return the figures of one contrast as moments, treatment first."""
    return (
        Moments(int(found.treatment_n), float(found.treatment), float(found.treatment_variance)),
        Moments(int(found.control_n), float(found.control), float(found.control_variance)),
    )


def _contrasted(figure: Figure, treatment: Aggregates, control: Aggregates) -> Contrast | Effect:
    """Return the contrast, post-stratified where there are strata, or why there is none."""
    up, down = _whole(treatment), _whole(control)
    found = contrast(figure, up, down)
    unsure = _unsure_denominator(figure, found, up, down)
    if unsure or not treatment.strata:
        return unsure or found
    try:
        return post_stratified(figure, treatment, control)
    except TooLittleData as refusal:
        return _without(found, str(refusal))


def _whole(arm: Aggregates) -> Aggregates:
    return arm.total() if arm.strata else arm


def _named(effect: Effect, arm: Aggregates) -> Effect:
    """Return an effect that says where it is of strata."""
    if not arm.strata or effect.refused is not None:
        return effect
    return msgspec.structs.replace(effect, method=f"{effect.method}, post-stratified")


def _unsure_denominator(
    figure: Figure, found: Contrast, treatment: Aggregates, control: Aggregates
) -> Effect | None:
    """Refuse a ratio to something that may be zero, around which any ratio is possible.

    Judged of both variants together among the units of the smaller: asked of each by itself, a
    variant would be answered just where its denominator came out high.
    """
    n = min(float(treatment.n), float(control.n))
    if figure == "mean" or n < 2 or not np.isfinite([found.treatment, found.control]).all():
        return None
    both, among = treatment + control, np.asarray(n)
    if bool(surely_above(both, 1, among)):
        return None
    return _without(
        found,
        f"the denominator's mean is {float(both.mean[1]):.4g}, not surely above 0 (its standard "
        f"error among the {n:,.0f} units of the smaller variant is "
        f"{float(error_among(both, 1, among)):.3g}); divide by something that is never negative, "
        "or wait",
    )


def _refused(found: Contrast, confidence: float) -> Effect | None:
    if not (np.isfinite(found.treatment) and np.isfinite(found.control)):
        return Effect(
            mean=float("nan"),
            control_mean=float("nan"),
            refused="a ratio has nothing to divide by in one variant; wait for more units",
        )
    least = int(min(float(found.treatment_n), float(found.control_n)))
    if least < 2:
        return _without(
            found,
            f"the smaller variant has {least} unit(s), an interval needs at least 2; wait for more",
        )
    try:
        difference(*moments_of(found), confidence)
    except TooLittleData as refusal:
        return _without(found, str(refusal))
    return None


def _told(found: Contrast, way_out: str) -> str:
    smaller = min(float(found.treatment_n), float(found.control_n))
    if smaller < LEAST_UNITS:
        return (
            f"{smaller:,.0f} units in the smaller variant are too few for Welch's test, "
            f"which needs {LEAST_UNITS}; {way_out}"
        )
    skewness = float(larger_skewness(found.skewness, found.bend))
    return (
        f"values are too skewed (skewness {skewness:.3g}) for {smaller:,.0f} units in "
        f"the smaller variant of {float(found.treatment_n + found.control_n):,.0f}; {way_out}"
    )


def _without(found: Contrast, reason: str) -> Effect:
    return Effect(float(found.treatment), float(found.control), refused=reason)


def _shown(found: Contrast, low: float, high: float, p: float, method: str) -> Effect:
    share = relative_within(*moments_of(found), low, high)
    if bool(found.adjusted):
        method += ", adjusted"
    return Effect(
        mean=float(found.treatment),
        control_mean=float(found.control),
        difference=float(found.difference),
        low=low,
        high=high,
        p=p,
        relative=share.estimate,
        relative_low=share.low,
        relative_high=share.high,
        method=method,
        standard_error=math.sqrt(float(found.variance)),
    )

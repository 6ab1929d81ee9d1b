"""Duration: how long must an experiment run to see an effect, by what was seen before?

The longer it runs, the more units come and the more each of them does, with more variance. So each
duration is read from a history of the same length, as if an experiment had run then, and nothing is
extrapolated. Effects are judged as reports judge them: by the plain difference.
"""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from experiments.aggregates import Aggregates
from experiments.contrast import contrast
from experiments.metrics import Metric, Proportion, figure_of
from experiments.near_normal import near_normal
from experiments.plan import Method
from experiments.power import (
    AlwaysValid,
    Fixed,
    GroupSequential,
    History,
    InvalidPower,
    Split,
    StopRule,
    detectable_effect,
    history_of,
    power,
    sample_size,
)
from experiments.proportion import LEAST_EXPECTED, enough_responders

ALPHA = 0.05
WANTED = 0.8
USUAL_LOOKS = 4
DAYS_A_WEEK = 7
# Below these clusters a variant chance judges, and the normal formulae promise too much.
LEAST_CLUSTERS = 40


class Arms(msgspec.Struct, frozen=True):
    """The planned shares by variant, the control first."""

    weights: dict[str, float]

    def __post_init__(self) -> None:
        shares = list(self.weights.values())
        # `not` also catches NaN.
        if len(shares) < 2 or not all(share > 0 for share in shares):
            raise InvalidPower(
                f"weights {self.weights} are no comparison; name two variants or more, the control "
                "first, each with a share above 0"
            )
        if abs(sum(shares) - 1) > 1e-9:
            raise InvalidPower(
                f"weights sum to {sum(shares):.12g}, they must sum to 1; share out the rest"
            )

    @property
    def split(self) -> Split:
        """The control and the smallest variant beside it: the hardest comparison."""
        control, *others = self.weights.values()
        return Split(treatment=min(others), control=control)

    @property
    def alpha(self) -> float:
        """The level at which Holm lets the first of several variants through."""
        return ALPHA / (len(self.weights) - 1)


class Duration(msgspec.Struct, frozen=True):
    """What an experiment of so many weeks would see.

    `units` are all that come into it; `minimum_effect` is the smallest difference called with the
    wanted power, in the metric's own unit, `minimum_relative` the same over the control's mean.
    Where `refused` says why, there is none. `power` is that at the effect asked about,
    `units_needed` how many of these units would do for it.
    """

    weeks: int
    units: int
    mean: float
    correlation: float
    minimum_effect: float | None = None
    minimum_relative: float | None = None
    power: float | None = None
    units_needed: int | None = None
    refused: str | None = None


class Foresight(msgspec.Struct, frozen=True):
    """Durations in rising order, and what was asked.

    `weeks_needed` is the first duration that calls the effect with the wanted power, None if none
    here does. `alike` says how alike members of a cluster are, where clusters are assigned.
    """

    metric: str
    unit: str
    method: Method
    weights: dict[str, float]
    wanted: float
    durations: list[Duration]
    effect: float | None = None
    relative: float | None = None
    weeks_needed: int | None = None
    alike: float | None = None
    members: float | None = None


def foresee(
    name: str,
    metric: Metric,
    weeks: Mapping[int, np.ndarray],
    arms: Arms,
    *,
    unit: str = "customer",
    method: Method = "welch",
    looks: int = USUAL_LOOKS,
    effect: float | None = None,
    relative: float | None = None,
    wanted: float = WANTED,
) -> Foresight:
    """Return what experiments of these durations would see.

    Args:
        name: Of the metric.
        metric: What is measured.
        weeks: By duration one row a unit, as `metrics.rows` returns them.
        arms: The variants.
        unit: What is assigned.
        method: As in the plan; always-valid intervals are looked at every day.
        looks: Of a group sequential method.
        effect: The difference asked about, in the metric's own unit.
        relative: The same over the control's mean; one of the two at most.
        wanted: Power.

    Raises:
        InvalidPower: Both effects are given, an effect is 0, or power is not inside (0, 1).
    """
    if effect is not None and relative is not None:
        raise InvalidPower("an effect is given as a difference and as a share; leave one out")
    if 0 in (effect, relative):
        raise InvalidPower("an effect of 0 is never called; plan for the smallest that matters")
    if not 0 < wanted < 1:
        raise InvalidPower(f"power {wanted} must lie between 0 and 1; write .8")
    found: list[Duration] = []
    for duration, rows in sorted(weeks.items()):
        if unit != "customer" and len(rows) * min(arms.weights.values()) < LEAST_CLUSTERS:
            found.append(_refused(duration, rows, _too_few(rows, unit)))
            continue
        try:
            history = history_of(metric, rows)
        except InvalidPower as refusal:
            found.append(_refused(duration, rows, str(refusal)))
            continue
        unjudged = _unjudged(metric, rows, arms.split, method)
        if unjudged is not None:
            found.append(_refused(duration, rows, unjudged))
            continue
        asked = effect / history.mean if effect is not None else relative
        rule = _rule(method, looks, duration, len(rows) * _compared(arms), arms.alpha)
        found.append(_duration(duration, history, len(rows), arms.split, rule, asked, wanted))
    enough = [d.weeks for d in found if d.power is not None and d.power >= wanted]
    return Foresight(
        metric=name,
        unit=unit,
        method=method,
        weights=arms.weights,
        wanted=wanted,
        durations=found,
        effect=effect,
        relative=relative,
        weeks_needed=enough[0] if enough else None,
    )


def foresight_sentence(found: Foresight, show: Callable[[float], str]) -> str:
    """Say how long it must run, or what it can see at most.

    Args:
        found: As `foresee` returned it.
        show: Says a value of the metric.
    """
    longest = found.durations[-1]
    if longest.minimum_effect is None or longest.minimum_relative is None:
        return f"nothing is promised: {longest.refused}"
    least = f"{show(longest.minimum_effect)} ({longest.minimum_relative:.1%})"
    sees = (
        f"{longest.weeks} week(s) with about {longest.units:,} {found.unit}s see a change in "
        f"{found.metric} of {least} or more with {found.wanted:.0%} power"
    )
    asked = _asked(found, show)
    if asked is None:
        return sees
    needed = next((d for d in found.durations if d.weeks == found.weeks_needed), None)
    if needed is None:
        return f"{asked} is not seen reliably: {sees}; run longer, or ask more {found.unit}s"
    return (
        f"to see {asked} with {found.wanted:.0%} power, run {needed.weeks} week(s): about "
        f"{needed.units:,} {found.unit}s come, {needed.units_needed:,} would do"
    )


def _asked(found: Foresight, show: Callable[[float], str]) -> str | None:
    if found.effect is not None:
        return f"a change in {found.metric} of {show(found.effect)}"
    if found.relative is None:
        return None
    return f"a change in {found.metric} of {found.relative:+.1%}"


def _compared(arms: Arms) -> float:
    return arms.split.treatment + arms.split.control


def _rule(method: Method, looks: int, weeks: int, planned: float, alpha: float) -> StopRule:
    if method == "sequential":
        return AlwaysValid(planned, looks=weeks * DAYS_A_WEEK, alpha=alpha)
    if method == "welch":
        return Fixed(alpha)
    spending = "pocock" if method == "pocock" else "obrien_fleming"
    return GroupSequential(looks, spending, alpha)


def _duration(
    weeks: int,
    history: History,
    units: int,
    split: Split,
    rule: StopRule,
    asked: float | None,
    wanted: float,
) -> Duration:
    told = Duration(weeks, units, history.mean, history.correlation)
    try:
        least = detectable_effect(history, units, wanted, split, rule, "difference")
    except InvalidPower as refusal:
        return msgspec.structs.replace(told, refused=str(refusal))
    told = msgspec.structs.replace(
        told, minimum_relative=least, minimum_effect=least * history.mean
    )
    if asked is None:
        return told
    told = msgspec.structs.replace(
        told, power=power(history, units, asked, split, rule, "difference")
    )
    try:
        needed = sample_size(history, asked, wanted, split, rule, "difference")
    except InvalidPower:
        # The power that these units have is told; that no number would do is told by None.
        return told
    return msgspec.structs.replace(told, units_needed=needed)


def _unjudged(metric: Metric, rows: np.ndarray, split: Split, method: Method) -> str | None:
    """Say why a report on units like these would refuse to judge, None where it would not.

    What is judged once has chance to fall back on where values are skewed; looks have not.
    """
    treatment, control = len(rows) * split.treatment, len(rows) * split.control
    if method == "welch":
        if not isinstance(metric, Proportion):
            return None
        rate = float(rows[:, 0].mean())
        if bool(enough_responders(rate * treatment, treatment, rate * control, control)):
            return None
        return (
            f"a share of {rate:.1%} leaves a variant of {min(treatment, control):,.0f} units too "
            f"few responders to judge, it needs {LEAST_EXPECTED} and as many others; run longer, "
            "or ask more units"
        )
    seen = Aggregates.from_rows(rows, np.median(rows, axis=0))
    skewness = float(contrast(figure_of(metric), seen, seen).skewness)
    if bool(near_normal(skewness, treatment, control)):
        return None
    return (
        f"values are too skewed (skewness {skewness:.3g}) for {min(treatment, control):,.0f} units "
        "in the smaller variant, and looks would be refused; run longer, or plan a single look at "
        "the end"
    )


def _refused(weeks: int, rows: np.ndarray, why: str) -> Duration:
    mean = float(rows[:, 0].mean()) if len(rows) else 0.0
    return Duration(weeks, len(rows), mean, 0.0, refused=why)


def _too_few(rows: np.ndarray, unit: str) -> str:
    return (
        f"{len(rows)} {unit}s leave a variant fewer than {LEAST_CLUSTERS}, where chance alone "
        "judges and no formula promises power; assign smaller units"
    )

"""Analysis: every variant against the control on every metric, from sums wherever sums will do.

One query fetches the sums of all metrics. Single units are fetched only for what sums cannot say:
quantiles, and differences too skewed for Student's tails, which chance judges. What neither can
carry is refused, so that each comparison has an honest interval or a reason.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates
from experiments.bayes import Posterior, relative_lift
from experiments.compare import (
    compare,
    compare_always,
    compare_at_look,
    compare_proportions,
)
from experiments.contrast import contrast
from experiments.effect import Effect, in_words
from experiments.group_sequential import Spending
from experiments.health import SAMPLE_RATIO_ALARM, Health, SampleRatio, sample_ratio
from experiments.metrics import Metric, Proportion, Quantile, columns_before, figure_of, rows
from experiments.multiplicity import Correction, adjusted
from experiments.outliers import TopFew, top_few
from experiments.quantile import compare_quantiles
from experiments.randomisation import DEALS
from foundation.errors import RegularsError

CORRECTION: Correction = "holm"
# No column has an empty name.
_COVARIATE = ""


class InvalidAnalysis(RegularsError):
    """The variants cannot be compared as asked."""


class Once(msgspec.Struct, frozen=True):
    """One look, at the end."""


class Always(msgspec.Struct, frozen=True):
    """Any number of looks; `planned_n` units of both variants are what it is tuned for."""

    planned_n: float


class Early(Always, frozen=True):
    """Before the end of a plan that judges once: whoever looks now gets no p-value to act on, and
    an interval that stays right at every look."""


class AtLook(msgspec.Struct, frozen=True):
    """A planned look of several; 0 comes before the first.

    Alpha is spent as if they were equally spaced; `information` is what was known at each look up
    to this one, in any unit.
    """

    look: int
    looks: int
    spending: Spending
    information: tuple[float, ...] = ()


Plan = Once | Always | AtLook
_ONCE = Once()


class Units(Protocol):
    """The units of an experiment, one row each, wherever they are kept."""

    def observed(self) -> dict[str, int]:
        """Return how many units each variant has."""
        ...

    def aggregates(
        self, metrics: Sequence[Metric], stratum: str | None = None
    ) -> list[dict[str, Aggregates]]:
        """Return each metric's sums by variant; none is a quantile.

        With a column `stratum` they are sums of its strata, in one order in all variants.
        """
        ...

    def rows(self, metric: Metric, variant: str) -> np.ndarray:
        """Return the metric's columns of one row a unit, shape (n, k)."""
        ...


class PlannedUnits(Units, Protocol):
    """The units of a planned experiment, of which a report says more."""

    def quantile(self, column: str, level: float) -> float:
        """Return a quantile of a column over all units together, whichever their variant."""
        ...

    def top_few(self, column: str) -> list[TopFew]:
        """Return what the largest units of each variant hold."""
        ...


class UnitFrame:
    """Units in a frame: a column `variant`, and numeric ones."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._variants = frame["variant"].to_numpy(dtype=object)

    def observed(self) -> dict[str, int]:
        return {name: int((self._variants == name).sum()) for name in set(self._variants)}

    def aggregates(
        self, metrics: Sequence[Metric], stratum: str | None = None
    ) -> list[dict[str, Aggregates]]:
        found: list[dict[str, Aggregates]] = []
        names = list(dict.fromkeys(self._variants))
        strata = None if stratum is None else self._frame[stratum].to_numpy(dtype=object)

        def sums(values: np.ndarray, name: str, origin: np.ndarray) -> Aggregates:
            mine = self._variants == name
            if strata is None:
                return Aggregates.from_rows(values[mine], origin)
            each = [values[mine & (strata == one)] for one in sorted(set(strata))]
            return Aggregates.stacked([Aggregates.from_rows(rows, origin) for rows in each])

        for metric in metrics:
            values = rows(metric, self._frame)
            plain = isinstance(metric, Proportion)
            origin = np.zeros(values.shape[1]) if plain else np.median(values, axis=0)
            found.append({name: sums(values, name, origin) for name in names})
        return found

    def rows(self, metric: Metric, variant: str) -> np.ndarray:
        return rows(metric, self._frame[self._variants == variant])

    def quantile(self, column: str, level: float) -> float:
        return float(np.quantile(self._frame[column].to_numpy(dtype=np.float64), level))

    def top_few(self, column: str) -> list[TopFew]:
        return top_few(column, self._frame)


class Analysis(msgspec.Struct, frozen=True):
    """What a file of units says; `metrics` is {metric: {variant: effect}}, empty when unhealthy.

    `correction` is how p_adjusted was made of all p-values shown. `units` are those assigned: the
    clusters where clusters were. `posteriors` are of proportions that could be compared: the chance
    to win in words for a board, see bayes.py.
    """

    control: str
    confidence: float
    units: dict[str, int]
    sample_ratio: SampleRatio
    health: Health
    metrics: dict[str, dict[str, Effect]]
    correction: Correction = CORRECTION
    posteriors: dict[str, dict[str, Posterior]] = msgspec.field(
        default_factory=dict[str, dict[str, Posterior]]
    )


def analyse_units(
    units: Units,
    metrics: Mapping[str, Metric],
    control: str,
    weights: Mapping[str, float] | None = None,
    covariate: Metric | None = None,
    faults: Sequence[str] = (),
    confidence: float = 0.95,
    warnings: Sequence[str] = (),
    stratum: str | None = None,
    missing: Mapping[str, str] | None = None,
) -> Analysis:
    """Compare every other variant with the control on every metric, if health allows.

    Args:
        units: Where sums and rows come from.
        metrics: By name.
        control: The variant to compare with.
        weights: The planned share of each variant; None leaves the split unjudged.
        covariate: What was before the experiment, as a metric: variants that differ in it were
            not assigned by chance, or it is not from before.
        faults: What is already known to be broken.
        confidence: Of every interval.
        warnings: What to bear in mind with the effects.
        stratum: The column of strata to post-stratify by, none too small.
        missing: Why a metric cannot be measured, by its name: it is refused.

    Raises:
        InvalidAnalysis: The control is no variant, or there is nothing to compare it with.
        InvalidSplit: The observed variants are not those of the weights.
    """
    before = {} if covariate is None else {_COVARIATE: covariate}
    sums = summed(units, {**metrics, **before}, stratum)
    observed = _observed(units, sums)
    if control not in observed:
        raise InvalidAnalysis(
            f"control {control!r} is no variant of these units; choose one of {', '.join(observed)}"
        )
    treatments = [name for name in observed if name != control]
    if not treatments:
        raise InvalidAnalysis(
            f"every unit is in variant {control!r}, so there is nothing to compare; "
            "check the column of variants"
        )
    equal = dict.fromkeys(observed, 1 / len(observed))
    split = sample_ratio(observed, equal if weights is None else weights)
    found = list(faults)
    if weights is not None and not split.holds:
        found.append(split.reason)
    if before:
        plain = {name: whole(sums[name]) for name in before}
        found += unbalanced(effects(units, plain, before, control, treatments, confidence))
    told = {} if found else effects(units, sums, metrics, control, treatments, confidence)
    if not found:
        told |= unmeasured(missing or {}, treatments)
    return Analysis(
        control=control,
        confidence=confidence,
        units=dict(observed),
        sample_ratio=split,
        health=_health(found, [*warnings, *unadjusted(metrics, told)], split, weights is not None),
        metrics=with_adjusted(told),
        posteriors=_posteriors(metrics, sums, told, control, confidence),
    )


def _posteriors(
    metrics: Mapping[str, Metric],
    sums: Mapping[str, Mapping[str, Aggregates]],
    told: Mapping[str, Mapping[str, Effect]],
    control: str,
    confidence: float,
) -> dict[str, dict[str, Posterior]]:
    """Return the chance to win of every proportion that has an effect."""
    found: dict[str, dict[str, Posterior]] = {}
    for name, by_variant in told.items():
        if not isinstance(metrics.get(name), Proportion):
            continue
        arms = {variant: _counts(arm) for variant, arm in whole(sums[name]).items()}
        base = arms[control]
        found[name] = {
            variant: relative_lift(*arms[variant], *base, confidence)
            for variant, effect in by_variant.items()
            if effect.difference is not None
        }
    return found


def _counts(arm: Aggregates) -> tuple[int, int]:
    return int(arm.first[0]), int(arm.n)


def summed(
    units: Units, metrics: Mapping[str, Metric], stratum: str | None = None
) -> dict[str, dict[str, Aggregates]]:
    """Return {metric: {variant: sums}}, by one query; quantiles have none.

    Args:
        units: Where they come from.
        metrics: By name.
        stratum: The column of strata, to post-stratify by.
    """
    asked = {name: one for name, one in metrics.items() if not isinstance(one, Quantile)}
    return dict(zip(asked, units.aggregates(list(asked.values()), stratum), strict=True))


def whole(sums: Mapping[str, Aggregates]) -> dict[str, Aggregates]:
    """Return sums by variant without their strata."""
    return {name: one.total() if one.strata else one for name, one in sums.items()}


def effects(
    units: Units,
    sums: Mapping[str, Mapping[str, Aggregates]],
    metrics: Mapping[str, Metric],
    control: str,
    treatments: Sequence[str],
    confidence: float = 0.95,
    plan: Plan = _ONCE,
    most_deals: int = DEALS,
) -> dict[str, dict[str, Effect]]:
    """Return {metric: {variant: effect}}.

    Args:
        units: Where rows come from, if they are needed.
        sums: As `summed` returned them.
        metrics: By name.
        control: The variant to compare with.
        treatments: The others.
        confidence: Of every interval.
        plan: How often, and when, one looks.
        most_deals: Of a randomisation; with fewer it is as exact, only p is coarser.
    """
    return {
        name: {
            variant: _effect(
                units, metric, sums.get(name, {}), variant, control, confidence, plan, most_deals
            )
            for variant in treatments
        }
        for name, metric in metrics.items()
    }


def unmeasured(
    missing: Mapping[str, str], treatments: Sequence[str]
) -> dict[str, dict[str, Effect]]:
    """Return a refusal for each metric that cannot be measured, and each variant.

    Args:
        missing: Why not, by the metric's name.
        treatments: The variants.
    """
    return {
        name: dict.fromkeys(treatments, Effect(math.nan, math.nan, refused=reason))
        for name, reason in missing.items()
    }


def with_adjusted(
    found: Mapping[str, Mapping[str, Effect]], correction: Correction = CORRECTION
) -> dict[str, dict[str, Effect]]:
    """Return the effects with p-values adjusted for all comparisons that were made."""
    made = [
        (name, variant, effect.p)
        for name, by_variant in found.items()
        for variant, effect in by_variant.items()
        if effect.p is not None
    ]
    values = adjusted([p for _, _, p in made], correction)
    by_place = {
        (name, variant): value for (name, variant, _), value in zip(made, values, strict=True)
    }
    return {
        name: {
            variant: msgspec.structs.replace(effect, p_adjusted=by_place.get((name, variant)))
            for variant, effect in by_variant.items()
        }
        for name, by_variant in found.items()
    }


def unbalanced(before: Mapping[str, Mapping[str, Effect]]) -> list[str]:
    """Say which variants differed before the experiment, by {covariate: {variant: effect}}."""
    return [
        f"variant {variant!r} differed before the experiment: {name or 'the covariate'} is "
        f"{effect.mean:.4g} against {effect.control_mean:.4g} (p {effect.p_adjusted:.2g}); "
        "assignment was not by chance, or the covariate is not from before it"
        for name, by_variant in with_adjusted(before).items()
        for variant, effect in by_variant.items()
        if effect.p_adjusted is not None and effect.p_adjusted < SAMPLE_RATIO_ALARM
    ]


def unadjusted(
    metrics: Mapping[str, Metric], told: Mapping[str, Mapping[str, Effect]]
) -> list[str]:
    """Say of which metrics what was before tells nothing, by {metric: {variant: effect}}."""
    return [
        f"{columns_before(metrics[name])[0].name} tells nothing of {name} in {variant}, so it is "
        "not adjusted: does it vary?"
        for name, by_variant in told.items()
        for variant, effect in by_variant.items()
        if effect.difference is not None
        and columns_before(metrics[name])
        and "adjusted" not in effect.method
    ]


def analysis_lines(analysis: Analysis) -> list[str]:
    """Return the analysis as people read it, a line a statement."""
    counted = ", ".join(f"{count:,} in {name}" for name, count in analysis.units.items())
    lines = [f"units {counted}", analysis.health.reason, *analysis.health.warnings]
    for metric, by_variant in analysis.metrics.items():
        for variant, effect in by_variant.items():
            lines.append(
                f"{metric}, {variant} {_number(effect.mean)} against {analysis.control} "
                f"{_number(effect.control_mean)}: {in_words(effect, _number, analysis.confidence)}"
            )
            posterior = analysis.posteriors.get(metric, {}).get(variant)
            if posterior is not None:
                lines.append(
                    f"{metric}, {variant} is the better one with a chance of "
                    f"{posterior.chance_to_win:.1%}, by this look alone (flat prior); shipping it "
                    f"risks {posterior.risk_shipping:.2%} of the rate, keeping {analysis.control} "
                    f"{posterior.risk_keeping:.2%}"
                )
    judged = [one for by_variant in analysis.metrics.values() for one in by_variant.values()]
    if sum(effect.p is not None for effect in judged) > 1:
        lines.append(f"adjusted p-values are {analysis.correction.title()}'s over all comparisons")
    return lines


def _effect(
    units: Units,
    metric: Metric,
    sums: Mapping[str, Aggregates],
    variant: str,
    control: str,
    confidence: float,
    plan: Plan,
    most_deals: int,
) -> Effect:
    def fetched() -> tuple[np.ndarray, np.ndarray]:
        return units.rows(metric, variant), units.rows(metric, control)

    if isinstance(metric, Quantile):
        return _of_quantile(metric, fetched(), confidence, isinstance(plan, Once), most_deals)
    treated, controls = sums[variant], sums[control]
    figure = figure_of(metric)
    if isinstance(plan, Always):
        found = compare_always(figure, treated, controls, plan.planned_n, confidence)
        return msgspec.structs.replace(found, p=None) if isinstance(plan, Early) else found
    if isinstance(plan, AtLook):
        if plan.look < 1:
            arms = whole({variant: treated, control: controls})
            found = contrast(figure, arms[variant], arms[control])
            return Effect(
                float(found.treatment),
                float(found.control),
                refused=f"the plan judges at {plan.looks} looks and the first has not come; wait",
                method="group sequential",
            )
        return compare_at_look(
            figure,
            treated,
            controls,
            plan.look,
            plan.looks,
            plan.spending,
            confidence,
            plan.information,
        )
    if isinstance(metric, Proportion):
        if treated.strata:
            found = compare(figure, treated, controls, None, confidence)
            if found.refused is None:
                return found
            treated, controls = treated.total(), controls.total()
        counts = [float(x) for arm in (treated, controls) for x in (arm.first[0], arm.n)]
        return compare_proportions(counts[0], counts[1], counts[2], counts[3], confidence)
    return compare(figure, treated, controls, fetched, confidence, most_deals)


def _of_quantile(
    metric: Quantile,
    units: tuple[np.ndarray, np.ndarray],
    confidence: float,
    once: bool,
    most_deals: int,
) -> Effect:
    treated, controls = (one[:, 0] for one in units)
    least = min(len(treated), len(controls))
    refused = None
    if not once:
        refused = "a quantile has no interval that stays right at several looks; plan a single one"
    elif least < 2:
        refused = (
            f"the smaller variant has {least} unit(s), an interval needs at least 2; wait for more"
        )
    if refused is None:
        return compare_quantiles(treated, controls, metric.level, confidence, most_deals)
    means = (float(np.quantile(values, metric.level)) for values in (treated, controls))
    return Effect(*means, refused=refused, method="order statistics")


def _observed(units: Units, sums: Mapping[str, Mapping[str, Aggregates]]) -> dict[str, int]:
    """Return the units of each variant, from sums where there are some."""
    counted = next(iter(sums.values()), None)
    found = (
        units.observed()
        if counted is None
        else {name: int(one.n.sum()) for name, one in counted.items()}
    )
    return dict(sorted(found.items()))


def _health(faults: list[str], warnings: Sequence[str], split: SampleRatio, judged: bool) -> Health:
    told = list(warnings)
    if not judged:
        told.append(
            f"no weights were given, so the split is not judged; against equal shares it has "
            f"{split.figures}: give the planned weights"
        )
    if faults:
        return Health(False, "; ".join([*faults, "so no effect is shown"]), faults, told)
    said = split.reason if judged else "nothing is known to be broken"
    return Health(True, said, [], told)


def _number(amount: float) -> str:
    return f"{amount:,.4g}"

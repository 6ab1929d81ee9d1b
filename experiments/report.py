"""The report of an experiment: what did each variant change, and may the figures be believed?

Every unit counts in the variant it was assigned, whether or not it saw anything (intention to
treat). An unhealthy report says why and shows no effect: a figure from a broken split would be
read all the same. A comparison with too little data says so in `refused` and has no figures.
"""

from collections.abc import Callable, Collection, Sequence

import msgspec
import numpy as np
import pandas as pd

from experiments.design import Experiment, check, content_hash
from experiments.effect import Effect
from experiments.lock import exploratory_metrics
from experiments.sample_ratio import sample_ratio_deviation, sample_ratio_p_value
from experiments.welch import Moments, difference, relative
from foundation.errors import RegularsError, TooLittleData

# Stricter than 5 %: every experiment is checked, and a false alarm throws its result away.
SAMPLE_RATIO_ALARM = 0.001


class InvalidUnits(RegularsError):
    """The units do not fit the experiment, or a metric has gaps."""


class SampleRatio(msgspec.Struct, frozen=True):
    """The split as planned (shares) and observed (units); deviation as in sample_ratio.py."""

    p: float
    planned: dict[str, float]
    observed: dict[str, int]
    deviation: float


class Report(msgspec.Struct, frozen=True):
    """An experiment's result; `metrics` is {metric: {variant: effect}}, empty when unhealthy.

    `exploratory` are the metrics shown that are not in the plan.
    """

    key: str
    design: str
    unit: str
    control: str
    confidence: float
    units: dict[str, int]
    sample_ratio: SampleRatio
    healthy: bool
    reason: str
    metrics: dict[str, dict[str, Effect]]
    exploratory: list[str] = msgspec.field(default_factory=list[str])


def analyse(
    experiment: Experiment,
    units: pd.DataFrame,
    metrics: Sequence[str],
    confidence: float = 0.95,
) -> Report:
    """Compare every other variant with the control on every metric.

    Args:
        experiment: The design the units were assigned by.
        units: One row per assigned unit: unit_id, variant, and one numeric column a metric, 0
            where a unit did nothing.
        metrics: Names of the columns to compare.
        confidence: Of every interval.

    Raises:
        InvalidDesign: The experiment breaks a rule of `check`.
        InvalidUnits: A column is missing, a unit appears twice, a variant is unknown or was seen
            by nobody, or a metric has gaps or is not numeric.
    """
    check(experiment)
    _check_units(experiment, units, metrics)
    observed = {
        variant.name: int(np.count_nonzero(units["variant"] == variant.name))
        for variant in experiment.variants
    }
    split = _sample_ratio(experiment, observed)
    healthy = split.p >= SAMPLE_RATIO_ALARM
    return Report(
        key=experiment.key,
        design=content_hash(experiment),
        unit=experiment.unit,
        control=experiment.control,
        confidence=confidence,
        units=observed,
        sample_ratio=split,
        healthy=healthy,
        reason=_reason(split, healthy),
        metrics=_effects(experiment, units, metrics, confidence) if healthy else {},
        exploratory=exploratory_metrics(experiment, metrics) if healthy else [],
    )


def summary_lines(
    report: Report,
    currency_show: Callable[[float], str],
    money_metrics: Collection[str] = ("margin",),
) -> list[str]:
    """Return the report as people read it, a line a statement.

    Args:
        report: As `analyse` returned it.
        currency_show: Shows an amount of minor units, for example `Currency.show`.
        money_metrics: The metrics that are minor units of money; others are shown as numbers.
    """
    counted = ", ".join(f"{count:,} in {name}" for name, count in report.units.items())
    lines = [f"experiment {report.key}: {report.unit}s {counted}", report.reason]
    for metric, effects in report.metrics.items():
        show = currency_show if metric in money_metrics else _number
        stamp = " (exploratory, not in the plan)" if metric in report.exploratory else ""
        for variant, effect in effects.items():
            lines.append(
                f"{metric} per {report.unit}{stamp}, {variant} {show(effect.mean)} against "
                f"{report.control} {show(effect.control_mean)}: "
                f"{_in_words(effect, show, report.confidence)}"
            )
    return lines


def _check_units(experiment: Experiment, units: pd.DataFrame, metrics: Sequence[str]) -> None:
    subject = f"experiment {experiment.key!r}"
    missing = [name for name in ("unit_id", "variant", *metrics) if name not in units.columns]
    if missing:
        raise InvalidUnits(
            f"{subject}: column {missing[0]!r} is missing, the units have "
            f"{', '.join(map(str, units.columns))}; name one of these"
        )
    if bool(units["unit_id"].isna().any()):
        raise InvalidUnits(f"{subject}: a unit has no unit_id; leave out who was not assigned")
    names = [variant.name for variant in experiment.variants]
    strange = units.loc[~units["variant"].isin(names), "variant"]
    if len(strange):
        raise InvalidUnits(
            f"{subject}: variant {strange.iloc[0]!r} of {len(strange)} unit(s) is not in the "
            f"design ({', '.join(names)}); analyse with the design they were assigned by"
        )
    _check_once(subject, units)
    unseen = [name for name in names if not bool((units["variant"] == name).any())]
    if unseen:
        raise InvalidUnits(
            f"{subject}: nobody was assigned variant {unseen[0]!r}, so there is nothing to "
            "compare; check that the experiment runs, or wait"
        )
    for metric in metrics:
        _check_metric(subject, units, metric)


def _check_once(subject: str, units: pd.DataFrame) -> None:
    again = units.loc[units["unit_id"].duplicated(), "unit_id"]
    if not len(again):
        return
    # One in two variants is the worse fault, so it is named first.
    pairs = units.drop_duplicates(["unit_id", "variant"])
    torn = pairs.loc[pairs["unit_id"].duplicated(), "unit_id"].drop_duplicates()
    if len(torn):
        raise InvalidUnits(
            f"{subject}: {len(torn)} unit(s) are in two variants, first {torn.iloc[0]!r}; "
            "find who assigned them anew, or leave them out and say so"
        )
    raise InvalidUnits(
        f"{subject}: {len(again.drop_duplicates())} unit(s) have more than one row, first "
        f"{again.iloc[0]!r}; add them up to one row a unit"
    )


def _check_metric(subject: str, units: pd.DataFrame, metric: str) -> None:
    column = units[metric]
    if not pd.api.types.is_numeric_dtype(column):
        raise InvalidUnits(
            f"{subject}: metric {metric!r} is of type {column.dtype}, not numeric; convert it"
        )
    gaps = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if bool(gaps.any()):
        raise InvalidUnits(
            f"{subject}: metric {metric!r} is missing or infinite for {int(gaps.sum()):,} of "
            f"{len(units):,} units, first {units.loc[gaps, 'unit_id'].iloc[0]!r}; "
            "write 0 where a unit did nothing"
        )


def _sample_ratio(experiment: Experiment, observed: dict[str, int]) -> SampleRatio:
    planned = {variant.name: variant.weight for variant in experiment.variants}
    counts, shares = list(observed.values()), list(planned.values())
    return SampleRatio(
        p=sample_ratio_p_value(counts, shares),
        planned=planned,
        observed=observed,
        deviation=sample_ratio_deviation(counts, shares),
    )


def _reason(split: SampleRatio, healthy: bool) -> str:
    figures = f"p {split.p:.2g}, largest deviation {split.deviation:.2%} of a variant's plan"
    if healthy:
        return f"sample ratio as planned ({figures})"
    total = sum(split.observed.values())
    seen = ", ".join(
        f"{name} {count:,} of {split.planned[name] * total:,.0f} planned"
        for name, count in split.observed.items()
    )
    return (
        f"sample ratio broken: {seen} ({figures}); assignment or logging is at fault, so no effect "
        "is shown; find which units are missing before reading any metric"
    )


def _effects(
    experiment: Experiment, units: pd.DataFrame, metrics: Sequence[str], confidence: float
) -> dict[str, dict[str, Effect]]:
    members = {
        variant.name: (units["variant"] == variant.name).to_numpy()
        for variant in experiment.variants
    }
    effects: dict[str, dict[str, Effect]] = {}
    for metric in metrics:
        values = units[metric].to_numpy(dtype=np.float64)
        arms = {name: Moments.from_values(values[member]) for name, member in members.items()}
        control = arms[experiment.control]
        effects[metric] = {
            name: _effect(arm, control, confidence)
            for name, arm in arms.items()
            if name != experiment.control
        }
    return effects


def _effect(treatment: Moments, control: Moments, confidence: float) -> Effect:
    try:
        absolute = difference(treatment, control, confidence)
        share = relative(treatment, control, confidence)
    except TooLittleData as refusal:
        return Effect(mean=treatment.mean, control_mean=control.mean, refused=str(refusal))
    return Effect(
        mean=treatment.mean,
        control_mean=control.mean,
        difference=absolute.estimate,
        low=absolute.low,
        high=absolute.high,
        p=absolute.p,
        relative=share.estimate,
        relative_low=share.low,
        relative_high=share.high,
    )


def _in_words(effect: Effect, show: Callable[[float], str], confidence: float) -> str:
    if effect.difference is None or effect.low is None or effect.high is None or effect.p is None:
        return f"no comparison, {effect.refused}"
    words = (
        f"{_signed(effect.difference, show)} ({confidence * 100:.4g} % interval "
        f"{_signed(effect.low, show)} to {_signed(effect.high, show)}, p {effect.p:.2g})"
    )
    if effect.relative is not None:
        words += f", {effect.relative:+.1%}"
        if effect.relative_low is None or effect.relative_high is None:
            words += " with no bound to give: the control's mean may be zero"
        else:
            words += f" ({effect.relative_low:+.1%} to {effect.relative_high:+.1%})"
    if effect.low <= 0 <= effect.high:
        words += "; chance alone can explain this difference"
    return words


def _signed(amount: float, show: Callable[[float], str]) -> str:
    return f"+{show(amount)}" if amount > 0 else show(amount)


def _number(amount: float) -> str:
    return f"{amount:,.4g}"

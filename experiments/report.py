"""The report of an experiment: what did each variant change, and may the figures be believed?

Every unit counts in the variant it was assigned, whether or not it saw anything (intention to
treat). An unhealthy report says why and shows no effect: a figure from a broken split would be
read all the same. A comparison with too little data says so in `refused` and has no figures.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import numpy as np
import pandas as pd

from experiments.analysis import (
    Always,
    AtLook,
    Early,
    Once,
    Plan,
    UnitFrame,
    effects,
    summed,
    unbalanced,
    with_adjusted,
)
from experiments.contamination import Contamination
from experiments.design import Experiment, check, content_hash
from experiments.effect import Effect, in_words
from experiments.event_faults import EventFaults
from experiments.first_crossing import Stagewise
from experiments.health import Health, Place, SampleRatio, health_of, sample_ratio
from experiments.lock import exploratory_metrics
from experiments.looks import Look
from experiments.metrics import Column, Mean, Metric, columns
from experiments.non_inferiority import Guarded, guarded, guardrail_words
from experiments.novelty import Novelty
from experiments.offer_table import OfferTable
from experiments.outliers import TopFew, outlier_warnings, top_few
from experiments.over_time import OverTime
from experiments.plan import Guardrail
from experiments.sample_ratio_sequence import SampleRatioSequence
from experiments.verdict import Verdict
from experiments.who_gained import WhoGained
from foundation.errors import RegularsError
from foundation.money import MINOR_PER_MAJOR

# What an always-valid sequence is tuned for where the plan names no number of units; any number
# will do that was fixed before the start.
USUAL_UNITS = 10_000.0


class InvalidUnits(RegularsError):
    """The units do not fit the experiment, or a metric has gaps."""


class Report(msgspec.Struct, frozen=True):
    """An experiment's result; `metrics` is {metric: {variant: effect}}, empty when unhealthy.

    `exploratory` are the metrics shown that are not in the plan, `money` those in minor units.
    `crossed` has the variants that crossed a boundary of a group sequential plan by the look that
    decided, their effects corrected for the looks. What has figures of effects (`guardrails` to
    `offer_table`) is empty when unhealthy as well; `health` says why, and `places` are the worst
    places of the split, the worst first. `novelty`, `offer_table`, and rows of `who_gained` that
    say so are exploratory: they decide nothing. What a job did not compute is None or empty.
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
    money: list[str] = msgspec.field(default_factory=list[str])
    health: Health | None = None
    sequence: SampleRatioSequence | None = None
    places: list[Place] = msgspec.field(default_factory=list[Place])
    contamination: Contamination | None = None
    top_few: list[TopFew] = msgspec.field(default_factory=list[TopFew])
    event_faults: EventFaults | None = None
    verdict: Verdict | None = None
    crossed: dict[str, Stagewise] = msgspec.field(default_factory=dict[str, Stagewise])
    guardrails: list[Guarded] = msgspec.field(default_factory=list[Guarded])
    over_time: OverTime | None = None
    novelty: list[Novelty] = msgspec.field(default_factory=list[Novelty])
    who_gained: WhoGained | None = None
    offer_table: OfferTable | None = None


def analyse(
    experiment: Experiment,
    units: pd.DataFrame,
    metrics: Sequence[str] | Mapping[str, Metric],
    confidence: float = 0.95,
    look: Look | None = None,
    ended: bool = True,
    money: Collection[str] = (),
    faults: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Report:
    """Compare every other variant with the control on every metric, by the method of the plan.

    p-values are adjusted by Holm over the variants of the primary metric, which decides, and by
    Benjamini and Hochberg over all comparisons of the others. Guardrails are held against their
    margins, see `guarded`.

    Args:
        experiment: The design the units were assigned by.
        units: One row per assigned unit: unit_id, variant, and one numeric column a metric, 0
            where a unit did nothing.
        metrics: What to compare, by name; a name alone is the mean of its column. Means are capped
            as the plan says.
        confidence: Of every interval.
        look: The look of a group sequential plan that the units are as of; None is before the
            first.
        ended: Whether the end of a plan that judges once has come; before it nothing is judged.
        money: The metrics that are minor units of money; the plan's figures of them are decimals.
        faults: What else is known to be broken: no effect is shown.
        warnings: What to bear in mind with the effects.

    Raises:
        InvalidDesign: The experiment breaks a rule of `check`.
        InvalidUnits: A column is missing, a unit appears twice, a variant is unknown or was seen
            by nobody, or a metric has gaps or is not numeric.
    """
    check(experiment)
    if not isinstance(metrics, Mapping):
        metrics = {name: Mean(Column(name)) for name in metrics}
    _check_units(experiment, units, metrics)
    observed = {
        variant.name: int(np.count_nonzero(units["variant"] == variant.name))
        for variant in experiment.variants
    }
    split = sample_ratio(
        observed, {variant.name: variant.weight for variant in experiment.variants}
    )
    primary = metrics.get(experiment.primary_metric)
    largest = top_few(primary.column.name, units) if isinstance(primary, Mean) else []
    outliers = outlier_warnings(largest, experiment.outlier_cap is not None)
    found = [*faults, *_unbalanced_before(experiment, units, metrics)]
    health = health_of(split, found, [*warnings, *outliers])
    report = Report(
        key=experiment.key,
        design=content_hash(experiment),
        unit=experiment.unit,
        control=experiment.control,
        confidence=confidence,
        units=observed,
        sample_ratio=split,
        healthy=health.healthy,
        reason=health.reason,
        metrics={},
        money=[name for name in metrics if name in money],
        health=health,
        top_few=largest,
    )
    if not health.healthy:
        return report
    comparing = _Comparing(experiment, units, metrics, planned_looks(experiment, look, ended))
    return msgspec.structs.replace(
        report,
        metrics=comparing.adjusted(confidence),
        exploratory=exploratory_metrics(experiment, metrics),
        guardrails=guarded(
            [_in_data_units(one, money) for one in experiment.guardrails],
            comparing.treatments,
            comparing.guardrails,
            confidence,
        ),
    )


def minimum_effect(plan: Experiment, money: Collection[str]) -> float | None:
    """Return the plan's smallest effect worth acting on, in the data's unit."""
    effect = plan.minimum_effect
    if effect is None or plan.primary_metric not in money:
        return effect
    return effect * MINOR_PER_MAJOR


def summary_lines(
    report: Report,
    currency_show: Callable[[float], str],
    money_metrics: Collection[str] = ("margin",),
) -> list[str]:
    """Return the report as people read it, a line a statement, the verdict first.

    Args:
        report: As `analyse` returned it.
        currency_show: Shows an amount of minor units, for example `Currency.show`.
        money_metrics: The metrics that are minor units of money; others are shown as numbers.
    """
    counted = ", ".join(f"{count:,} in {name}" for name, count in report.units.items())
    lines = [f"experiment {report.key}: {report.unit}s {counted}"]
    if report.verdict is not None:
        lines.append(f"verdict: {report.verdict.action}, {report.verdict.why}")
    lines.append(report.reason)
    if report.health is not None:
        lines += [f"beware: {warning}" for warning in report.health.warnings]
    for metric, by_variant in report.metrics.items():
        show = currency_show if metric in money_metrics else _number
        stamp = " (exploratory, not in the plan)" if metric in report.exploratory else ""
        for variant, effect in by_variant.items():
            lines.append(
                f"{metric} per {report.unit}{stamp}, {variant} {show(effect.mean)} against "
                f"{report.control} {show(effect.control_mean)}: "
                f"{in_words(effect, show, report.confidence)}"
            )
    primary = next(iter(report.metrics), "")
    show = currency_show if primary in money_metrics else _number
    for variant, one in report.crossed.items():
        lines.append(
            f"{primary} of {variant} crossed its boundary at look {one.look}; corrected for the "
            f"looks it adds {show(one.difference)} ({show(one.low)} to {show(one.high)})"
        )
    for one in report.guardrails:
        show = currency_show if one.metric in money_metrics else _number
        lines.append(guardrail_words(one, show))
    return lines + _gained_lines(report, currency_show, money_metrics)


def _gained_lines(
    report: Report, currency_show: Callable[[float], str], money_metrics: Collection[str]
) -> list[str]:
    """Return the segments that surely gained or lost; the rest is for the picture."""
    gained = report.who_gained
    if gained is None:
        return []
    show = currency_show if gained.metric in money_metrics else _number
    lines = [
        f"{gained.metric} in {row.segmentation} {row.segment}"
        f"{' (exploratory)' if row.exploratory else ''}, {row.variant}: "
        f"{in_words(row.effect, show, report.confidence)}"
        for row in gained.rows
        if row.effect.p_adjusted is not None and row.effect.p_adjusted < 1 - report.confidence
    ]
    if gained.rows and not lines:
        lines.append(f"no segment surely gained or lost, of {len(gained.rows)} compared")
    return lines if gained.refused is None else [*lines, f"segments: {gained.refused}"]


def _check_units(
    experiment: Experiment, units: pd.DataFrame, metrics: Mapping[str, Metric]
) -> None:
    subject = f"experiment {experiment.key!r}"
    measured = list(dict.fromkeys(c.name for metric in metrics.values() for c in columns(metric)))
    missing = [name for name in ("unit_id", "variant", *measured) if name not in units.columns]
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
    for name in measured:
        _check_metric(subject, units, name)


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


def planned_looks(experiment: Experiment, look: Look | None = None, ended: bool = True) -> Plan:
    """Return how often, and when, a plan looks.

    Args:
        experiment: With the plan.
        look: The newest of a group sequential plan.
        ended: Whether the end of a plan that judges once has come.
    """
    stop = experiment.stop
    if experiment.method == "sequential":
        return Always(sequence_units(experiment))
    if experiment.method in ("obrien-fleming", "pocock"):
        looks = 1 if stop is None or stop.looks is None else stop.looks
        spending = "pocock" if experiment.method == "pocock" else "obrien_fleming"
        if look is None:
            return AtLook(0, looks, spending)
        return AtLook(look.number, looks, spending, look.information)
    return Once() if ended else Early(sequence_units(experiment))


def sequence_units(experiment: Experiment) -> float:
    """Return the units that an always-valid sequence of this plan is tuned for."""
    stop = experiment.stop
    return USUAL_UNITS if stop is None or stop.units is None else float(stop.units)


def capped(experiment: Experiment, units: pd.DataFrame, metric: Metric) -> Metric:
    """Return a metric with the plan's cap: a quantile of all these units' values together."""
    level = experiment.outlier_cap
    if level is None or not isinstance(metric, Mean) or metric.column.cap is not None:
        return metric
    values = units[metric.column.name].to_numpy(dtype=np.float64)
    column = Column(metric.column.name, cap=float(np.quantile(values, level)))
    return msgspec.structs.replace(metric, column=column)


class _Comparing:
    """The comparisons of one report: their sums are made once, whatever the confidence."""

    def __init__(
        self,
        experiment: Experiment,
        units: pd.DataFrame,
        metrics: Mapping[str, Metric],
        plan: Plan,
    ) -> None:
        self._experiment = experiment
        self._units = UnitFrame(units)
        self._metrics = {name: capped(experiment, units, one) for name, one in metrics.items()}
        self._sums = summed(self._units, self._metrics)
        self._plan = plan
        self.treatments = [
            one.name for one in experiment.variants if one.name != experiment.control
        ]

    def adjusted(self, confidence: float) -> dict[str, dict[str, Effect]]:
        found = self._effects(self._metrics, confidence)
        deciding = self._experiment.primary_metric
        primary = {name: one for name, one in found.items() if name == deciding}
        others = {name: one for name, one in found.items() if name not in primary}
        told = with_adjusted(primary, "holm") | with_adjusted(others, "benjamini_hochberg")
        return {name: told[name] for name in found}

    def guardrails(self, confidence: float) -> dict[str, dict[str, Effect]]:
        planned = [one.metric for one in self._experiment.guardrails]
        measured = {name: one for name, one in self._metrics.items() if name in planned}
        return self._effects(measured, confidence)

    def _effects(
        self, metrics: Mapping[str, Metric], confidence: float
    ) -> dict[str, dict[str, Effect]]:
        return effects(
            self._units,
            self._sums,
            metrics,
            self._experiment.control,
            self.treatments,
            confidence,
            self._plan,
        )


def _unbalanced_before(
    experiment: Experiment, units: pd.DataFrame, metrics: Mapping[str, Metric]
) -> list[str]:
    """Say which variants differed in a covariate, which chance alone had dealt."""
    frame = UnitFrame(units)
    before: dict[str, Metric] = {
        name: Mean(metric.before)
        for name, metric in metrics.items()
        if isinstance(metric, Mean) and metric.before is not None
    }
    treatments = [v.name for v in experiment.variants if v.name != experiment.control]
    found = effects(frame, summed(frame, before), before, experiment.control, treatments)
    return [line for by_variant in found.values() for line in unbalanced(by_variant)]


def _in_data_units(guardrail: Guardrail, money: Collection[str]) -> Guardrail:
    if guardrail.metric not in money:
        return guardrail
    return msgspec.structs.replace(guardrail, margin=guardrail.margin * MINOR_PER_MAJOR)


def _number(amount: float) -> str:
    return f"{amount:,.4g}"

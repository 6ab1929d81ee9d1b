"""The report of an experiment: what did each variant change, and may the figures be believed?

Every unit counts in the variant it was assigned, whether or not it saw anything (intention to
treat). An unhealthy report says why and shows no effect: a figure from a broken split would be
read all the same. A comparison with too little data says so in `refused` and has no figures.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import pandas as pd

from experiments.analysis import (
    Always,
    AtLook,
    Early,
    Once,
    Plan,
    PlannedUnits,
    UnitFrame,
    effects,
    summed,
    unbalanced,
    unmeasured,
    whole,
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
from experiments.metric_titles import titled
from experiments.metrics import Column, Mean, Metric, columns_before
from experiments.non_inferiority import Guarded, guarded, guardrail_words
from experiments.novelty import Novelty
from experiments.offer_table import OfferTable
from experiments.outliers import TopFew, outlier_warnings
from experiments.over_time import OverTime
from experiments.plan import Guardrail
from experiments.sample_ratio_sequence import SampleRatioSequence
from experiments.unit_checks import check_units
from experiments.verdict import Verdict
from experiments.who_gained import WhoGained
from foundation.money import MINOR_PER_MAJOR

# What an always-valid sequence is tuned for where the plan names no number of units; any number
# will do that was fixed before the start.
USUAL_UNITS = 10_000.0


class Report(msgspec.Struct, frozen=True):
    """An experiment's result; `metrics` is {metric: {variant: effect}}, empty when unhealthy.

    `exploratory` are the metrics shown that are not in the plan, `money` those in minor units.
    `crossed` has the variants that crossed a boundary of a group sequential plan by the look that
    decided, their effects corrected for the looks. What has figures of effects (`guardrails` to
    `by_offer`) is empty when unhealthy as well; `health` says why, and `places` are the worst
    places of the split, the worst first. `novelty`, `offer_table`, and rows of `who_gained` that
    say so are exploratory: they decide nothing; `by_offer` is of single
    offers drawn by chance. What a job did not compute is None or empty.
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
    by_offer: OfferTable | None = None


def analyse(
    experiment: Experiment,
    units: pd.DataFrame | PlannedUnits,
    metrics: Sequence[str] | Mapping[str, Metric],
    confidence: float = 0.95,
    look: Look | None = None,
    ended: bool = True,
    money: Collection[str] = (),
    faults: Sequence[str] = (),
    warnings: Sequence[str] = (),
    caps: Mapping[str, float] | None = None,
    missing: Mapping[str, str] | None = None,
    stratum: str | None = None,
) -> Report:
    """Compare every other variant with the control on every metric, by the method of the plan.

    p-values are adjusted by Holm over the variants of the primary metric, which decides, and by
    Benjamini and Hochberg over all comparisons of the others. Guardrails are held against their
    margins, see `guarded`.

    Args:
        experiment: The design the units were assigned by.
        units: One row per assigned unit: unit_id, variant, and one numeric column a metric, 0
            where a unit did nothing; or where sums of such rows, already checked, come from.
        metrics: What to compare, by name; a name alone is the mean of its column. Means are capped
            as the plan says.
        confidence: Of every interval.
        look: The look of a group sequential plan that the units are as of; None is before the
            first.
        ended: Whether the end of a plan that judges once has come; before it nothing is judged.
        money: The metrics that are minor units of money; the plan's figures of them are decimals.
        faults: What else is known to be broken: no effect is shown.
        warnings: What to bear in mind with the effects.
        caps: The quantile that a metric is capped at, by its name, instead of the plan's.
        missing: Why a metric cannot be measured, by its name: it is refused.
        stratum: The column of strata to post-stratify by, none too small.

    Raises:
        InvalidDesign: The experiment breaks a rule of `check`.
        InvalidUnits: A column is missing, a unit appears twice, a variant is unknown or was seen
            by nobody, or a metric has gaps or is not numeric.
    """
    check(experiment)
    if not isinstance(metrics, Mapping):
        metrics = {name: Mean(Column(name)) for name in metrics}
    if isinstance(units, pd.DataFrame):
        check_units(experiment, units, metrics)
        units = UnitFrame(units)
    comparing = _Comparing(
        experiment,
        units,
        metrics,
        planned_looks(experiment, look, ended),
        caps or {},
        missing or {},
        stratum,
    )
    observed = comparing.observed
    split = sample_ratio(
        observed, {variant.name: variant.weight for variant in experiment.variants}
    )
    primary = metrics.get(experiment.primary_metric)
    largest = units.top_few(primary.column.name) if isinstance(primary, Mean) else []
    outliers = outlier_warnings(
        largest,
        "plan an outlier_cap next time"
        if experiment.outlier_cap is None
        else "the plan's outlier_cap limits it",
    )
    found = [*faults, *unbalanced(comparing.before())]
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
    money_metrics: Collection[str] | None = None,
) -> list[str]:
    """Return the report as people read it, a line a statement, the verdict first.

    Args:
        report: As `analyse` returned it.
        currency_show: Shows an amount of minor units, for example `Currency.show`.
        money_metrics: The metrics that are minor units of money, by their titles if nobody says;
            others are shown as numbers.
    """
    counted = ", ".join(f"{count:,} in {name}" for name, count in report.units.items())
    lines = [f"experiment {report.key}: {report.unit}s {counted}"]
    if report.verdict is not None:
        lines.append(f"verdict: {report.verdict.action}, {report.verdict.why}")
    lines.append(report.reason)
    if report.health is not None:
        lines += [f"beware: {warning}" for warning in report.health.warnings]

    def shown(metric: str) -> Callable[[float], str]:
        money = titled(metric).money if money_metrics is None else metric in money_metrics
        return currency_show if money else _number

    for metric, by_variant in report.metrics.items():
        show = shown(metric)
        each = f" per {report.unit}" if titled(metric).each else ""
        stamp = " (exploratory, not in the plan)" if metric in report.exploratory else ""
        for variant, effect in by_variant.items():
            lines.append(
                f"{metric}{each}{stamp}, {variant} {show(effect.mean)} against "
                f"{report.control} {show(effect.control_mean)}: "
                f"{in_words(effect, show, report.confidence)}"
            )
    primary = next(iter(report.metrics), "")
    show = shown(primary)
    for variant, one in report.crossed.items():
        lines.append(
            f"{primary} of {variant} crossed its boundary at look {one.look}; corrected for the "
            f"looks it adds {show(one.difference)} ({show(one.low)} to {show(one.high)})"
        )
    for one in report.guardrails:
        lines.append(guardrail_words(one, shown(one.metric)))
    return lines + _gained_lines(report, shown) + _single_offer_lines(report, shown)


def _single_offer_lines(
    report: Report, shown: Callable[[str], Callable[[float], str]]
) -> list[str]:
    """Return the offers that surely gained or lost somewhere, or why no offer is told apart."""
    table = report.by_offer
    if table is None:
        return []
    if table.refused is not None:
        return [table.refused]
    surely = [
        cell
        for cell in table.cells
        if cell.effect.p_adjusted is not None and cell.effect.p_adjusted < 1 - report.confidence
    ]
    if not surely:
        return [f"no single offer surely gained or lost, of {len(table.cells)} cells"]
    show = shown(table.metric)
    return [
        f"offer {cell.variant} by {cell.channel} in {cell.segment} (exploratory): "
        f"{in_words(cell.effect, show, report.confidence)}"
        for cell in surely
    ]


def _gained_lines(report: Report, shown: Callable[[str], Callable[[float], str]]) -> list[str]:
    """Return the segments that surely gained or lost; the rest is for the picture."""
    gained = report.who_gained
    if gained is None:
        return []
    show = shown(gained.metric)
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


def capped(level: float | None, units: PlannedUnits, metric: Metric) -> Metric:
    """Return a mean with a cap: a quantile of all these units' values together.

    Args:
        level: Of the quantile; None caps nothing.
        units: Whose values.
        metric: Capped if it is a mean and has no cap yet.
    """
    if level is None or not isinstance(metric, Mean) or metric.column.cap is not None:
        return metric
    column = Column(metric.column.name, cap=units.quantile(metric.column.name, level))
    return msgspec.structs.replace(metric, column=column)


class _Comparing:
    """The comparisons of one report: their sums are made once, whatever the confidence."""

    def __init__(
        self,
        experiment: Experiment,
        units: PlannedUnits,
        metrics: Mapping[str, Metric],
        plan: Plan,
        caps: Mapping[str, float],
        missing: Mapping[str, str],
        stratum: str | None,
    ) -> None:
        self._experiment = experiment
        self._units = units
        self._missing = {name: missing[name] for name in metrics if name in missing}
        self._order = list(metrics)
        self._metrics = {
            name: capped(caps.get(name, experiment.outlier_cap), units, one)
            for name, one in metrics.items()
            if name not in self._missing
        }
        self._before: dict[str, Metric] = {
            column.name: Mean(column)
            for metric in self._metrics.values()
            for column in columns_before(metric)
        }
        # One query for all of them: what was before is part of the metrics' own sums.
        # No metric's name begins with a blank.
        every = self._metrics | {f" {name}": one for name, one in self._before.items()}
        self._sums = summed(units, every, stratum)
        self._plan = plan
        self.treatments = [
            one.name for one in experiment.variants if one.name != experiment.control
        ]

    @property
    def observed(self) -> dict[str, int]:
        """The units of each variant, in the plan's order."""
        sums = next(iter(self._sums.values()), None)
        found = (
            self._units.observed()
            if sums is None
            else {name: int(one.n.sum()) for name, one in sums.items()}
        )
        return {one.name: found.get(one.name, 0) for one in self._experiment.variants}

    def before(self) -> dict[str, dict[str, Effect]]:
        """Return how the variants differed before, which chance alone had dealt."""
        sums = {name: whole(self._sums[f" {name}"]) for name in self._before}
        control = self._experiment.control
        return effects(self._units, sums, self._before, control, self.treatments)

    def adjusted(self, confidence: float) -> dict[str, dict[str, Effect]]:
        found = self._effects(self._metrics, confidence)
        deciding = self._experiment.primary_metric
        primary = {name: one for name, one in found.items() if name == deciding}
        others = {name: one for name, one in found.items() if name not in primary}
        told = with_adjusted(primary, "holm") | with_adjusted(others, "benjamini_hochberg")
        told |= unmeasured(self._missing, self.treatments)
        return {name: told[name] for name in self._order}

    def guardrails(self, confidence: float) -> dict[str, dict[str, Effect]]:
        planned = [one.metric for one in self._experiment.guardrails]
        measured = {name: one for name, one in self._metrics.items() if name in planned}
        left_out = [name for name in self._missing if name in planned]
        refused = unmeasured({name: self._missing[name] for name in left_out}, self.treatments)
        return self._effects(measured, confidence) | refused

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


def _in_data_units(guardrail: Guardrail, money: Collection[str]) -> Guardrail:
    if guardrail.metric not in money:
        return guardrail
    return msgspec.structs.replace(guardrail, margin=guardrail.margin * MINOR_PER_MAJOR)


def _number(amount: float) -> str:
    return f"{amount:,.4g}"

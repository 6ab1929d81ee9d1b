"""A report in words: the decision in money first, then whether it may be believed, then detail.

The HTML page and the console say the same, because both take it from here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from experiments.confidence_sequence import critical_value
from experiments.design import Experiment
from experiments.effect import Effect
from experiments.group_sequential import boundaries
from experiments.metric_titles import Title, chance, titled
from experiments.non_inferiority import Guarded
from experiments.offer_table import OfferTable
from experiments.over_time import Day
from experiments.plan import GROUP_SEQUENTIAL
from experiments.report import Report, sequence_units
from experiments.verdict import Action
from foundation.money import Currency

Tone = Literal["good", "bad", "wait"]

HEADLINES: dict[Action, str] = {
    "ship": "Ship {}",
    "stop": "Stop",
    "continue": "Continue",
}
TONES: dict[Action, Tone] = {"ship": "good", "stop": "bad", "continue": "wait"}
_STANDINGS: dict[str, tuple[str, Tone]] = {
    "holds": ("holds", "good"),
    "broken": ("broken", "bad"),
    "open": ("not proven yet", "wait"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """A figure with its interval, as numbers for a picture and in words; or why there is none."""

    label: str
    words: str
    between: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    tone: Tone = "wait"

    @property
    def drawn(self) -> tuple[float, float, float] | None:
        """Low, value and high, None where there is no figure."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.low, self.value, self.high


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and what it is worth: a line for each variant."""

    headline: str
    why: str
    tone: Tone
    worth: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A variant's effect as of each day, in the data's unit."""

    variant: str
    days: tuple[str, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Boundaries:
    """z by the share of the plan that has come in, by variant, and the z at which looks reject."""

    looks: tuple[float, ...]
    bounds: tuple[float, ...]
    paths: dict[str, tuple[tuple[float, float], ...]]


def decision(report: Report, plan: Experiment, currency: Currency) -> Decision:
    """Return what a report says to do, and what each variant is worth in the primary metric."""
    verdict = report.verdict
    worth = tuple(
        _worth(report, variant, effect, currency)
        for variant, effect in report.metrics.get(plan.primary_metric, {}).items()
    )
    if not report.healthy:
        why = report.reason if verdict is None else verdict.why
        return Decision("Do not read this yet", _sentence(why), "bad", ())
    if verdict is None:
        return Decision("No decision", "Nobody judged this report by its plan.", "wait", worth)
    headline = HEADLINES[verdict.action].format(verdict.variant or "")
    return Decision(headline.strip(), _sentence(verdict.why), TONES[verdict.action], worth)


def metric_lines(report: Report, currency: Currency) -> list[Told]:
    """Return every metric and variant, the primary first as reported."""
    found: list[Told] = []
    for name, by_variant in report.metrics.items():
        title = titled(name)
        stamp = "exploratory, not in the plan" if name in report.exploratory else ""
        for variant, effect in by_variant.items():
            means = (
                f"{variant} {title.value(effect.mean, currency)}, "
                f"{report.control} {title.value(effect.control_mean, currency)}"
            )
            note = f"{means}; {stamp}" if stamp else means
            label = f"{title.of(report.unit)}, {variant}"
            found.append(told_effect(label, effect, title, currency, note))
    return found


def guardrail_lines(report: Report, currency: Currency) -> list[Told]:
    """Return every guardrail in every variant with what it may lose."""
    return [_guardrail(one, titled(one.metric), currency) for one in report.guardrails]


def segment_lines(report: Report, currency: Currency) -> list[Told]:
    """Return the forest plot's rows; adjusted chances say which of many may be believed."""
    gained = report.who_gained
    if gained is None:
        return []
    title = titled(gained.metric)
    rows: list[Told] = []
    several = len({row.variant for row in gained.rows}) > 1
    for row in gained.rows:
        units = sum(row.units.values())
        note = f"{units:,} {report.unit}s" + ("; exploratory" if row.exploratory else "")
        label = f"{row.segmentation}: {row.segment}" + (f", {row.variant}" if several else "")
        rows.append(told_effect(label, row.effect, title, currency, note))
    return rows


def health_lines(report: Report) -> list[str]:
    """Return what is known of the experiment's health, the worst first."""
    health = report.health
    lines = [report.reason] if health is None else [*(health.faults or [report.reason])]
    lines += [] if health is None else health.warnings
    return [_sentence(line) for line in dict.fromkeys(lines)]


def novelty_lines(report: Report, currency: Currency) -> list[Told]:
    """Return how the effect changes from week to week, a line a variant."""
    return [
        told_effect(
            f"Change of the effect a week, {one.variant}",
            one.trend,
            titled(one.metric),
            currency,
            f"{one.units:,} {report.unit}s who had {len(one.weeks)} week(s); exploratory",
        )
        for one in report.novelty
    ]


def offer_lines(report: Report, currency: Currency) -> list[Told]:
    """Return what the offers of each variant added in each channel and segment, in all."""
    return _offer_lines(report, report.offer_table, f"in {report.control}", currency)


def single_offer_lines(report: Report, currency: Currency) -> list[Told]:
    """Return what each offer that was drawn by chance added, beyond who by chance got none."""
    return _offer_lines(report, report.by_offer, "without an offer", currency)


def _offer_lines(
    report: Report, table: OfferTable | None, against: str, currency: Currency
) -> list[Told]:
    if table is None:
        return []
    title = titled(table.metric)
    rows: list[Told] = []
    for cell in table.cells:
        offers = ", ".join(cell.offers) or "all offers"
        named = cell.variant if table is report.by_offer else f"{cell.variant} ({offers})"
        label = f"{named}: {cell.channel}, {cell.segment}"
        note = f"{cell.units:,} {report.unit}s, {cell.control_units:,} {against}"
        each = told_effect(label, cell.effect, title, currency, note)
        total, low, high = cell.incremental, cell.incremental_low, cell.incremental_high
        if total is None or low is None or high is None:
            rows.append(each)
            continue
        p = cell.effect.p_adjusted
        said = "" if p is None else f", adjusted {chance(p)}"
        between = f"{title.change(low, currency)} to {title.change(high, currency)}{said}"
        words = title.change(total, currency)
        rows.append(Told(label, words, between, total, low, high, note, each.tone))
    return rows


def curves(report: Report) -> list[Curve]:
    """Return the effect as of each day, a curve a variant.

    Days without a figure are left out, and so is a variant with fewer than two days that have one.
    """
    if report.over_time is None:
        return []
    found: dict[str, list[tuple[str, float, float, float]]] = {}
    for day in report.over_time.days:
        effect = day.effect
        if effect.difference is None or effect.low is None or effect.high is None:
            continue
        point = (day.day, effect.difference, effect.low, effect.high)
        found.setdefault(day.variant, []).append(point)
    return [
        Curve(
            variant,
            tuple(day for day, _, _, _ in points),
            tuple(value for _, value, _, _ in points),
            tuple(low for _, _, low, _ in points),
            tuple(high for _, _, _, high in points),
        )
        for variant, points in found.items()
        if len(points) > 1
    ]


def cumulative_boundaries(report: Report, plan: Experiment) -> Boundaries | None:
    """Return the path of z under a group sequential plan's boundaries; None without such a plan.

    z is taken from the always-valid interval of each day, whose reach in standard errors is known.
    """
    stop = plan.stop
    over = report.over_time
    if (
        over is None
        or not over.days
        # The boundaries judge the primary metric and no other.
        or over.metric != plan.primary_metric
        or plan.method not in GROUP_SEQUENTIAL
        or stop is None
        or stop.looks is None
    ):
        return None
    looks = tuple(number / stop.looks for number in range(1, stop.looks + 1))
    spending = "pocock" if plan.method == "pocock" else "obrien_fleming"
    bounds = tuple(boundaries(looks, 1 - report.confidence, spending).tolist())
    paths: dict[str, list[tuple[float, float]]] = {}
    order = {day: place for place, day in enumerate(_calendar(over.days))}
    for day in over.days:
        z = _z(day, sequence_units(plan), 1 - report.confidence)
        shares: list[float] = []
        if stop.days is not None:
            shares.append((order[day.day] + 1) / stop.days)
        if stop.units is not None:
            shares.append(day.units / stop.units)
        if z is not None and shares:
            paths.setdefault(day.variant, []).append((min(max(shares), 1.0), z))
    return Boundaries(looks, bounds, {name: tuple(path) for name, path in paths.items()})


def told_effect(label: str, effect: Effect, title: Title, currency: Currency, note: str) -> Told:
    """Return an effect as a figure in words, or why there is none."""
    if effect.difference is None or effect.low is None or effect.high is None:
        return Told(label, _sentence(f"no comparison: {effect.refused}"), note=note)
    p = effect.p if effect.p_adjusted is None else effect.p_adjusted
    adjusted = effect.p_adjusted is not None and effect.p_adjusted != effect.p
    said = "" if p is None else f", {'adjusted ' if adjusted else ''}{chance(p)}"
    words = title.change(effect.difference, currency) + _share(effect)
    between = f"{title.change(effect.low, currency)} to {title.change(effect.high, currency)}{said}"
    tone: Tone = "wait"
    if p is not None and not effect.low <= 0 <= effect.high:
        tone = "good" if (effect.difference > 0) == (title.better == "higher") else "bad"
    return Told(label, words, between, effect.difference, effect.low, effect.high, note, tone)


def meaning(effect: Effect) -> str:
    """Say whether chance alone can explain a difference."""
    if effect.p is None:
        return "Nothing is judged yet; this interval stays right however often one looks."
    p = chance(effect.p)
    if effect.low is not None and effect.high is not None and effect.low <= 0 <= effect.high:
        return f"Chance alone can explain this difference ({p})."
    return f"Chance alone is an unlikely explanation ({p})."


def _worth(report: Report, variant: str, effect: Effect, currency: Currency) -> Told:
    """Say what a variant has brought in all, to those who got it so far."""
    name = next(name for name, by in report.metrics.items() if by.get(variant) is effect)
    title, units = titled(name), report.units[variant]
    each = told_effect(variant, effect, title, currency, "")
    if effect.difference is None or effect.low is None or effect.high is None:
        return each
    total, low, high = (units * x for x in (effect.difference, effect.low, effect.high))
    note = f"{each.words} a {report.unit} ({each.between}), times {units:,} {report.unit}s in it"
    # What is no figure a unit, such as the average basket, adds up to nothing.
    if not title.money or not title.each:
        return Told(
            variant, each.words, each.between, each.value, each.low, each.high, "", each.tone
        )
    between = f"{title.change(low, currency)} to {title.change(high, currency)}"
    words = f"{title.change(total, currency)} {title.title.lower()} so far"
    return Told(variant, words, between, total, low, high, note, each.tone)


def _guardrail(one: Guarded, title: Title, currency: Currency) -> Told:
    said, tone = _STANDINGS[one.standing]
    margin = title.change(one.margin, currency)
    label = f"{title.title}, {one.variant}"
    note = f"{said}; may change by {margin} at worst"
    if one.difference is None or one.low is None or one.high is None:
        return Told(label, _sentence(f"no comparison: {one.refused}"), note=note, tone=tone)
    between = f"{title.change(one.low, currency)} to {title.change(one.high, currency)}"
    words = title.change(one.difference, currency)
    return Told(label, words, between, one.difference, one.low, one.high, note, tone)


def _share(effect: Effect) -> str:
    return "" if effect.relative is None else f" ({effect.relative:+.1%})"


def _calendar(days: Sequence[Day]) -> list[str]:
    """Return every date from the first day to the last: a curve may skip some."""
    first, last = (date.fromisoformat(days[place].day) for place in (0, -1))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _z(day: Day, planned_n: float, alpha: float) -> float | None:
    effect = day.effect
    if effect.difference is None or effect.low is None or effect.high is None:
        return None
    error = (effect.high - effect.low) / 2 / float(critical_value(day.units, planned_n, alpha))
    return effect.difference / error if error > 0 and math.isfinite(error) else None


def _sentence(words: str) -> str:
    told = f"{words[:1].upper()}{words[1:]}"
    return told if told.endswith((".", "!")) else f"{told}."

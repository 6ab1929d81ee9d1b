"""What the offers earned: who is compared, is the split sound, what did each variant change?"""

from collections.abc import Callable
from dataclasses import dataclass

from experiments.effect import Effect
from experiments.report import Report
from foundation.money import Currency
from serving.console.desk import Desk, Trial
from serving.console.interval import interval, scale_around
from serving.console.markup import box, notice, text
from serving.console.wording import POLICIES, chance, moment


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is called, and how its values and differences are said."""

    title: str
    money: bool
    value: Callable[[float, Currency], str]
    change: Callable[[float, Currency], str]


def _signed(number: str, amount: float) -> str:
    return f"+{number}" if amount > 0 else number


def _money(amount: float, currency: Currency) -> str:
    return currency.show(amount)


def _number(amount: float, _: Currency) -> str:
    return f"{amount:,.4g}"


def _percent(share: float, _: Currency) -> str:
    return f"{share:.1%}"


def _points(share: float, _: Currency) -> str:
    return _signed(f"{100 * share:.1f} points", share)


def _plain(title: str) -> Metric:
    return Metric(title, False, _number, lambda a, c: _signed(_number(a, c), a))


METRICS: dict[str, Metric] = {
    "margin": Metric("Margin", True, _money, lambda a, c: _signed(_money(a, c), a)),
    "orders": _plain("Orders"),
    "redeemed": Metric("Redeemed an offer", False, _percent, _points),
}


def draw_trial(found: Trial, desk: Desk) -> None:
    """Draw the card's body."""
    design = found.design
    with box("p", "lead"):
        text("strong", design.key)
        if found.stopped_at is None:
            text("span", "running", "tag")
            text("span", f" since {moment(found.started_at, desk.zone)}.")
        else:
            text("span", "stopped", "tag off")
            text("span", f" {moment(found.started_at, desk.zone)} to ")
            text("span", f"{moment(found.stopped_at, desk.zone)}.")
    if design.hypothesis:
        text("p", f"Hypothesis: {design.hypothesis}.", "verdict")
    with box("div", "trial"):
        with box("div"):
            _variants(found)
            _assumptions(found)
        with box("div"):
            if found.report is None:
                notice(found.refused or "")
            elif not found.report.healthy:
                notice(f"{found.report.reason[:1].upper()}{found.report.reason[1:]}.", "alarm")
            else:
                for name, effects in found.report.metrics.items():
                    for variant, effect in effects.items():
                        _effect(found.report, name, variant, effect, desk.currency)


def _variants(found: Trial) -> None:
    text("h3", "Who is compared")
    report = found.report
    total = sum(report.units.values()) if report else 0
    with box("ul", "variants"):
        for variant in found.design.variants:
            units = report.units[variant.name] if report else 0
            with box("li", data_variant=variant.name):
                with box("div", "words"):
                    with box("span"):
                        text("span", variant.name, "name")
                        if variant.name == found.design.control:
                            text("span", "control", "soft")
                    with box("span", "figure"):
                        text("span", f"{units:,}", "count")
                        if total:
                            text("span", f"{units / total:.1%}", "soft share")
                with box("div", "track", aria_hidden="true"):
                    width = 100 * units / total if total else 0
                    box("div", "fill fill-plain").style(f"width:{width:.2f}%")
                    # Where the plan ends, to be seen beside where the count does.
                    box("div", "planned").style(f"left:{100 * variant.weight:.2f}%")
                policy = variant.policy or "response"
                words = "no offers" if variant.offers == [] else POLICIES.get(policy, policy)
                text("p", f"gets {words}; {variant.weight:.0%} planned", "soft sentence")
    if report:
        with box("p", "ratio"):
            good = report.healthy
            text("span", "split sound" if good else "split broken", "tag" if good else "tag bad")
            text("span", f"sample ratio {chance(report.sample_ratio.p)}", "soft")


def _effect(report: Report, name: str, variant: str, effect: Effect, currency: Currency) -> None:
    metric = METRICS.get(name) or _plain(name)
    mean = metric.value(effect.mean, currency)
    control = metric.value(effect.control_mean, currency)
    with box("article", "effect", data_metric=name, data_variant=variant):
        with box("div", "words"):
            with box("h3"):
                text("span", f"{metric.title} per {report.unit}")
                if metric.money:
                    text("span", "assumed", "tag assumed")
            if effect.difference is not None:
                text("span", metric.change(effect.difference, currency), "figure headline")
        text("p", f"{variant} {mean}, {report.control} {control}", "soft")
        if effect.difference is None or effect.low is None or effect.high is None:
            notice(f"No comparison: {effect.refused}.")
            return
        low, high = metric.change(effect.low, currency), metric.change(effect.high, currency)
        between = f"{100 * report.confidence:.4g} % interval {low} to {high}"
        interval(
            scale_around(0, effect.low, effect.high),
            effect.difference,
            effect.low,
            effect.high,
            said=f"{metric.title}: {metric.change(effect.difference, currency)}, {between}",
            marks=((0, "0"),),
            line=0,
            tone="dim" if effect.low <= 0 <= effect.high else "",
        )
        text("p", f"{between}{_share(effect)}. {_meaning(effect)}", "small")


def _share(effect: Effect) -> str:
    if effect.relative is None:
        return ""
    words = f"; {effect.relative:+.1%}"
    if effect.relative_low is not None and effect.relative_high is not None:
        words += f" ({effect.relative_low:+.1%} to {effect.relative_high:+.1%})"
    return words


def _meaning(effect: Effect) -> str:
    p = chance(effect.p) if effect.p is not None else ""
    if effect.low is not None and effect.high is not None and effect.low <= 0 <= effect.high:
        return f"Chance alone can explain this difference ({p})."
    return f"Chance alone is an unlikely explanation ({p})."


def _assumptions(found: Trial) -> None:
    if not found.money_rests_on and not found.assumed:
        return
    with box("aside", "assumptions"):
        if found.money_rests_on:
            with box("p"):
                text("span", "assumed", "tag assumed")
                text("span", "Every figure in money here rests on this:")
            with box("ul"):
                for statement in found.money_rests_on:
                    text("li", statement)
        if found.assumed:
            text("p", "Also assumed of these data:", "soft")
            with box("ul", "soft"):
                for statement in found.assumed:
                    text("li", statement)

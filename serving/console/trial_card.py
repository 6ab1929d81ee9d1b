"""What the offers earned: who is compared, is the split sound, what did each variant change?"""

from urllib.parse import quote

from experiments.effect import Effect
from experiments.holdout import HOLDOUT
from experiments.metric_titles import chance, titled
from experiments.report import Report
from experiments.report_words import (
    curves,
    decision,
    guardrail_lines,
    health_lines,
    meaning,
    novelty_lines,
    segment_lines,
)
from foundation.access import User
from foundation.decision import Policy
from foundation.money import Currency
from serving.console.desk import Desk, Trial
from serving.console.effect_chart import effect_chart
from serving.console.interval import interval, scale_around
from serving.console.markup import box, notice, text
from serving.console.told_rows import told_rows
from serving.console.wording import POLICIES, moment


def draw_trial(found: Trial, desk: Desk, user: User) -> None:
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
    if found.stopped_at is None and design.key != HOLDOUT and user.may("marketer"):
        _stop(design.key)
    if design.hypothesis:
        text("p", f"Hypothesis: {design.hypothesis}.", "verdict")
    if found.report is not None:
        _decision(found.report, found, desk.currency)
    with box("div", "trial"):
        with box("div"):
            _variants(found)
            _assumptions(found)
        with box("div"):
            if found.report is None:
                notice(found.refused or "")
            elif not found.report.healthy:
                notice("\n".join(health_lines(found.report)), "alarm")
            else:
                _detail(found.report, desk.currency)


def _stop(key: str) -> None:
    with box("details", "act"):
        text("summary", "Stop this experiment")
        with box("form", method="post", action=f"/experiments/{quote(key, safe='')}/stop"):
            text("p", "Nobody is assigned any more; it cannot be started again.", "soft small")
            text("button", "Stop it now", type="submit")


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
                named = variant.policy or "response"
                policy = named.kind if isinstance(named, Policy) else named
                words = "no offers" if variant.offers == [] else POLICIES.get(policy, policy)
                text("p", f"gets {words}; {variant.weight:.0%} planned", "soft sentence")
    if report:
        with box("p", "ratio"):
            good = report.healthy
            text("span", "split sound" if good else "split broken", "tag" if good else "tag bad")
            text("span", f"sample ratio {chance(report.sample_ratio.p)}", "soft")
        warnings = [] if report.health is None else report.health.warnings
        with box("ul", "soft small warnings"):
            for warning in warnings:
                text("li", f"{warning[:1].upper()}{warning[1:]}.")


def _decision(report: Report, found: Trial, currency: Currency) -> None:
    told = decision(report, found.design, currency)
    with box("div", f"decision {told.tone}"):
        text("h3", told.headline, "headline")
        text("p", told.why)
        for one in told.worth:
            text("p", f"{one.label}: {one.words}", "name")
            if one.between:
                text("p", f"{100 * report.confidence:.4g} % interval {one.between}", "small")
            if one.note:
                text("p", one.note, "soft small")


def _detail(report: Report, currency: Currency) -> None:
    for name, effects in report.metrics.items():
        for variant, effect in effects.items():
            _effect(report, name, variant, effect, currency)
    if report.over_time is not None:
        for curve in curves(report):
            effect_chart(curve, titled(report.over_time.metric), currency)
    told_rows("What may not get worse", guardrail_lines(report, currency), "guardrails")
    told_rows("Who gained", segment_lines(report, currency), "segments")
    told_rows("Does it last?", novelty_lines(report, currency), "novelty")


def _effect(report: Report, name: str, variant: str, effect: Effect, currency: Currency) -> None:
    metric = titled(name)
    mean = metric.value(effect.mean, currency)
    control = metric.value(effect.control_mean, currency)
    with box("article", "effect", data_metric=name, data_variant=variant):
        with box("div", "words"):
            with box("h3"):
                text("span", metric.of(report.unit))
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
        text("p", f"{between}{_share(effect)}. {meaning(effect)}", "small")


def _share(effect: Effect) -> str:
    if effect.relative is None:
        return ""
    words = f"; {effect.relative:+.1%}"
    if effect.relative_low is not None and effect.relative_high is not None:
        words += f" ({effect.relative_low:+.1%} to {effect.relative_high:+.1%})"
    return words


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

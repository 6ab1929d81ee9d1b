"""A report as one file of HTML: no script, no network, whatever names it holds.

A finance director reads the decision in money first, then whether it may be believed, then detail.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.design import Experiment
from experiments.drawings import boundaries_drawing, curve_drawing, forest
from experiments.metric_titles import titled
from experiments.report import Report
from experiments.report_words import (
    cumulative_boundaries,
    curves,
    decision,
    guardrail_lines,
    health_lines,
    metric_lines,
    novelty_lines,
    offer_lines,
    segment_lines,
    single_offer_lines,
)
from foundation.money import Currency

TEMPLATES = Path(__file__).with_name("templates")


def environment() -> Environment:
    """Return what renders the templates: every value is escaped, a missing one is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def report_page(
    report: Report,
    plan: Experiment,
    started_at: datetime,
    stopped_at: datetime | None,
    made_at: datetime,
    currency: Currency,
    assumptions: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        report: As the job made it.
        plan: As locked.
        started_at, stopped_at, made_at: Instants, told as they are: convert them to the zone that
            people read.
        currency: Of the deployment.
        assumptions: What the figures rest on.
    """
    primary = titled(plan.primary_metric)
    bounds = cumulative_boundaries(report, plan)
    segments = segment_lines(report, currency)
    curved = titled(plan.primary_metric if report.over_time is None else report.over_time.metric)
    added = titled(plan.primary_metric if report.offer_table is None else report.offer_table.metric)

    def change(value: float) -> str:
        return primary.change(value, currency)

    def curve_change(value: float) -> str:
        return curved.change(value, currency)

    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            plan=plan,
            primary=primary.title.lower(),
            deciding=primary.of(plan.unit).lower(),
            curved=curved.title.lower(),
            added=added.title.lower(),
            started=_day(started_at),
            stopped=None if stopped_at is None else _day(stopped_at),
            made=f"{_day(made_at)}, {made_at:%H:%M %Z}",
            decision=decision(report, plan, currency),
            health=health_lines(report),
            curves=[
                (curve.variant, curve_drawing(curve, curve_change)) for curve in curves(report)
            ],
            boundaries=None if bounds is None else boundaries_drawing(bounds),
            guardrails=guardrail_lines(report, currency),
            segments=forest(segments, change) if segments else None,
            gained=report.who_gained,
            offers=offer_lines(report, currency),
            offer_table=report.offer_table,
            single_offers=single_offer_lines(report, currency),
            by_offer=report.by_offer,
            metrics=metric_lines(report, currency),
            novelty=novelty_lines(report, currency),
            assumptions=list(assumptions),
        )
    )


def _day(instant: datetime) -> str:
    return f"{instant.day} {instant:%b %Y}"

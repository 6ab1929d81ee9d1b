"""The overview of all experiments as one file of HTML."""

from collections.abc import Sequence
from datetime import datetime

from experiments.drawings import forest
from experiments.metric_titles import METRICS
from experiments.programme import MARGIN, Programme
from experiments.programme_words import entry_lines, programme_lines
from experiments.report_page import environment
from experiments.report_words import Told
from foundation.money import Currency


def programme_page(
    found: Programme, made_at: datetime, currency: Currency, assumptions: Sequence[str] = ()
) -> str:
    """Return the page.

    Args:
        found: The overview.
        made_at: Told as it is: convert it to the zone that people read.
        currency: Of the deployment.
        assumptions: What the figures rest on.
    """
    rows = entry_lines(found, currency)
    drawn = [
        Told(
            row.key,
            row.words,
            row.between,
            row.amount.value,
            row.amount.low,
            row.amount.high,
            row.state,
        )
        for row in rows
        if row.amount is not None
    ]
    return (
        environment()
        .get_template("overview.html")
        .render(
            made=f"{made_at.day} {made_at:%b %Y}, {made_at:%H:%M %Z}",
            lines=programme_lines(found, currency),
            rows=rows,
            drawing=forest(drawn, lambda v: METRICS[MARGIN].change(v, currency)) if drawn else None,
            assumptions=list(assumptions),
        )
    )

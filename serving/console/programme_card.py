"""What all experiments brought together, and each of them: the newest first."""

from experiments.programme import Programme
from experiments.programme_words import Line, Row, entry_lines, programme_lines
from serving.console.desk import Desk
from serving.console.interval import Scale, interval, scale_around
from serving.console.markup import box, text
from serving.console.told_rows import TAGS


def draw_programme(found: Programme, desk: Desk) -> None:
    """Draw the card's body."""
    with box("div", "trial"):
        with box("div"):
            for line in programme_lines(found, desk.currency):
                _sum(line)
        with box("div"):
            text("h3", "Every experiment")
            rows = entry_lines(found, desk.currency)
            ends = [end for row in rows if row.amount for end in (row.amount.low, row.amount.high)]
            for row in rows:
                _row(row, scale_around(0.0, *ends))
            if not rows:
                text("p", "There is none yet beside the holdout.", "soft")


def _sum(line: Line) -> None:
    with box("div", "told-row"):
        text("p", line.label, "soft")
        text("p", line.words, "figure headline")
        if line.between:
            text("p", line.between, "small")
        if line.note:
            text("p", line.note, "soft small")


def _row(row: Row, scale: Scale) -> None:
    with box("article", "told-row", data_experiment=row.key):
        with box("div", "words"):
            with box("span"):
                text("span", row.key, "name")
                text("span", row.decision, TAGS[row.tone])
            text("span", row.words if row.amount else "", "figure")
        if row.amount:
            interval(
                scale,
                row.amount.value,
                row.amount.low,
                row.amount.high,
                said=f"{row.key}: {row.words}, 95 % interval {row.between}",
                marks=((0, "0"),),
                line=0,
                tone="dim" if row.amount.low <= 0 <= row.amount.high else "",
            )
            text("p", f"95 % interval {row.between}", "small")
        else:
            text("p", row.words, "sentence")
        text("p", f"{row.state}; {row.why}" if row.why else row.state, "soft small")

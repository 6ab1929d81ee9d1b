"""Rows of figures with their intervals: guardrails, segments, trends."""

from collections.abc import Sequence

from experiments.report_words import Told, Tone
from serving.console.interval import Scale, interval, scale_around
from serving.console.markup import box, text

# How a tone looks as a tag and as an interval.
TAGS: dict[Tone, str] = {"good": "tag", "bad": "tag bad", "wait": "tag assumed"}


def told_rows(title: str, rows: Sequence[Told], kind: str, *, alike: bool = True) -> None:
    """Add a part of the card with a row each; nothing without rows.

    Args:
        title: Its heading.
        rows: What it says.
        kind: The part's name in the page.
        alike: Whether all are of one metric, and so on one scale.
    """
    if not rows:
        return
    every = [end for row in rows for end in row.drawn or ()]
    with box("div", "told", data_part=kind):
        text("h3", title)
        for row in rows:
            _row(row, scale_around(0.0, *(every if alike else row.drawn or ())))


def _row(row: Told, scale: Scale) -> None:
    with box("article", "told-row"):
        with box("div", "words"):
            text("span", row.label, "name")
            if row.drawn is not None:
                text("span", row.words, "figure")
        if row.drawn is None:
            text("p", row.words, "sentence")
        else:
            low, value, high = row.drawn
            interval(
                scale,
                value,
                low,
                high,
                said=f"{row.label}: {row.words}, {row.between}",
                marks=((0, "0"),),
                line=0,
                tone="dim" if low <= 0 <= high else "",
            )
            text("p", row.between, "small")
        if row.note:
            text("p", row.note, "soft small")

"""An interval as a picture: a bar from low to high, a dot at the estimate, perhaps a line."""

from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui

from serving.console.markup import box, text

# Room on both sides, so that no end touches the border of the picture.
ROOM = 0.08


@dataclass(frozen=True, slots=True)
class Scale:
    """The values at the picture's two ends."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies, in percent of the width."""
        return 100 * (value - self.low) / (self.high - self.low)


def scale_around(*values: float) -> Scale:
    """Return a scale that holds all values with some room."""
    low, high = min(values), max(values)
    room = (high - low) * ROOM or 1.0
    return Scale(low - room, high + room)


def interval(
    scale: Scale,
    estimate: float,
    low: float,
    high: float,
    *,
    said: str,
    marks: Sequence[tuple[float, str]] = (),
    line: float | None = None,
    tone: str = "",
) -> None:
    """Add the picture of one interval.

    Args:
        said: The same in words, for who cannot see it.
        marks: Values on the scale that carry a label.
        line: A value to compare with.
        tone: A class that colours bar and dot.
    """
    with box("div", f"interval {tone}", role="img", aria_label=said):
        if line is not None:
            _placed("interval-line", scale.place(line))
        _placed("interval-bar", scale.place(low)).style(
            f"width:{scale.place(high) - scale.place(low):.2f}%"
        )
        _placed("interval-dot", scale.place(estimate))
        for value, label in marks:
            place = scale.place(value)
            # At the ends a label stands inside the picture.
            side = "at-start" if place < 1 else "at-end" if place > 99 else ""
            with _placed(f"interval-mark {side}", place):
                text("span", label)


def _placed(classes: str, left: float) -> ui.element:
    return box("div", classes).style(f"left:{left:.2f}%")

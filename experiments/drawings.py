"""Drawings for a page: where everything stands in a picture of so many points, computed once.

The page's template writes them as inline SVG, so that a picture needs no file and no network, its
words can be searched, and it stays sharp in print.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from experiments.report_words import Boundaries, Curve, Told

WIDTH = 720.0
HEIGHT = 260.0
LEFT, RIGHT, TOP, BOTTOM = 92.0, 16.0, 14.0, 34.0
ROW = 34.0
NAMES = 230.0
WORDS = 246.0
_TICKS = 5
_ROOM = 0.06
# A boundary with next to nothing to spend lies out of every picture.
_FAR = 8.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, for `points` of a polyline; `band` closes the interval around it."""

    name: str
    points: str
    band: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart: lines between axes, `zero` where nothing changes."""

    width: float
    height: float
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A row of a forest plot; without an interval `words` says why."""

    y: float
    row: Told
    low: float | None = None
    value: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Forest:
    """Intervals below each other, on one axis."""

    width: float
    height: float
    rows: tuple[ForestRow, ...]
    across: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, show: Callable[[float], str]) -> tuple[Tick, ...]:
        values = MaxNLocator(_TICKS).tick_values(self.low, self.high)
        inside = [float(v) for v in values if self.low <= v <= self.high]
        return tuple(Tick(self.place(v), show(v)) for v in inside)


def curve_drawing(curve: Curve, show: Callable[[float], str]) -> Drawing:
    """Draw an effect with its interval as of each day; the line at zero is no effect."""
    up = _axis([0.0, *curve.lows, *curve.highs], HEIGHT - BOTTOM, TOP)
    last = max(len(curve.days) - 1, 1)
    across = [round(LEFT + n / last * (WIDTH - LEFT - RIGHT), 2) for n in range(len(curve.days))]
    there = [f"{x},{up.place(high)}" for x, high in zip(across, curve.highs, strict=True)]
    back = [f"{x},{up.place(low)}" for x, low in zip(across, curve.lows, strict=True)]
    line = [f"{x},{up.place(value)}" for x, value in zip(across, curve.values, strict=True)]
    step = max(1, -(-len(curve.days) // _TICKS))
    return Drawing(
        width=WIDTH,
        height=HEIGHT,
        lines=(Line(curve.variant, " ".join(line), " ".join([*there, *reversed(back)])),),
        across=tuple(Tick(across[n], curve.days[n]) for n in range(0, len(across), step)),
        up=up.ticks(show),
        zero=up.place(0.0),
    )


def boundaries_drawing(found: Boundaries) -> Drawing:
    """Draw each variant's z over the share of the plan, between the boundaries of the looks."""
    finite = [bound for bound in found.bounds if abs(bound) < _FAR]
    seen = [z for path in found.paths.values() for _, z in path]
    up = _axis([*finite, *(-bound for bound in finite), *seen], HEIGHT - BOTTOM, TOP)
    across = _Axis(0.0, 1.0, LEFT, WIDTH - RIGHT)
    looks = [(look, b) for look, b in zip(found.looks, found.bounds, strict=True) if abs(b) < _FAR]
    sides = [
        Line(
            "boundary",
            " ".join(f"{across.place(look)},{up.place(side * bound)}" for look, bound in looks),
        )
        for side in (1, -1)
    ]
    paths = [
        Line(name, " ".join(f"{across.place(share)},{up.place(z)}" for share, z in path))
        for name, path in found.paths.items()
    ]
    return Drawing(
        width=WIDTH,
        height=HEIGHT,
        lines=(*sides, *paths),
        across=tuple(Tick(across.place(look), f"{look:.0%}") for look in found.looks),
        up=up.ticks(lambda z: f"{z:g}"),
        zero=up.place(0.0),
    )


def forest(rows: Sequence[Told], show: Callable[[float], str]) -> Forest:
    """Draw intervals below each other; rows without one say why."""
    ends = [end for row in rows if row.drawn is not None for end in row.drawn]
    across = _axis([0.0, *ends], NAMES, WIDTH - WORDS)
    drawn: list[ForestRow] = []
    for place, row in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        if row.drawn is None:
            drawn.append(ForestRow(y, row))
            continue
        low, value, high = (across.place(x) for x in row.drawn)
        drawn.append(ForestRow(y, row, low, value, high))
    return Forest(
        width=WIDTH,
        height=TOP + ROW * len(rows) + BOTTOM,
        rows=tuple(drawn),
        across=across.ticks(show) if ends else (),
        zero=across.place(0.0),
    )


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = (high - low) * _ROOM or 1.0
    return _Axis(low - room, high + room, start, end)

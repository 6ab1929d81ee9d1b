"""Pictures of an experiment: did traffic split as planned, what did each variant change, and
what could be seen at all?
"""

from collections.abc import Callable, Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.duration import Foresight
from experiments.health import SampleRatio
from experiments.report import Report
from foundation.errors import RegularsError

ROW = 0.6
MARGIN = 1.4
CAPTION = 0.2
WORDS_WIDTH = 80


def sample_ratio_picture(split: SampleRatio) -> Figure:
    """Draw how many units each variant got; a black mark says how many were planned."""
    names = list(split.planned)
    total = sum(split.observed.values())
    planned = [split.planned[name] * total for name in names]
    observed = [split.observed[name] for name in names]
    figure = Figure(figsize=(8, MARGIN + ROW * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(names)), observed, height=0.6)
    words = [f"{got:,}, planned {plan:,.0f}" for got, plan in zip(observed, planned, strict=True)]
    axes.bar_label(bars, words, label_type="center", color="white")
    ends = [(place - 0.4, place + 0.4) for place in range(len(names))]
    axes.vlines(planned, [low for low, _ in ends], [high for _, high in ends], color="black")
    axes.set(xlabel="units", title=f"Sample ratio against the plan (black), p {split.p:.2g}")
    _rows(axes, names)
    return figure


def intervals_picture(
    report: Report, metric: str, show: Callable[[float], str], assumptions: Sequence[str] = ()
) -> Figure:
    """Draw each variant's difference from the control with its interval; the line is no effect.

    A report whose split is broken shows its reason and no effect, a comparison that was refused
    why it was.

    Args:
        show: Says a value of the metric, for example `Currency.show` where it is money.
        assumptions: What the figures rest on; written below them.

    Raises:
        RegularsError: The report has no such metric.
    """
    if report.healthy and metric not in report.metrics:
        raise RegularsError(
            f"experiment {report.key!r}: metric {metric!r} was not analysed; "
            f"choose one of {', '.join(report.metrics)}"
        )
    effects = report.metrics.get(metric, {})
    height = MARGIN + ROW * max(len(effects), 1) + CAPTION * len(assumptions)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    drawn = False
    for place, effect in enumerate(effects.values()):
        if effect.difference is None or effect.low is None or effect.high is None:
            _say(axes, place, f"no comparison: {effect.refused}")
            continue
        drawn = True
        axes.plot([effect.low, effect.high], [place, place], color="C0", linewidth=3)
        axes.plot(effect.difference, place, marker="o", color="C0", markersize=9)
        words = f"{show(effect.difference)} [{show(effect.low)}, {show(effect.high)}]"
        axes.annotate(
            words, (effect.difference, place), (0, 9), textcoords="offset points", ha="center"
        )
    if not report.healthy:
        _say(axes, 0, report.reason)
    if drawn:
        axes.axvline(0, color="grey", linewidth=1, linestyle="--")
    else:
        # An axis without a value on it would look like a difference of nothing.
        axes.xaxis.set_visible(False)
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter(lambda value, _: show(value))
    axes.set(
        xlabel=f"difference from {report.control}, {report.confidence:.0%} interval",
        title=f"{report.key}: {metric} per {report.unit}",
    )
    _rows(axes, list(effects))
    if assumptions:
        caption = "\n".join(f"assumed: {statement}" for statement in assumptions)
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color="dimgrey")
    return figure


def foresight_picture(found: Foresight, show: Callable[[float], str]) -> Figure:
    """Draw the smallest effect seen after so many weeks; the dashed line is the one asked about."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    seen = [d for d in found.durations if d.minimum_relative is not None]
    least = [d.minimum_relative or 0.0 for d in seen]
    axes.plot([d.weeks for d in seen], least, marker="o", color="C0")
    for duration, effect in zip(seen, least, strict=True):
        words = show(duration.minimum_effect or 0.0)
        axes.annotate(
            words, (duration.weeks, effect), (0, 8), textcoords="offset points", ha="center"
        )
    if found.effect is not None or found.relative is not None:
        asked = [
            abs(found.effect / d.mean if found.effect is not None else found.relative or 0.0)
            for d in seen
        ]
        axes.plot([d.weeks for d in seen], asked, color="grey", linewidth=1, linestyle="--")
    axes.set(
        xlabel="weeks",
        title=f"Smallest change in {found.metric} seen with {found.wanted:.0%} power",
    )
    axes.set_ylim(bottom=0)
    axes.margins(x=0.1, y=0.15)
    axes.set_xticks([d.weeks for d in found.durations])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    # The first variant reads on top, with room for its words.
    axes.set_ylim(max(len(names), 1) - 0.5, -0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _say(axes: Axes, place: int, words: str) -> None:
    # Across the picture, wherever its values lie.
    axes.text(
        0.5,
        place,
        fill(words, WORDS_WIDTH),
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
    )

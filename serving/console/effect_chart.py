"""The effect as of each day, with the interval that stays right however often one looks."""

from typing import Any

from nicegui import ui

from experiments.metric_titles import Title
from experiments.report_words import Curve
from foundation.money import MINOR_PER_MAJOR, Currency
from serving.console.markup import box, text

FONT = 'Roboto, "Helvetica Neue", Arial, sans-serif'
_BAND = "band"


def effect_chart(curve: Curve, title: Title, currency: Currency) -> None:
    """Add the chart of one variant; the dashed line is no effect."""
    newest = title.change(curve.values[-1], currency)
    said = f"{title.title}: effect of {curve.variant} as of each day, {newest} on {curve.days[-1]}"
    with box("figure", "over-time", data_variant=curve.variant):
        text("h3", f"How the effect of {curve.variant} came in")
        with box("div", role="img", aria_label=said):
            ui.echart(_options(curve, title, currency), renderer="svg").classes("over-time-chart")
        text("figcaption", "The band stays right however often one looks.", "soft")


def _options(curve: Curve, title: Title, currency: Currency) -> dict[str, Any]:
    # A decimal axis for money, which is kept in minor units.
    unit = MINOR_PER_MAJOR if title.money else 1
    lows = [low / unit for low in curve.lows]
    reach = [(high - low) / unit for low, high in zip(curve.lows, curve.highs, strict=True)]
    hidden = {"lineStyle": {"opacity": 0}, "symbol": "none", "silent": True}
    # Negative and positive values share one stack: the band begins at the lower bound.
    stacked = {**hidden, "type": "line", "stack": _BAND, "stackStrategy": "all"}
    return {
        "animation": False,
        "textStyle": {"fontFamily": FONT},
        "grid": {"left": 8, "right": 12, "top": 12, "bottom": 8, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": list(curve.days),
            "boundaryGap": False,
            "axisLabel": {"color": "var(--soft)", "hideOverlap": True},
            "axisLine": {"show": False},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "axisLabel": {
                "color": "var(--soft)",
                "formatter": f"{{value}} {currency.code}" if title.money else "{value}",
            },
            "splitLine": {"lineStyle": {"color": "var(--line)"}},
        },
        "series": [
            {**stacked, "data": lows},
            {**stacked, "data": reach, "areaStyle": {"color": "var(--accent)", "opacity": 0.18}},
            {
                "type": "line",
                "data": [value / unit for value in curve.values],
                "symbol": "none",
                "silent": True,
                "lineStyle": {"color": "var(--accent)", "width": 2},
                "markLine": {
                    "silent": True,
                    "symbol": "none",
                    "label": {"show": False},
                    "lineStyle": {"color": "var(--soft)", "type": "dashed"},
                    "data": [{"yAxis": 0}],
                },
            },
        ],
    }

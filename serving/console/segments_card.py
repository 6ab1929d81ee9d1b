"""Who our customers are: the groups of the latest run, how many are in each, what they spent."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from foundation.money import MINOR_PER_MAJOR, Currency
from segmentation.lifecycle import STATES
from segmentation.rfm import GROUPS
from serving.console.desk import Desk, Group, Segments
from serving.console.markup import box, text
from serving.console.wording import moment, whole_money

# How a group is doing, which is also its colour; five are all an eye keeps apart at a glance.
MOODS: dict[str, str] = {
    "Champions": "thriving",
    "Loyal": "thriving",
    "Big spenders": "thriving",
    "Promising": "growing",
    "New": "growing",
    "Needs attention": "watch",
    "At risk": "leaving",
    "Cannot lose": "leaving",
    "Hibernating": "quiet",
    "No purchase yet": "quiet",
    "new": "growing",
    "active": "thriving",
    "reactivated": "growing",
    "slowing": "watch",
    "dormant": "leaving",
    "lost": "quiet",
    "no purchase": "quiet",
}
FONT = "Roboto, sans-serif"
# A tile below this share of customers is too small for its name.
NAMED_SHARE = 0.025


def draw_segments(found: Segments, desk: Desk) -> None:
    """Draw the card's body."""
    with box("p", "lead"):
        text("strong", f"{found.customers:,} customers")
        text("span", f" spent {whole_money(found.spend, desk.currency)} in the {found.days} days ")
        text("span", f"before {moment(found.as_of, desk.zone)}.")
    with box("div", "split"):
        _treemap(found.rfm, found.customers)
        _table(found, desk.currency)
    with box("div", "split top-line"):
        with box("div"):
            text("h3", "Where they stand")
            text("p", "Each customer's silence, judged by her own rhythm.", "soft")
            _bars(found.lifecycle, found.customers, STATES)
        with box("div"):
            text("h3", "How they shop")
            text(
                "p",
                "Customers grouped by behaviour, each group named by what sets it apart."
                + _steady(found.cluster_stability),
                "soft",
            )
            _bars(found.cluster, found.customers, found.cluster_rules)


def _treemap(groups: Sequence[Group], customers: int) -> None:
    said = ", ".join(f"{group.name} {group.customers:,}" for group in groups)
    with box("figure", "treemap", role="img", aria_label=f"Groups by size: {said}"):
        ui.echart(_treemap_options(groups, customers), renderer="svg").classes("treemap-chart")


def _treemap_options(groups: Sequence[Group], customers: int) -> dict[str, Any]:
    return {
        "animation": False,
        "textStyle": {"fontFamily": FONT},
        "tooltip": {
            "formatter": "{b}: {c} customers",
            "backgroundColor": "var(--card)",
            "borderColor": "var(--line)",
            "textStyle": {"color": "var(--ink)", "fontFamily": FONT},
        },
        "series": [
            {
                "type": "treemap",
                "roam": False,
                "nodeClick": False,
                "breadcrumb": {"show": False},
                "left": 0,
                "top": 0,
                "right": 0,
                "bottom": 0,
                "visibleMin": 1,
                "itemStyle": {"borderWidth": 0, "gapWidth": 3, "borderColor": "var(--card)"},
                "emphasis": {"disabled": True},
                "data": [_tile(group, customers) for group in groups],
            }
        ],
    }


def _tile(group: Group, customers: int) -> dict[str, Any]:
    share = group.customers / customers
    return {
        "name": group.name,
        "value": group.customers,
        "itemStyle": {"color": f"var(--{_mood(group.name)})"},
        "label": {
            "show": share >= NAMED_SHARE,
            "formatter": f"{{name|{group.name}}}\n{{share|{share:.0%}}}",
            "position": [10, 9],
            "rich": {
                "name": {"color": "#fff", "fontSize": 14, "fontWeight": 500, "lineHeight": 20},
                "share": {"color": "#fff", "fontSize": 13, "opacity": 0.85, "lineHeight": 18},
            },
        },
    }


def _table(found: Segments, currency: Currency) -> None:
    with box("table", "groups"):
        with box("thead"), box("tr"):
            text("th", "Group", scope="col")
            text("th", "Customers", "figure", scope="col")
            text("th", f"Spend, {currency.code}", "figure", scope="col")
        with box("tbody"):
            for group in found.rfm:
                _row(group, found)


def _row(group: Group, found: Segments) -> None:
    with box("tr", data_group=group.name):
        with box("th", scope="row"):
            text("span", group.name, f"name mood-{_mood(group.name)}")
            text("span", GROUPS.get(group.name, ""), "soft sentence")
        with box("td", "figure"):
            text("span", f"{group.customers:,}", "count")
            text("span", _share(group.customers, found.customers), "soft share")
        with box("td", "figure"):
            text("span", f"{group.spend / MINOR_PER_MAJOR:z,.0f}", "money")
            text("span", _share(group.spend, found.spend), "soft share")


def _bars(groups: Sequence[Group], customers: int, sentences: Mapping[str, str]) -> None:
    longest = max(group.customers for group in groups)
    with box("ul", "bars"):
        for group in groups:
            with box("li", data_group=group.name):
                text("span", group.name, "name")
                with box("div", "track", aria_hidden="true"):
                    width = 100 * group.customers / longest
                    box("div", f"fill fill-{_mood(group.name)}").style(f"width:{width:.2f}%")
                with box("span", "figure"):
                    text("span", f"{group.customers:,}", "count")
                    text("span", _share(group.customers, customers), "soft share")
                if group.name in sentences:
                    text("p", sentences[group.name], "soft sentence")


def _steady(stability: float | None) -> str:
    if stability is None:
        return ""
    return f" Redrawn customers give the same groups: {stability:.2f}, where 1 is always."


def _mood(name: str) -> str:
    return MOODS.get(name, "plain")


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole > 0 else ""

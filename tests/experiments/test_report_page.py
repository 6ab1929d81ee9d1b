"""Is the page one file, whatever names it holds, and does it say the decision first?"""

from datetime import timedelta
from html.parser import HTMLParser

import msgspec
import pytest

from experiments.report_page import report_page
from foundation.money import Currency
from tests.experiments.reported import BROKEN, EVIL, PLAN, REPORT, START


class Page(HTMLParser):
    """The tags, the attributes and the words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def page(report=REPORT, plan=PLAN) -> Page:
    made = START + timedelta(days=28)
    return Page(report_page(report, plan, START, None, made, Currency("USD"), [f"assumed {EVIL}"]))


@pytest.mark.parametrize("report", [REPORT, BROKEN])
def test_names_are_words_and_never_markup(report) -> None:
    found = page(report)
    assert {"script", "img", "iframe", "object"}.isdisjoint(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    addresses = [value for name, value in found.attributes if name in ("src", "href")]
    assert addresses == ["data:,"]
    assert EVIL in found.words


def test_the_decision_stands_before_health_and_detail() -> None:
    words = page().words
    places = [
        words.index(part)
        for part in (
            "+1,237.50 USD margin so far",
            "May it be believed?",
            "Who gained",
            "All metrics",
        )
    ]
    assert places == sorted(places)


def test_every_part_of_the_report_is_on_the_page() -> None:
    found = page()
    assert found.tags.count("svg") == 3
    sections = {value for name, value in found.attributes if name == "id"}
    assert sections == {
        *("decision", "health", "over-time", "boundaries", "guardrails", "segments", "detail"),
        *("offers", "novelty", "plan", "words", "assumptions"),
    }


def test_a_curve_is_called_by_its_own_metric_and_scaled_in_its_unit() -> None:
    orders = msgspec.structs.replace(PLAN, primary_metric="orders", guardrails=[])
    words = page(plan=orders).words
    assert "How the effect on margin came in" in words
    assert "Added margin in all" in words
    start = words.index("How the effect on margin")
    assert "USD" in words[start : words.index("Who gained")]
    assert "The planned looks" not in words


def test_a_broken_experiment_shows_where_and_no_figure() -> None:
    found = page(BROKEN)
    assert "svg" not in found.tags
    assert "Do not read this yet" in found.words
    assert "Where the split is worst" in found.words
    assert "margin so far" not in found.words

"""A report's file in a real browser: nothing runs, nothing is asked for, nothing overflows."""

from datetime import timedelta
from pathlib import Path

import pytest

from experiments.report_page import report_page
from foundation.money import Currency
from tests.browser.window import Window, needs_chromium
from tests.experiments.reported import BROKEN, EVIL, PLAN, REPORT, START

pytestmark = needs_chromium


def written(folder: Path, report=REPORT) -> str:
    file = folder / "report.html"
    made = START + timedelta(days=28)
    html = report_page(report, PLAN, START, None, made, Currency("USD"), ["margins are assumed"])
    file.write_text(html, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("report", [REPORT, BROKEN])
def test_nothing_runs_and_nothing_is_asked_for(tmp_path: Path, window: Window, report) -> None:
    asked: list[str] = []
    dialogs: list[str] = []
    window.page.on("request", lambda request: asked.append(request.url))
    window.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    address = written(tmp_path, report)
    window.page.goto(address)
    window.page.wait_for_timeout(200)
    assert window.errors == []
    assert dialogs == []
    assert window.hosts == set()
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert EVIL in window.page.locator("body").inner_text()


def test_pictures_are_drawn_and_the_decision_is_in_sight(tmp_path: Path, window: Window) -> None:
    window.page.goto(written(tmp_path))
    assert window.page.locator("svg").count() == 3
    for picture in window.page.locator("svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert box["height"] > 100
    decision = window.page.locator("#decision").bounding_box()
    assert decision is not None
    assert decision["y"] + decision["height"] < 900


@pytest.mark.parametrize("width", [400, 1280])
def test_no_window_scrolls_sideways(tmp_path: Path, window: Window, width: int) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    window.page.goto(written(tmp_path))
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints(tmp_path: Path, window: Window) -> None:
    window.page.goto(written(tmp_path))
    window.page.emulate_media(media="print")
    printed = window.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    # A sheet for two sections or so: one for each would be more.
    assert 1 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 6

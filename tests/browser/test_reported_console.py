"""What the console draws of a report with something in every part, and of spiteful names."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from experiments.programme_words import programme_lines
from experiments.report_words import decision, guardrail_lines, segment_lines
from foundation.money import Currency
from tests.browser.reported_console import ReportedDesk
from tests.browser.window import Window, needs_chromium
from tests.experiments.reported import EVIL, PLAN, REPORT

pytestmark = needs_chromium
ROOT = Path(__file__).parents[2]
START_SECONDS = 60
USD = Currency("USD")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.browser.reported_console", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        _await(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            assert httpx.get(address, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{address} does not answer after {START_SECONDS} s")


def test_it_says_what_the_page_says_and_names_stay_words(url: str, window: Window) -> None:
    page = window.open(url)
    card = page.locator("section.card", has_text="What the offers earned")
    said = card.inner_text()
    told = decision(REPORT, PLAN, USD)
    lines = [told.worth[0].between, guardrail_lines(REPORT, USD)[0].note]
    lines += [row.words for row in segment_lines(REPORT, USD)]
    for line in (told.headline, *lines):
        assert line in said
    assert card.locator("[data-part=segments] article").count() == 3
    programme = page.locator("section.card", has_text="What all experiments brought").inner_text()
    for line in programme_lines(ReportedDesk().programme(), USD):
        assert line.words in programme
    assert f"nobody yet {EVIL}" in programme
    assert window.errors == []
    assert window.hosts == {"127.0.0.1"}


def test_the_effect_over_time_is_drawn(url: str, window: Window) -> None:
    page = window.open(url)
    chart = page.locator(".over-time-chart svg")
    chart.locator("path").first.wait_for(state="attached")
    chart.locator("text", has_text="USD").first.wait_for()
    box = chart.bounding_box()
    assert box is not None
    assert box["height"] > 200


@pytest.mark.parametrize("width", [400, 1280])
def test_no_window_scrolls_sideways(url: str, window: Window, width: int) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    page = window.open(url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width

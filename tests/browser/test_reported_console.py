"""What the console draws of a report with something in every part, and of spiteful names."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
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


@dataclass
class Console:
    url: str
    password: str

    def open(self, window: Window) -> Page:
        return window.open(self.url, "viola", self.password)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with EmbeddedPostgres(tmp_path_factory.mktemp("reported") / "pg") as server:
        admin = PostgresAdmin(server.url)
        password = admin.users.add("viola", "viewer")
        admin.close()
        command = [sys.executable, "-m", "tests.browser.reported_console", str(port), server.url]
        process = subprocess.Popen(command, cwd=ROOT)
        address = f"http://127.0.0.1:{port}"
        try:
            _await(f"{address}/health/live", process)
            yield Console(address, password)
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


def test_it_says_what_the_page_says_and_names_stay_words(console: Console, window: Window) -> None:
    page = console.open(window)
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


def test_the_effect_over_time_is_drawn(console: Console, window: Window) -> None:
    page = console.open(window)
    chart = page.locator(".over-time-chart svg")
    chart.locator("path").first.wait_for(state="attached")
    chart.locator("text", has_text="USD").first.wait_for()
    box = chart.bounding_box()
    assert box is not None
    assert box["height"] > 200


@pytest.mark.parametrize("width", [400, 1280])
def test_no_window_scrolls_sideways(console: Console, window: Window, width: int) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    page = console.open(window)
    assert page.evaluate("document.documentElement.scrollWidth") <= width

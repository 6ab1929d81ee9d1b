"""A window of a real browser that remembers what went wrong in it and whom it asked."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SIZE: ViewportSize = {"width": 1280, "height": 900}
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(),
        reason=f"no Chromium at {CHROMIUM}; install it with `apt-get install chromium`",
    ),
]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Window:
    """Remembers what went wrong in it and whom it asked."""

    page: Page
    errors: list[str] = field(default_factory=list[str])
    hosts: set[str] = field(default_factory=set[str])

    def sign_in(self, url: str, name: str, password: str) -> Page:
        """Sign in at the console."""
        self.page.goto(f"{url}/sign-in")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        return self.page

    def open(self, url: str, name: str, password: str) -> Page:
        """Open the console, signed in, and wait until every card is drawn."""
        self.page.goto(url)
        if urlsplit(self.page.url).path == "/sign-in":
            self.sign_in(url, name, password)
        self.page.wait_for_function(
            "document.querySelectorAll('section.card').length === 4 &&"
            "document.querySelectorAll('.reading').length === 0 &&"
            "document.querySelector('footer').innerText.includes('Lake version')"
        )
        return self.page


@contextmanager
def started() -> Iterator[Browser]:
    """Start a real browser; one at a time, since two in a thread are in each other's way."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser) -> Iterator[Window]:
    """Open a window of a browser, which shares nothing with its other windows."""
    found = Window(browser.new_page(viewport=SIZE))
    found.page.set_default_timeout(30_000)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on(
        "console",
        lambda told: found.errors.append(told.text) if told.type == "error" else None,
    )
    found.page.on("request", lambda asked: _remember(found.hosts, asked.url))
    found.page.on("websocket", lambda socket: _remember(found.hosts, socket.url))
    yield found
    found.page.close()


def _remember(hosts: set[str], url: str) -> None:
    parts = urlsplit(url)
    # Data and blob addresses leave nothing.
    if parts.hostname is not None:
        hosts.add(parts.hostname)

"""What every test in a browser starts from."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.window import Window, opened, started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as found:
        yield found


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    with opened(browser) as found:
        yield found

"""What every test in a browser starts from."""

from collections.abc import Iterator

import pytest

from tests.browser.window import Window, opened


@pytest.fixture
def window() -> Iterator[Window]:
    with opened() as found:
        yield found

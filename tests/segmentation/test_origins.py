from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import RegularsError, TooLittleData
from segmentation.origins import MOST_TRAINING, rolling_origins

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(1, 90), st.integers(1, 200), st.integers(5, 9), st.integers(0, 900))
def test_no_origin_learns_a_label_that_ends_after_it(
    days: int, active: int, tests: int, more: int
) -> None:
    until = START + timedelta(days=active + days * (tests + 2) + more)

    found = rolling_origins(START, until, days, active, tests)

    window = timedelta(days=days)
    assert len(found.tests) == tests
    assert set(found.tests) <= set(found.instants)
    assert found.instants == tuple(sorted(found.instants))
    assert found.instants[0] >= START + timedelta(days=active)
    assert found.tests[-1] + window == until
    for earlier, later in zip(found.tests, found.tests[1:], strict=False):
        assert later - earlier == window
    for at in found.tests:
        known = found.known_at(at)
        assert 0 < len(known) <= MOST_TRAINING
        assert all(origin + window <= at for origin in known)


def test_a_history_a_day_too_short_is_refused_with_what_it_takes() -> None:
    # 90 days to tell who is active, 5 + 1 windows of 30, and two steps of 10 for three origins.
    assert rolling_origins(START, START + timedelta(days=290), 30, 90).tests

    with pytest.raises(TooLittleData, match=r"289 days of purchases.* 290 days"):
        rolling_origins(START, START + timedelta(days=289), 30, 90)


def test_fewer_than_five_test_origins_are_refused() -> None:
    with pytest.raises(TooLittleData, match="4 test origins; at least 5"):
        rolling_origins(START, START + timedelta(days=2000), 30, 90, tests=4)


@pytest.mark.parametrize(("days", "active"), [(0, 90), (-5, 90), (30, 0), (30, -400)])
def test_less_than_a_day_is_refused_in_one_line(days: int, active: int) -> None:
    with pytest.raises(RegularsError, match="must be at least 1; name more days"):
        rolling_origins(START, START + timedelta(days=900), days, active)

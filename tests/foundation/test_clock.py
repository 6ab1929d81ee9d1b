"""Clocks, and the nightly publication that was live at an instant."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from foundation.clock import FixedClock, SystemClock, live_publication
from foundation.errors import RegularsError

NEW_YORK = "America/New_York"

# Half-hour changes, changes at midnight, negative summer time, a day left out (Samoa, 2011-12-30).
ODD_ZONES = (
    NEW_YORK,
    "Europe/Vienna",
    "Europe/Dublin",
    "Australia/Lord_Howe",
    "America/Havana",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# New York turned its clocks on 2026-03-08 at 07:00 UTC (02:00 -> 03:00) and turns them back on
# 2026-11-01 at 06:00 UTC (02:00 -> 01:00): Energy Policy Act of 2005, second Sunday in March and
# first in November. The offsets are -5 h in winter and -4 h in summer.
@pytest.mark.parametrize(
    ("instant", "hour", "published"),
    [
        ("2026-06-10 12:00", 3, "2026-06-10 07:00"),
        ("2026-06-10 06:59:59.999999", 3, "2026-06-09 07:00"),
        ("2026-06-10 07:00", 3, "2026-06-10 07:00"),
        # The night of spring: 03:00 comes an hour early.
        ("2026-03-08 06:59", 3, "2026-03-07 08:00"),
        ("2026-03-08 07:00", 3, "2026-03-08 07:00"),
        ("2026-03-09 06:59", 3, "2026-03-08 07:00"),
        # 02:00 was skipped that night: the job ran at the moment of the skip.
        ("2026-03-08 06:59", 2, "2026-03-07 07:00"),
        ("2026-03-08 07:00", 2, "2026-03-08 07:00"),
        ("2026-03-08 20:00", 2, "2026-03-08 07:00"),
        # The night of autumn: 03:00 comes an hour late.
        ("2026-11-01 07:59", 3, "2026-10-31 07:00"),
        ("2026-11-01 08:00", 3, "2026-11-01 08:00"),
        # 01:00 comes twice; the job ran at the first, also for those who ask after the second.
        ("2026-11-01 04:59", 1, "2026-10-31 05:00"),
        ("2026-11-01 05:00", 1, "2026-11-01 05:00"),
        ("2026-11-01 06:30", 1, "2026-11-01 05:00"),
        ("2026-11-01 15:00", 1, "2026-11-01 05:00"),
    ],
)
def test_live_publication_is_the_last_one_by_the_local_clock_also_when_it_is_turned(
    instant: str, hour: int, published: str
) -> None:
    assert live_publication(utc(instant), NEW_YORK, hour) == utc(published)


instants = some.datetimes(
    datetime(2005, 1, 1),  # noqa: DTZ001
    datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=some.just(UTC),
)


@given(instants, some.sampled_from(ODD_ZONES), some.integers(0, 23))
def test_live_publication_is_not_after_the_instant_and_none_lies_between(
    instant: datetime, zone: str, hour: int
) -> None:
    published = live_publication(instant, zone, hour)

    assert published <= instant
    # A day may have 25 hours, and Samoa left a whole one out.
    assert instant - published < timedelta(hours=50)
    between = published
    while between <= instant:
        assert live_publication(between, zone, hour) == published
        between += timedelta(minutes=15)
    later = live_publication(instant + timedelta(hours=50), zone, hour)
    assert instant < later


@given(instants, some.sampled_from(ODD_ZONES), some.integers(0, 23))
def test_at_a_publication_the_local_clock_shows_its_hour_or_has_just_skipped_it(
    instant: datetime, zone: str, hour: int
) -> None:
    published = live_publication(instant, zone, hour).astimezone(ZoneInfo(zone))

    before = (published - timedelta(seconds=1)).astimezone(UTC)
    skipped = published.utcoffset() != before.astimezone(ZoneInfo(zone)).utcoffset()
    assert (published.hour, published.minute, published.second) == (hour, 0, 0) or skipped


def test_a_naive_instant_is_refused_rather_than_read_in_the_machines_zone() -> None:
    naive = datetime(2026, 6, 10, 12)  # noqa: DTZ001

    with pytest.raises(RegularsError, match="has no time zone"):
        live_publication(naive, NEW_YORK, 3)
    with pytest.raises(RegularsError, match="has no time zone"):
        FixedClock(naive)


def test_a_fixed_clock_stands_still_in_utc() -> None:
    clock = FixedClock(datetime(2026, 6, 10, 8, tzinfo=ZoneInfo(NEW_YORK)))

    assert clock.now() == clock.now() == utc("2026-06-10 12:00")
    assert clock.now().tzinfo is UTC


def test_the_system_clock_tells_aware_utc() -> None:
    before = datetime.now(UTC)

    assert before <= SystemClock().now() <= datetime.now(UTC)

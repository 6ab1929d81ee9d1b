from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.context import NAMES, context_features
from foundation.contracts.tables import CHANNELS

NOON = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)


def named(
    channel: str = "app",
    at: datetime | None = NOON,
    time_zone: str = "UTC",
    basket: list[int] | None = None,
) -> dict[str, float]:
    return dict(zip(NAMES, context_features(channel, at, time_zone, basket).tolist(), strict=True))


@pytest.mark.parametrize("channel", CHANNELS)
def test_exactly_the_asking_channel_is_marked(channel: str) -> None:
    found = named(channel)

    marks = {name: found[name] for name in NAMES if name.startswith("context_channel=")}
    assert marks == {f"context_channel={c}": float(c == channel) for c in CHANNELS}


@pytest.mark.parametrize(
    ("at", "time_zone", "hour", "weekend"),
    [
        # 2026-07-03 is a Friday (ISO weekday 5, `cal 7 2026`).
        ("2026-07-03T23:30:00+00:00", "UTC", 23, 0),
        ("2026-07-03T23:30:00+00:00", "Europe/Vienna", 1, 1),  # Saturday, summer time +2
        ("2026-07-06T03:59:00+00:00", "America/New_York", 23, 1),  # still Sunday, -4
        ("2026-07-06T04:00:00+00:00", "America/New_York", 0, 0),
        ("2026-01-06T04:00:00+00:00", "America/New_York", 23, 0),  # winter time, -5
        ("2026-07-03T23:45:00+00:00", "Asia/Kathmandu", 5, 1),  # +5:45
        # Written in another zone, the same instant.
        ("2026-07-04T09:30:00+10:00", "Europe/Vienna", 1, 1),
        # The hour that is there twice on 2026-10-25 in Vienna, both times 2 o'clock.
        ("2026-10-25T00:30:00+00:00", "Europe/Vienna", 2, 1),
        ("2026-10-25T01:30:00+00:00", "Europe/Vienna", 2, 1),
    ],
)
def test_hour_and_weekend_are_of_the_local_clock(
    at: str, time_zone: str, hour: int, weekend: int
) -> None:
    found = named(at=datetime.fromisoformat(at), time_zone=time_zone)

    assert (found["context_hour"], found["context_weekend"]) == (hour, weekend)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_one_instant_has_one_hour_however_it_is_written(at: datetime, minutes: int) -> None:
    elsewhere = at.astimezone(timezone(timedelta(minutes=minutes)))

    assert named(at=at, time_zone="America/New_York") == pytest.approx(
        named(at=elsewhere, time_zone="America/New_York"), nan_ok=True
    )


def test_what_the_request_does_not_say_is_unknown_and_not_zero() -> None:
    found = named(at=None, basket=None)

    for name in (
        "context_hour",
        "context_weekend",
        "context_basket_amount",
        "context_basket_lines",
    ):
        assert np.isnan(found[name]), name


def test_an_empty_basket_is_known_to_be_empty() -> None:
    found = named(basket=[])

    assert (found["context_basket_amount"], found["context_basket_lines"]) == (0.0, 0.0)


def test_a_basket_is_summed_with_its_returns_and_its_lines_are_counted() -> None:
    found = named(basket=[450, 1_000, -200])

    assert (found["context_basket_amount"], found["context_basket_lines"]) == (1_250.0, 3.0)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "America", "a\x00b"])
def test_a_zone_that_does_not_exist_leaves_the_hour_unknown(zone: str) -> None:
    found = named(time_zone=zone, basket=[100])

    assert np.isnan(found["context_hour"])
    assert np.isnan(found["context_weekend"])
    assert found["context_basket_amount"] == 100


def test_the_vector_has_the_order_of_its_names() -> None:
    vector = context_features("till", NOON, "UTC", [5])

    assert vector.shape == (len(NAMES),)
    assert vector.dtype == np.float64
    assert len(set(NAMES)) == len(NAMES)
    assert vector[NAMES.index("context_hour")] == 12
    assert vector[NAMES.index("context_channel=till")] == 1

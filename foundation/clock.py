"""What time is it? Every part asks this port, so that tests and replays can choose the answer."""

from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from foundation.errors import RegularsError


class Clock(Protocol):
    """Tells the present instant, aware and in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still at the instant it was given."""

    def __init__(self, instant: datetime) -> None:
        self.instant = _aware(instant).astimezone(UTC)

    def now(self) -> datetime:
        return self.instant


def live_publication(instant: datetime, time_zone: str, publish_hour: int) -> datetime:
    """Return the nightly publication that a request at `instant` would have met.

    A model must see at training time what it will see when serving: last night's
    profile, never the customer as she was at the exposure's own instant.

    Args:
        instant: Aware time of the exposure.
        time_zone: Zone in which the night is meant, an IANA name.
        publish_hour: Local hour (0-23) at which the nightly job publishes.

    Returns:
        The latest local `publish_hour` o'clock that is not after `instant`, in UTC. An hour that
        the clocks repeat counts the first time, one they skip at the moment they skip it.

    Raises:
        RegularsError: The instant is naive.
    """
    zone = ZoneInfo(time_zone)
    today = _aware(instant).astimezone(zone).date()
    # Instants are compared in UTC: wall clocks of one zone compare wrongly when they are turned.
    # More than yesterday, because Samoa once left out a whole day.
    nights = (
        datetime.combine(today - timedelta(days=back), time(publish_hour), zone).astimezone(UTC)
        for back in range(4)
    )
    return next(night for night in nights if night <= instant)


def known_zone(name: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: There is no such IANA time zone.
    """
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone; write it like Europe/Vienna")
    return name


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise RegularsError(f"instant {instant} has no time zone; give an aware one, in UTC")
    return instant

"""What time is it? Every part asks this port, so that tests and replays can choose the answer."""

from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo


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
        self.instant = instant.astimezone(UTC)

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
        The latest local `publish_hour` o'clock that is not after `instant`, in UTC.
    """
    local = instant.astimezone(ZoneInfo(time_zone))
    published = local.replace(hour=publish_hour, minute=0, second=0, microsecond=0)
    if published > local:
        # Wall-clock arithmetic: yesterday at the same hour, also across a clock change.
        published -= timedelta(days=1)
    return published.astimezone(UTC)

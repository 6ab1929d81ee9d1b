"""Circuit breaker: a store that fails again and again is left alone for a while.

Who asks it meanwhile is answered without it at once, instead of waiting for what will not come.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal, Protocol

State = Literal["closed", "open", "half_open"]
# A stall of a tenth of a second opens it, too: who comes after that should not pay for a second.
PAUSE_SECONDS = 0.25
# A store that is late once is late for all who wait at that moment, be they hundreds.
SHARED = 5
# Whom nobody asks cannot know that the store is back. Not at once: where it is asked seldom, an
# outage would look over between two requests.
QUIET_SECONDS = 10.0


class Gauge(Protocol):
    """Shows whether the store is left alone: 1 or 0. It is told on a running loop."""

    def set(self, value: float) -> None: ...


class Breaker:
    """Closed while the store answers; open after `failures` in a row.

    After each pause one who asks is let through as a probe (half open): its success closes the
    breaker, its failure opens it for another pause. A probe that is never heard of again counts as
    failed when the pause is over.

    Source: Nygard, Release It! (2018), chapter 5.
    """

    def __init__(
        self,
        failures: int,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        told: Gauge | None = None,
    ) -> None:
        self._failures = failures
        self._pause = pause
        # Not the time of day, which may jump.
        self._clock = clock
        self._told = told
        self._quiet: asyncio.TimerHandle | None = None
        self._failed = 0
        self._cause: object = None
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "half_open" if self._probing else "open"

    def allows(self) -> bool:
        """Whether the store may be asked now; who is allowed says how it went."""
        if self._until is None:
            return True
        now = self._clock()
        if now < self._until:
            return False
        self._until, self._probing = now + self._pause, True
        return True

    def succeeded(self) -> None:
        self._failed, self._cause = 0, None
        if self._until is not None:
            self._until, self._probing = None, False
            self._tell(0)

    def failed(self, cause: object = None) -> None:
        """Count a failure.

        Args:
            cause: What failed; all who shared it count as SHARED. Left out: each on its own.
        """
        if cause is not None and cause is self._cause:
            return
        self._cause = cause
        self._failed += 1 if cause is None else SHARED
        if self._failed >= self._failures:
            self._tell(1)
            self._until, self._probing = self._clock() + self._pause, False

    def _tell(self, is_open: int) -> None:
        if self._told is None:
            return
        self._told.set(is_open)
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = None
        if is_open:
            loop = asyncio.get_running_loop()
            self._quiet = loop.call_later(self._pause + QUIET_SECONDS, self._told.set, 0)

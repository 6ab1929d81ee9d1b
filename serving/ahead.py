"""Ahead: decisions are on this machine's disk when they are answered, and soon in the database.

A database that commits each moment's few decisions costs more than deciding them, and keeps their
customers waiting for a round trip. So they are written to disk here, those that come while the disk
is busy in one write, and passed on together a moment later.

While the disk hangs, as disks do beside a nightly job, the service goes on answering.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from foundation.errors import SpoolUnavailable, StoreUnavailable
from foundation.packed_decision import PackedDecision
from foundation.pseudonym import pseudonymous_packed
from serving import metrics
from serving.batching import HELD_UP_SECONDS
from serving.breaker import Breaker
from serving.customers import Customers
from serving.journal import Journal
from serving.write_ahead import Waiting, WriteAhead

# From one passing on to the next.
PASS_SECONDS = 0.1
# Nobody waits longer for a disk. One that stalls is soon back; what fails or stalls twice in a row
# is left alone for a while.
SLOW_SECONDS = 0.05
FAILURES = 2
PAUSE_SECONDS = 1.0
# As many at once: more would hold up the event loop.
PASSED_AT_ONCE = 64
SETTLE_SECONDS = 10.0
STOP_SECONDS = 2.0

# A decision that is to be written, and whether it was.
Kept = tuple[PackedDecision, asyncio.Future[bool]]


class Ahead:
    """Keeps decisions on disk until the database has them."""

    def __init__(
        self,
        files: WriteAhead,
        journal: Journal,
        customers: Customers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep nothing yet; see `open`.

        Args:
            clock: Seconds; not the time of day, which may jump.
        """
        self._files = files
        self._journal = journal
        self._customers = customers
        self._clock = clock
        self._log = structlog.get_logger("ahead")
        self._breaker = Breaker(FAILURES, PAUSE_SECONDS, clock, metrics.BREAKER.labels("ahead"))
        self._next: list[Kept] = []
        self._writing: asyncio.Task[None] | None = None
        # Those that are being written; nobody waits for them any more where the disk hangs.
        self._group: list[Kept] = []
        self._hanging = False
        # When the first was kept of those that are being passed on, and of those after them.
        self._passing_since: float | None = None
        self._since: float | None = None
        # When something was first found that a process left and the database did not yet take.
        self._left_since: float | None = None
        self._passing = asyncio.Lock()

    async def open(self) -> None:
        """Make room on disk; a step to be taken again until it succeeds.

        Raises:
            SpoolUnavailable: The disk does not give it; decisions go to the database at once.
        """
        await self._files.open()

    async def keep(self, decision: PackedDecision) -> bool:
        """Return whether a decision is on disk."""
        if self._hanging or not self._breaker.allows():
            return False
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[bool] = loop.create_future()
        self._next.append((decision, kept))
        if self._writing is None:
            # It begins behind all that decide in this turn of the loop: they share one write.
            self._writing = loop.create_task(self._write())
        return await kept

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._next:
            group, self._next = self._next, []
            self._group = group
            timer = loop.call_later(SLOW_SECONDS, self._slow, group)
            try:
                kept = await self._written(group)
            except Exception as error:  # Every waiting request must hear of it, whatever it is.
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                _tell(group, kept)
            timer.cancel()
            self._group, self._hanging = [], False
        self._writing = None

    async def _written(self, group: list[Kept]) -> bool:
        """Write decisions in one go; return whether the disk took them."""
        began = self._clock()
        self._since = began if self._since is None else self._since
        try:
            await self._files.keep([decision for decision, _ in group])
        except SpoolUnavailable as error:
            self._log.warning("not written ahead", reason=str(error), decisions=len(group))
            self._breaker.failed()
            return False
        metrics.BATCH.observe(len(group))
        if self._hanging:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        return True

    def _slow(self, group: list[Kept]) -> None:
        # A loop that was held up itself has the disk's answer yet to read: that comes in first.
        loop = asyncio.get_running_loop()
        loop.call_later(HELD_UP_SECONDS, loop.call_soon, self._hangs, group)

    def _hangs(self, group: list[Kept]) -> None:
        """Let nobody wait for a disk that hangs.

        What it takes yet is passed on, too: the database has each decision once, whoever told it.
        """
        if group is not self._group:
            return
        self._hanging = True
        self._log.warning("the disk hangs", decisions=len(group))
        waiting, self._next = group + self._next, []
        _tell(waiting, False)

    def waits_seconds(self) -> float:
        """Return how long the oldest of what waits here has waited; 0 where nothing does."""
        waiting = (self._passing_since, self._since, self._left_since)
        since = [one for one in waiting if one is not None]
        return self._clock() - min(since) if since else 0.0

    async def pass_on(self) -> None:
        """Write what waits into the database, each once; a step to be taken again and again.

        What is kept meanwhile, or while what is passed on now was not yet taken, comes next time.

        Raises:
            StoreUnavailable: The database does not answer; what it did not take goes on waiting.
        """
        async with self._passing:
            if self._passing_since is None:
                # With what is being written: that comes before.
                self._passing_since, self._since = self._since, None
            waiting = await self._files.waiting()
            if waiting is not None:
                await self._pass_on(waiting)
            self._passing_since = None

    async def settle(self) -> None:
        """Pass on all that was kept until now.

        Raises:
            StoreUnavailable: As `pass_on`, or it takes too long.
        """
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                for _ in ("what was begun", "what came after"):
                    await self.pass_on()
        except TimeoutError as error:
            raise StoreUnavailable(
                "what was decided a moment ago is not in the database yet; try again"
            ) from error

    async def pass_on_left(self) -> None:
        """Write what processes left that ended; a step as `pass_on`."""
        left, unread = await self._files.left()
        faults = list(unread)
        if self._left_since is None and (left or unread):
            self._left_since = self._clock()
        for waiting in left:
            try:
                await self._pass_on(waiting)
            except StoreUnavailable:
                raise
            except Exception as error:  # What one file holds does not keep back the others.
                faults.append(error)
            else:
                self._log.info("passed on", decisions=len(waiting.decisions))
        for fault in faults:
            raise fault
        self._left_since = None

    async def close(self) -> None:
        """Pass on what waits, if the database takes it now; else it is left to others."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.settle()
        except Exception as error:
            self._log.warning("left to others", reason=type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._files.close()

    async def _pass_on(self, waiting: Waiting) -> None:
        decisions = waiting.decisions
        for first in range(0, len(decisions), PASSED_AT_ONCE):
            some = decisions[first : first + PASSED_AT_ONCE]
            # Who was forgotten while this waited is not brought back by it.
            former = await self._customers.former(sorted({one.customer_id for one in some}))
            if former:
                some = [pseudonymous_packed(one, former) for one in some]
            await self._journal.record(some)
        await waiting.forget()


def _tell(group: list[Kept], kept: bool) -> None:
    for _, future in group:
        if not future.done():
            future.set_result(kept)

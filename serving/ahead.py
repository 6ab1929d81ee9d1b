"""Ahead: decisions are on this machine's disk when they are answered, and soon in the database.

A database that commits each moment's few decisions costs more than deciding them, and keeps their
customers waiting for a round trip. So they are written to disk here, those of one turn of the event
loop in one write, and passed on together a moment later.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from foundation.errors import SpoolUnavailable, StoreUnavailable
from foundation.packed_decision import PackedDecision
from foundation.pseudonym import pseudonymous_packed
from serving import metrics
from serving.breaker import Breaker
from serving.customers import Customers
from serving.journal import Journal
from serving.write_ahead import Waiting, WriteAhead

# From one passing on to the next.
PASS_SECONDS = 0.1
# A disk that takes longer for a group holds up everybody: it is left alone for a while.
SLOW_SECONDS = 0.05
PAUSE_SECONDS = 1.0
# As many at once: more would hold up the event loop.
PASSED_AT_ONCE = 64
STOP_SECONDS = 2.0


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
        self._breaker = Breaker(1, PAUSE_SECONDS, clock, metrics.BREAKER.labels("ahead"))
        self._turn: list[tuple[PackedDecision, asyncio.Future[bool]]] = []
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
        await asyncio.to_thread(self._files.open)

    async def keep(self, decision: PackedDecision) -> bool:
        """Return whether a decision is on disk."""
        if not self._breaker.allows():
            return False
        loop = asyncio.get_running_loop()
        if not self._turn:
            # Behind all that decide in this turn of the loop: they share one write.
            loop.call_soon(self._write)
        kept: asyncio.Future[bool] = loop.create_future()
        self._turn.append((decision, kept))
        return await kept

    def _write(self) -> None:
        turn, self._turn = self._turn, []
        try:
            kept = self._kept([decision for decision, _ in turn])
        except Exception as error:  # Every waiting request must hear of it, whatever it is.
            for _, future in turn:
                if not future.done():
                    future.set_exception(error)
            return
        for _, future in turn:
            if not future.done():
                future.set_result(kept)

    def _kept(self, decisions: Sequence[PackedDecision]) -> bool:
        """Write decisions in one group; return whether the disk took them."""
        began = self._clock()
        try:
            self._files.keep(decisions)
        except SpoolUnavailable as error:
            self._log.warning("not written ahead", reason=str(error), decisions=len(decisions))
            self._breaker.failed()
            return False
        metrics.BATCH.observe(len(decisions))
        self._since = began if self._since is None else self._since
        if self._clock() - began > SLOW_SECONDS:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        return True

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
            waiting = self._files.waiting()
            if waiting is None:
                return
            if self._passing_since is None:
                self._passing_since, self._since = self._since, None
            await self._pass_on(waiting)
            self._passing_since = None

    async def settle(self) -> None:
        """Pass on all that was kept until now.

        Raises:
            StoreUnavailable: As `pass_on`.
        """
        for _ in ("what was begun", "what came after"):
            await self.pass_on()

    async def pass_on_left(self) -> None:
        """Write what processes left that ended; a step as `pass_on`."""
        left, unread = await asyncio.to_thread(self._files.left)
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
        self._files.close()

    async def _pass_on(self, waiting: Waiting) -> None:
        decisions = waiting.decisions
        for first in range(0, len(decisions), PASSED_AT_ONCE):
            some = decisions[first : first + PASSED_AT_ONCE]
            # Who was forgotten while this waited is not brought back by it.
            former = await self._customers.former(sorted({one.customer_id for one in some}))
            if former:
                some = [pseudonymous_packed(one, former) for one in some]
            await self._journal.record(some)
        waiting.forget()

"""Spooling: what the database does not take now is kept on disk, and passed on when it is back."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from foundation.errors import EventChanged, EventRefused
from foundation.outcome import Outcome
from foundation.packed_decision import packed
from foundation.pseudonym import pseudonymous_entry
from foundation.spooled import Rejected, Spooled, customers_of
from serving import metrics
from serving.batching import Batcher
from serving.customers import Customers
from serving.journal import Journal
from serving.spool import Spool

# A disk that is slower than this does not keep a caller waiting any longer.
SPOOL_SECONDS = 1.0
# As many outcomes are told at once, in one transaction.
TOLD_AT_ONCE = 1000
# What the database takes waits no longer than a step or two; what waits longer is told of.
WAITS_LONG_SECONDS = 10.0


class Spooling:
    """Keeps entries, many in one write to disk, and passes on what waits."""

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        customers: Customers,
        also_waits: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Keep nothing yet.

        Args:
            also_waits: How many seconds what is on disk beside the spool has waited.
        """
        self._also_waits = also_waits
        self._spool = spool
        self._journal = journal
        self._customers = customers
        self._log = structlog.get_logger("spool")
        self._waited = 0.0
        self._entries: Batcher[Spooled, None] = Batcher(self._keep, lanes=1, most_waiting=4096)

    async def keep(self, entry: Spooled) -> None:
        """Keep an entry; when this returns it is on disk.

        Raises:
            StoreUnavailable: The disk does not take it, or not in time.
            Overloaded: Too many wait for the disk.
        """
        by = asyncio.get_running_loop().time() + SPOOL_SECONDS
        await self._entries.submit(entry, by)
        metrics.SPOOLED.labels("outcome" if entry.outcomes else "decision").inc()

    @property
    def cause(self) -> str | None:
        """Say how long what waits here has waited, where that is long."""
        if self._waited < WAITS_LONG_SECONDS:
            return None
        return f"what is kept on disk has waited {self._waited:.0f} s for the database"

    async def pass_on(self) -> None:
        """Write what waits into the database, each once; a step to be taken again and again.

        Raises:
            StoreUnavailable: The database does not answer; what it did not take goes on waiting.
        """
        self._waited = max(await self._spool.waits_seconds(), self._also_waits())
        metrics.WAITS.set(self._waited)
        passed = await self._spool.pass_on(self._write)
        if passed:
            self._log.info("passed on", entries=passed)

    async def forget_rejected(self) -> None:
        """Forget in what was put aside here who was forgotten since; a step as `pass_on`.

        Raises:
            StoreUnavailable: The database does not answer, or the disk takes nothing.
        """
        names = await self._spool.rejected_customers()
        if not names:
            return
        former = await self._customers.former(sorted(names))
        changed = await self._spool.forget_rejected(former) if former else 0
        if changed:
            self._log.info("forgotten in what was rejected", outcomes=changed)

    async def close(self) -> None:
        await self._spool.close()

    async def _keep(self, entries: Sequence[Spooled]) -> Sequence[None]:
        await self._spool.keep(entries)
        return [None] * len(entries)

    async def _write(self, entries: Sequence[Spooled]) -> None:
        # Who was forgotten while this waited is not brought back by it.
        former = await self._customers.former(sorted(customers_of(entries)))
        if former:
            entries = [pseudonymous_entry(entry, former) for entry in entries]
        answered = [one.answered for one in entries if one.answered is not None]
        if answered:
            await self._journal.record_once(answered)
        # Also one whose name was taken meanwhile: it was answered, so it is recorded.
        records = [one.record for one in entries if one.record is not None]
        records += [one.record for one in answered]
        if records:
            await self._journal.record([packed(record) for record in records])
        metrics.PASSED_ON.labels("decision").inc(len(records))
        await self._tell([one for one in entries if one.outcomes])

    async def _tell(self, entries: Sequence[Spooled]) -> None:
        for entry in entries:
            if entry.replay is not None:
                await self._tell_one(entry)
        told = [o for entry in entries if entry.replay is None for o in entry.outcomes]
        for first in range(0, len(told), TOLD_AT_ONCE):
            await self._tell_each(told[first : first + TOLD_AT_ONCE])
        metrics.PASSED_ON.labels("outcome").inc(sum(len(one.outcomes) for one in entries))

    async def _tell_one(self, entry: Spooled) -> None:
        try:
            if await self._journal.tell(entry.outcomes, entry.replay) is not None:
                return
        except (EventChanged, EventRefused):
            pass  # Not all of them: which, is found below.
        await self._tell_each(entry.outcomes)

    async def _tell_each(self, outcomes: Sequence[Outcome]) -> None:
        """Tell outcomes that were acknowledged; one that can never be told is put aside."""
        try:
            await self._journal.tell(outcomes)
            return
        except (EventChanged, EventRefused) as error:
            if len(outcomes) == 1:
                await self._spool.reject([Rejected(outcomes[0], str(error))])
                metrics.REJECTED.inc()
                fault = error if isinstance(error, EventRefused) else None
                self._log.error("outcome rejected", reason=str(error), exc_info=fault)
                return
        half = len(outcomes) // 2
        await self._tell_each(outcomes[:half])
        await self._tell_each(outcomes[half:])

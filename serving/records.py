"""Records: each answered decision is on disk, here or in the database, before it is answered."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import structlog

from foundation.decision import DecisionRecord
from foundation.errors import StoreUnavailable
from foundation.packed_decision import PackedDecision, packed
from foundation.replay import Answered
from foundation.spooled import Spooled
from serving import metrics
from serving.ahead import Ahead
from serving.batching import Batcher, shared
from serving.breaker import Breaker
from serving.errors import Overloaded
from serving.journal import Journal
from serving.spooling import Spooling
from serving.states import FAILURES

# Where a record is when its request is answered.
# "kept" is in the database, or on disk here and there in a moment; "spool" waits for an outage's
# end.
Place = Literal["kept", "spool", "nowhere"]


class Records:
    """Keeps decisions, many in one commit.

    Args:
        patience: Seconds that the database may take for a commit; while it takes no longer, a
            record waits for its turn, however many are before it.
    """

    def __init__(self, ahead: Ahead, journal: Journal, spooling: Spooling, patience: float) -> None:
        self._ahead = ahead
        self._journal = journal
        self._spooling = spooling
        self._log = structlog.get_logger("serving")
        # One commit at a time: whoever comes meanwhile shares the next.
        self._records: Batcher[PackedDecision, None] = Batcher(
            self._write, lanes=1, patience=patience
        )
        self._answered: Batcher[Answered, str | None] = Batcher(
            journal.record_once, lanes=1, patience=patience
        )
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels("record"))

    async def keep(self, record: DecisionRecord, by: float) -> Place:
        """Keep a record; when this returns it is on disk, unless it is nowhere.

        Where this disk does not take it, the database is asked, and then the spool. A write that is
        late may yet arrive: the database takes a record once.

        Args:
            by: When it has to be there, on the loop's clock.
        """
        decision = packed(record)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        if await self._ahead.keep(decision):
            return "kept"
        # What this disk took of the time it did not take of the database's.
        by += loop.time() - asked
        if self._may_ask(self._records, by):
            try:
                await self._records.submit(decision, by)
            except (StoreUnavailable, Overloaded) as error:
                self._breaker.failed(shared(error))
            else:
                self._breaker.succeeded()
                return "kept"
        return await self._spool(Spooled(record=record))

    async def keep_once(self, answered: Answered, by: float) -> tuple[Place, str | None]:
        """Keep a record as `keep`, unless its request was answered before.

        Returns:
            Where it is, and the answer that stands for its name; None where the name was used for
            another request.
        """
        if self._may_ask(self._answered, by):
            try:
                stands = await self._answered.submit(answered, by)
            except (StoreUnavailable, Overloaded) as error:
                self._breaker.failed(shared(error))
            else:
                self._breaker.succeeded()
                return "kept", stands
        return await self._spool(Spooled(answered=answered)), answered.answer

    def _may_ask(self, batches: Batcher[Any, Any], by: float) -> bool:
        in_time = asyncio.get_running_loop().time() < by or batches.lively
        return in_time and self._breaker.allows()

    async def _spool(self, entry: Spooled) -> Place:
        try:
            await self._spooling.keep(entry)
        except (StoreUnavailable, Overloaded) as error:
            self._log.error("decision not recorded", reason=str(error))
            return "nowhere"
        return "spool"

    async def _write(self, decisions: Sequence[PackedDecision]) -> Sequence[None]:
        await self._journal.record(decisions)
        metrics.BATCH.observe(len(decisions))
        return [None] * len(decisions)

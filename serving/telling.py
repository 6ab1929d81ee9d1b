"""Outcomes told: checked, written once, and never in the way of decisions."""

import asyncio
from collections.abc import Sequence

from foundation.errors import EventChanged, KeyReused, RegularsError, StoreUnavailable
from foundation.outcome import Outcome, check_outcome
from foundation.replay import Replay
from foundation.spooled import Spooled
from serving import metrics
from serving.batching import Batcher
from serving.breaker import Breaker
from serving.errors import InvalidField
from serving.messages import OutcomeAnswer, OutcomeRequest
from serving.parts import Parts
from serving.spooling import Spooling

# At most so many tellings hold a connection, so that decisions never wait behind outcomes.
TELLINGS = 2
# The database has so long; then they wait on disk, which a caller with a second's patience hears.
TELLING_SECONDS = 0.8
# After this many in a row that were too late or failed.
FAILURES = 3

_Told = tuple[Sequence[Outcome], Replay | None]


class Telling:
    """Takes outcomes."""

    def __init__(self, parts: Parts, spooling: Spooling) -> None:
        self._parts = parts
        self._spooling = spooling
        self._tellings: Batcher[_Told, int | None] = Batcher(self._tell, lanes=TELLINGS, largest=1)
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels("outcome"))

    async def tell(self, request: OutcomeRequest, replay: Replay | None = None) -> OutcomeAnswer:
        """Keep outcomes in the database, or on disk until it takes them; those told before count
        once.

        Args:
            replay: Names the request; the same one gets the same answer again.

        Raises:
            InvalidField: A time or an amount breaks its rule; nothing is kept.
            EventChanged: An event_id was told before with other content; nothing is kept.
            KeyReused: The name belongs to another request.
            Overloaded: Too many wait for the database.
            StoreUnavailable: Neither the database nor the disk takes them.
        """
        now = self._parts.clock.now()
        for i, outcome in enumerate(request.events):
            try:
                check_outcome(outcome, now)
            except RegularsError as error:
                raise InvalidField(str(error), f"events[{i}]") from error
        if self._breaker.allows():
            by = asyncio.get_running_loop().time() + TELLING_SECONDS
            try:
                new = await self._tellings.submit((request.events, replay), by)
            except StoreUnavailable:
                self._breaker.failed()
            except EventChanged:
                self._breaker.succeeded()
                raise
            else:
                self._breaker.succeeded()
                if new is None:
                    raise KeyReused
                metrics.OUTCOMES.inc(new)
                return OutcomeAnswer(accepted=new, repeated=len(request.events) - new)
        await self._spooling.keep(Spooled(outcomes=request.events, replay=replay))
        return OutcomeAnswer(accepted=0, repeated=0, spooled=len(request.events))

    async def _tell(self, told: Sequence[_Told]) -> Sequence[int | None]:
        return [await self._parts.journal.tell(outcomes, replay) for outcomes, replay in told]

"""Outcomes told: checked, written once, and never in the way of decisions."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from foundation.errors import RegularsError, StoreUnavailable
from foundation.outcome import check_outcome
from serving import metrics
from serving.errors import InvalidField
from serving.messages import OutcomeAnswer, OutcomeRequest
from serving.parts import Parts

# At most so many tellings hold a connection, so that decisions never wait behind outcomes, and
# none waits longer for its turn.
TELLINGS = 2
TELLING_SECONDS = 5.0


class Telling:
    """Takes outcomes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turns = asyncio.Semaphore(TELLINGS)

    async def tell(self, request: OutcomeRequest) -> OutcomeAnswer:
        """Write outcomes; those told before count once.

        Raises:
            InvalidField: A time or an amount breaks its rule; nothing is written.
            EventChanged: An event_id was told before with other content; nothing is written.
            StoreUnavailable: The database does not answer, or too many wait for it.
        """
        now = self._parts.clock.now()
        for i, outcome in enumerate(request.events):
            try:
                check_outcome(outcome, now)
            except RegularsError as error:
                raise InvalidField(str(error), f"events[{i}]") from error
        async with self._turn():
            new = await self._parts.journal.tell(request.events)
        metrics.OUTCOMES.inc(new)
        return OutcomeAnswer(accepted=new, repeated=len(request.events) - new)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(TELLING_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("too many outcomes wait for the database; try again") from error
        try:
            yield
        finally:
            self._turns.release()

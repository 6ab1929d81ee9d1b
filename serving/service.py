"""The decision service: decides by what is live, and records before it answers."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from foundation.decision import DecisionRecord
from foundation.errors import RegularsError, StoreUnavailable, UnreadableRecord
from foundation.replay import Replay
from recommender.next_products import recommend
from serving.ahead import PASS_SECONDS, Ahead
from serving.batch import BatchDecisions
from serving.batching import Batcher
from serving.claims import Claims
from serving.deciding import Deciding
from serving.degraded import AWAY_CAUSE, REFUSALS_CAUSE
from serving.dossier import Dossiers
from serving.forgotten import WithoutForgotten
from serving.ids import made_after
from serving.keyring import Keyring
from serving.live import LiveKnowledge
from serving.messages import (
    AnsweredProduct,
    DecisionAnswer,
    DecisionRequest,
    RecommendationAnswer,
    RecommendationRequest,
    ReplayAnswer,
)
from serving.parts import Parts
from serving.refusals import Refusals
from serving.replay import replayed
from serving.spooling import Spooling
from serving.telling import Telling
from serving.watch import watch

# So long a replay looks for a decision that was answered just now, by whichever worker.
ON_ITS_WAY_SECONDS = 2.0
# A balancer waits no longer to hear whether the database answers.
READY_SECONDS = 0.5
FORGET_SECONDS = 60.0
FORGET_REJECTED_SECONDS = 10.0
# A start does not wait longer for a model; what is popular can be offered without one.
START_SECONDS = 20.0


class DecisionService:
    """Answers decision requests and takes outcomes; see serving.api for HTTP.

    Keys, champion and catalogue are watched each by a task of its own: a tracking server that
    hangs delays no revocation, and what could not be read anew stays as it was.
    """

    def __init__(self, parts: Parts) -> None:
        profiles = WithoutForgotten(parts.profiles)
        parts = replace(parts, profiles=profiles)
        self._parts = parts
        self.traces = parts.traces
        self.keyring = Keyring(parts.keys, parts.clock, parts.rates)
        self.live = LiveKnowledge(parts)
        self.claims = Claims(parts, self.live)
        self.batch = BatchDecisions(parts, self.live)
        self._ahead = Ahead(parts.ahead, parts.journal, parts.customers)
        self.dossiers = Dossiers(parts, profiles, self._ahead)
        self._spooling = Spooling(
            parts.spool, parts.journal, parts.customers, self._ahead.waits_seconds
        )
        self.telling = Telling(parts, self._spooling)
        self._refusals = Refusals(
            parts.customers, parts.kept_refusals, parts.contact_policy, lambda: profiles.forgotten
        )
        self._deciding = Deciding(parts, self.live, self._ahead, self._spooling, self._refusals)
        # A database that hangs is asked once for all who want to know.
        self._looks: Batcher[None, bool] = Batcher(self._answers, lanes=1)
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load what is live; goes on without the database or a model and comes back with them."""
        steps = (
            self.keyring.read,
            self.live.read_champion,
            self.live.read_uplift,
            self.live.read_catalogue,
            self.live.read_snapshot,
            self.live.read_uses,
            self.dossiers.read_forgotten,
            self._refusals.read,
            self._ahead.open,
        )
        first = [asyncio.Event() for _ in steps]
        self._watches = [
            asyncio.create_task(watch(step, tried))
            for step, tried in zip(steps, first, strict=True)
        ]
        # No start waits for a shadow, or for what an outage left and what is tidied up.
        self._watches += [
            asyncio.create_task(watch(self._ahead.pass_on, asyncio.Event(), PASS_SECONDS)),
            asyncio.create_task(watch(self._ahead.pass_on_left, asyncio.Event())),
            asyncio.create_task(watch(self._spooling.pass_on, asyncio.Event())),
            asyncio.create_task(watch(self.live.read_shadows, asyncio.Event())),
            asyncio.create_task(watch(self._forget_old, asyncio.Event(), FORGET_SECONDS)),
            asyncio.create_task(
                watch(self._spooling.forget_rejected, asyncio.Event(), FORGET_REJECTED_SECONDS)
            ),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                for tried in first:
                    await tried.wait()

    async def stop(self) -> None:
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        self.live.shadow.stop()
        await self._parts.profiles.close()
        await self._ahead.close()
        await self._spooling.close()
        await self._parts.journal.close()

    async def causes(self) -> Sequence[str] | None:
        """Why decisions would be degraded now, None where there could be none at all."""
        if self.live.known is None:
            return None
        waits = self._spooling.cause
        away = None if await self._database_answers() else AWAY_CAUSE
        unknown = None if self._refusals.all_known else REFUSALS_CAUSE
        told = (away, unknown, waits)
        return [*self.live.causes, *(cause for cause in told if cause is not None)]

    async def _database_answers(self) -> bool:
        try:
            by = asyncio.get_running_loop().time() + READY_SECONDS
            return await self._looks.submit(None, by)
        except StoreUnavailable:
            return False

    async def _forget_old(self) -> None:
        await self._parts.journal.forget_names()
        await self._parts.contact_counter.forget()

    async def refresh(self) -> None:
        """Take over newer keys, catalogue, snapshot and champion at once, if there are any.

        Raises:
            StoreUnavailable: The database does not answer; what is live stays.
        """
        await self.keyring.read()
        await self.live.read_catalogue()
        await self.live.read_snapshot()
        await self.live.read_champion()
        await self.live.read_uplift()

    async def decide(
        self, request: DecisionRequest, replay: Replay | None = None
    ) -> DecisionAnswer:
        """Decide, keep the record, then answer; see Deciding."""
        return await self._deciding.decide(request, replay)

    async def replay(self, decision_id: str) -> ReplayAnswer | None:
        """Make a decision again from its record; None where there is none.

        Raises:
            StoreUnavailable: The database does not answer.
            UnreadableRecord: Nothing can be made of the record.
        """
        record = await self._recorded(decision_id)
        try:
            return None if record is None else replayed(record, self.live.known)
        except RegularsError as error:
            raise UnreadableRecord(decision_id, error) from error

    async def _recorded(self, decision_id: str) -> DecisionRecord | None:
        """Return a decision's record; one just answered may be on its way to the database."""
        until = self._parts.clock.now() - timedelta(seconds=ON_ITS_WAY_SECONDS)
        # An id may say that it is of any time, also of one to come.
        loop = asyncio.get_running_loop()
        by = loop.time() + ON_ITS_WAY_SECONDS
        while True:
            record = await self._parts.journal.decision(decision_id)
            if record is not None or loop.time() > by or not made_after(decision_id, until):
                return record
            until += timedelta(seconds=PASS_SECONDS)
            await asyncio.sleep(PASS_SECONDS)

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """Return the products that go best with a basket, by the live snapshot alone.

        Raises:
            StoreUnavailable: The profile store does not answer.
        """
        facts = self._parts.profiles.facts()
        goods = await self._parts.profiles.next_products(request.basket)
        found = recommend(request.basket, goods.products.get, goods.groups.get, request.limit)
        causes: list[str] = []
        if facts is None:
            causes.append("no customer snapshot is published; run 'regulars segment'")
        elif not found:
            causes.append("nothing is surely bought together with what is in this basket")
        return RecommendationAnswer(
            products=[
                AnsweredProduct(one.product_id, rank, one.score, one.lift, one.reason)
                for rank, one in enumerate(found, start=1)
            ],
            causes=causes,
            snapshot=None if facts is None else facts.version,
        )

    async def _answers(self, asked: Sequence[None]) -> Sequence[bool]:
        return [await self._parts.journal.ready()] * len(asked)

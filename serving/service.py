"""The decision service: decides by what is live, and records before it answers."""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence

import msgspec

from foundation.decision import DecisionRecord
from foundation.errors import StoreUnavailable
from foundation.money import InvalidAmount
from foundation.profile import LiveState
from recommender.next_products import recommend
from serving import metrics
from serving.answer import answer_of
from serving.basket import profile_for
from serving.batching import Batcher
from serving.claims import Claims
from serving.decide import decide
from serving.decision_log import DegradedLog, deciding
from serving.errors import InvalidField
from serving.ids import new_id
from serving.keyring import Keyring
from serving.live import LiveKnowledge
from serving.messages import (
    AnsweredProduct,
    DecisionAnswer,
    DecisionRequest,
    RecommendationAnswer,
    RecommendationRequest,
)
from serving.parts import Parts
from serving.steps import Steps, unwatched
from serving.telling import Telling
from serving.watch import watch

# A start does not wait longer for a model; what is popular can be offered without one.
START_SECONDS = 20.0


class DecisionService:
    """Answers decision requests and takes outcomes; see serving.api for HTTP.

    Keys, champion and catalogue are watched each by a task of its own: a tracking server that
    hangs delays no revocation, and what could not be read anew stays as it was.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.traces = parts.traces
        self._steps = Steps(parts.traces)
        self._degraded = DegradedLog()
        self.keyring = Keyring(parts.keys)
        self.live = LiveKnowledge(parts)
        self.claims = Claims(parts, self.live)
        self.telling = Telling(parts)
        # One read and one commit at a time: whoever comes meanwhile shares the next, and the more
        # come the cheaper each one is.
        self._states: Batcher[str, LiveState] = Batcher(parts.journal.live_states, lanes=1)
        self._records: Batcher[DecisionRecord, None] = Batcher(self._write, lanes=1)
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
        )
        first = [asyncio.Event() for _ in steps]
        self._watches = [
            asyncio.create_task(watch(step, tried))
            for step, tried in zip(steps, first, strict=True)
        ]
        # No start waits for a shadow.
        self._watches.append(asyncio.create_task(watch(self.live.read_shadows, asyncio.Event())))
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
        await self._parts.journal.close()

    async def ready(self) -> bool:
        """Whether a decision could be made and recorded now."""
        return self.live.known is not None and await self._parts.journal.ready()

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

    async def decide(self, request: DecisionRequest) -> DecisionAnswer:
        """Decide, write the record, then answer; a dry run leaves nothing behind.

        Raises:
            StoreUnavailable: The database does not answer; nothing was answered.
            InvalidField: An amount of the basket is no money.
        """
        watch = self._steps.watch()
        lap = unwatched if watch is None else watch.lap
        known = self.live.required()
        decision_id = new_id(self._parts.clock)
        deciding(decision_id)
        profile, unread = None, False
        try:
            profile = await profile_for(request, self._parts.profiles)
        except StoreUnavailable:
            unread = True
        lap("profile")
        state = await self._states.submit(request.customer_id)
        lap("state")
        try:
            record = decide(
                request,
                profile,
                state,
                known,
                decision_id=decision_id,
                at=self._parts.clock.now(),
                seed=secrets.randbits(53),
                lap=lap,
            )
        except InvalidAmount as error:
            raise InvalidField(str(error), "context.basket") from error
        if unread:
            causes = [*record.causes, "the profile store does not answer"]
            record = msgspec.structs.replace(record, causes=causes, propensity_valid=False)
        if not request.dry_run:
            await self._records.submit(record)
            lap("record")
            metrics.count_decision(record)
            self.live.shadow.show(record, profile, known.catalogue.by_id, known.time_zone)
        answer = answer_of(request, record, profile, known)
        self._degraded.told(record)
        if watch is not None:
            lap("answer")
            self._steps.told(watch, record)
        return answer

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

    async def _write(self, records: Sequence[DecisionRecord]) -> Sequence[None]:
        await self._parts.journal.record(records)
        metrics.BATCH.observe(len(records))
        return [None] * len(records)

"""The decision service: decides by what is live, and records before it answers."""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence

import msgspec

from foundation.errors import StoreUnavailable
from foundation.money import InvalidAmount
from foundation.profile import UNCOUNTED
from foundation.replay import Answered, Replay
from recommender.next_products import recommend
from serving import metrics
from serving.answer import answer_of
from serving.batching import Batcher
from serving.claims import Claims
from serving.decide import decide
from serving.decision_log import DegradedLog, deciding
from serving.degraded import (
    AWAY_CAUSE,
    UNCOUNTED_CAUSE,
    count_degraded,
    kept_elsewhere,
    without_profile,
)
from serving.errors import InvalidField, KeyReused
from serving.ids import id_of, new_id, seed_of
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
from serving.profile_reads import ProfileReads
from serving.records import Records
from serving.replay import replayed
from serving.spooling import Spooling
from serving.states import States
from serving.steps import Steps, unwatched
from serving.telling import Telling
from serving.watch import watch

# A balancer waits no longer to hear whether the database answers.
READY_SECONDS = 0.5
FORGET_SECONDS = 60.0
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
        self.keyring = Keyring(parts.keys, parts.clock, parts.rates)
        self.live = LiveKnowledge(parts)
        self.claims = Claims(parts, self.live)
        self._spooling = Spooling(parts.spool, parts.journal)
        self.telling = Telling(parts, self._spooling)
        self._profiles = ProfileReads(parts.profiles)
        self._states = States(parts.journal)
        self._records = Records(parts.journal, self._spooling)
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
            self._spooling.pass_on,
        )
        first = [asyncio.Event() for _ in steps]
        self._watches = [
            asyncio.create_task(watch(step, tried))
            for step, tried in zip(steps, first, strict=True)
        ]
        # No start waits for a shadow, or for what is only tidied up.
        self._watches += [
            asyncio.create_task(watch(self.live.read_shadows, asyncio.Event())),
            asyncio.create_task(watch(self._forget_names, asyncio.Event(), FORGET_SECONDS)),
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
        await self._spooling.close()
        await self._parts.journal.close()

    async def causes(self) -> Sequence[str] | None:
        """Why decisions would be degraded now, None where there could be none at all."""
        if self.live.known is None:
            return None
        return [*self.live.causes, *([] if await self._database_answers() else [AWAY_CAUSE])]

    async def _database_answers(self) -> bool:
        try:
            by = asyncio.get_running_loop().time() + READY_SECONDS
            return await self._looks.submit(None, by)
        except StoreUnavailable:
            return False

    async def _forget_names(self) -> None:
        await self._parts.journal.forget_names()

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
        """Decide, keep the record, then answer; a dry run leaves nothing behind.

        Without a database in time the answer is made from what is in memory, and says so.

        Args:
            replay: Names the request; the same one gets the same answer again. A dry run has none.

        Raises:
            StoreUnavailable: There is no catalogue yet, of no database and from no time before.
            InvalidField: An amount of the basket is no money.
            KeyReused: The name belongs to another request.
            Overloaded: Too many wait already.
        """
        watch = self._steps.watch()
        lap = unwatched if watch is None else watch.lap
        known = self.live.required()
        by = asyncio.get_running_loop().time() + self._parts.deadline_seconds
        clock = self._parts.clock
        decision_id = new_id(clock) if replay is None else id_of(replay, clock)
        deciding(decision_id)
        profile, read = await self._profiles.of(request, by)
        lap("profile")
        # Her snapshot counts uses, too: without it none are counted.
        state = await self._states.of(request.customer_id, by) if read else UNCOUNTED
        lap("state")
        try:
            record = decide(
                request,
                profile,
                state,
                known,
                decision_id=decision_id,
                at=clock.now(),
                seed=secrets.randbits(53) if replay is None else seed_of(replay),
                lap=lap,
            )
        except InvalidAmount as error:
            raise InvalidField(str(error), "context.basket") from error
        if not read:
            record = without_profile(record)
        elif not state.counted:
            record = msgspec.structs.replace(record, causes=[*record.causes, UNCOUNTED_CAUSE])
        answer = answer_of(request, record, profile, known)
        lap("answer")
        if request.dry_run:
            return answer
        if replay is None:
            place = await self._records.keep(record, by)
        else:
            asked = Answered(replay, record, msgspec.json.encode(answer).decode())
            place, stands = await self._records.keep_once(asked, by)
            if stands is None:
                raise KeyReused
            if stands != asked.answer:
                return msgspec.json.decode(stands, type=DecisionAnswer)
        lap("record")
        metrics.count_decision(record)
        count_degraded(known, state, record, place)
        self._degraded.told(record)
        if watch is not None:
            self._steps.told(watch, record)
        self.live.shadow.show(record, profile, known.catalogue.by_id, known.time_zone)
        return answer if place == "database" else kept_elsewhere(answer, place)

    async def replay(self, decision_id: str) -> ReplayAnswer | None:
        """Make a decision again from its record; None where there is none.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        record = await self._parts.journal.decision(decision_id)
        return None if record is None else replayed(record, self.live.known)

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

"""Deciding: gather what is known of her in time, decide, keep the record, answer."""

import asyncio
import secrets
from dataclasses import dataclass, replace

import msgspec

from foundation.contact_policy import Decided, is_contact
from foundation.decision import DecisionRecord
from foundation.errors import KeyReused
from foundation.money import InvalidAmount
from foundation.profile import UNCOUNTED, LiveState, Profile
from foundation.replay import Answered, Replay
from serving import metrics
from serving.ahead import Ahead
from serving.answer import answer_of
from serving.contacting import Contacting
from serving.decide import Knowledge, decide
from serving.decision_log import DegradedLog, deciding
from serving.degraded import (
    REFUSALS_CAUSE,
    UNCOUNTED_CAUSE,
    count_degraded,
    kept_elsewhere,
    without_profile,
)
from serving.errors import InvalidField
from serving.ids import id_of, new_id, seed_of
from serving.live import LiveKnowledge
from serving.messages import DecisionAnswer, DecisionRequest
from serving.parts import Parts
from serving.profile_reads import ProfileReads
from serving.reach import zone_of
from serving.records import Place, Records
from serving.refusals import Refusals
from serving.spooling import Spooling
from serving.states import States
from serving.steps import Steps, Stopwatch, unwatched


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A request, and what was gathered for it; `read` says whether her profile could be read."""

    request: DecisionRequest
    replay: Replay | None
    decision_id: str
    known: Knowledge
    profile: Profile | None
    read: bool
    by: float
    watch: Stopwatch | None

    def lap(self, step: str) -> None:
        if self.watch is not None:
            self.watch.lap(step)


class Deciding:
    """Decides by what is live, within a deadline, with or without the stores."""

    def __init__(
        self,
        parts: Parts,
        live: LiveKnowledge,
        ahead: Ahead,
        spooling: Spooling,
        refusals: Refusals,
    ) -> None:
        self._parts = parts
        self._live = live
        self._refusals = refusals
        self._steps = Steps(parts.traces)
        self._degraded = DegradedLog()
        self._profiles = ProfileReads(parts.profiles)
        self._states = States(parts.journal.live_states, "live_state", parts.deadline_seconds)
        self._contacting = Contacting(parts.journal, parts.contact_counter, parts.deadline_seconds)
        self._records = Records(ahead, parts.journal, spooling, parts.deadline_seconds)

    async def decide(self, request: DecisionRequest, replay: Replay | None) -> DecisionAnswer:
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
        known = self._live.required()
        by = asyncio.get_running_loop().time() + self._parts.deadline_seconds
        clock = self._parts.clock
        decision_id = new_id(clock) if replay is None else id_of(replay, clock)
        deciding(decision_id)
        profile, read = await self._profiles.of(request, by)
        asked = _Asked(request, replay, decision_id, known, profile, read, by, watch)
        asked.lap("profile")
        if request.channel in known.contact_policy.outbound:
            return await self._contact(asked)
        # Her snapshot counts uses, too: without it none are counted.
        state = await self._states.of(request.customer_id, by) if read else UNCOUNTED
        if not state.counted:
            state = self._refusals.uncounted(request.customer_id)
        asked.lap("state")
        record, answer = self._decided(asked, state)
        return answer if request.dry_run else await self._kept(asked, state, record, answer)

    async def _contact(self, asked: _Asked) -> DecisionAnswer:
        """Decide where we go to her: what cannot be counted as a contact is not shown."""
        request, policy = asked.request, asked.known.contact_policy
        state = await self._contact_state(asked)
        while True:
            if not state.counted:
                # What an outage answers holds for this moment, not for the request's name.
                asked = replace(asked, replay=None, decision_id=new_id(self._parts.clock))
            record, answer = self._decided(asked, state)
            if request.dry_run:
                return answer
            if not is_contact(policy, record):
                return await self._kept(asked, state, record, answer)
            zone = zone_of(asked.profile, asked.known.time_zone)
            named = _named(asked.replay, record, answer)
            written = await self._contacting.keep(Decided(record, zone, named), asked.by)
            if written is not None and written.kept:
                break
            # A rival contacted her since, which her new state says; or the database is away.
            state = UNCOUNTED if written is None else await self._contact_state(asked)
        asked.lap("record")
        if named is not None:
            if written.stands is None:
                raise KeyReused
            if written.stands != named.answer:
                return msgspec.json.decode(written.stands, type=DecisionAnswer)
        self._told(asked, state, record, "kept")
        return answer

    async def _contact_state(self, asked: _Asked) -> LiveState:
        if not asked.read:
            return UNCOUNTED
        state = await self._contacting.states.of(asked.request.customer_id, asked.by)
        asked.lap("state")
        return state

    def _decided(self, asked: _Asked, state: LiveState) -> tuple[DecisionRecord, DecisionAnswer]:
        try:
            record = decide(
                asked.request,
                asked.profile,
                state,
                asked.known,
                decision_id=asked.decision_id,
                at=self._parts.clock.now(),
                seed=secrets.randbits(53) if asked.replay is None else seed_of(asked.replay),
                lap=unwatched if asked.watch is None else asked.watch.lap,
            )
        except InvalidAmount as error:
            raise InvalidField(str(error), "context.basket") from error
        if not asked.read:
            record = without_profile(record)
        elif not state.counted:
            record = msgspec.structs.replace(record, causes=[*record.causes, UNCOUNTED_CAUSE])
        if not state.counted and self._refusals.unknown(asked.request.channel):
            record = msgspec.structs.replace(record, causes=[*record.causes, REFUSALS_CAUSE])
        answer = answer_of(asked.request, record, asked.profile, asked.known)
        asked.lap("answer")
        return record, answer

    async def _kept(
        self, asked: _Asked, state: LiveState, record: DecisionRecord, answer: DecisionAnswer
    ) -> DecisionAnswer:
        named = _named(asked.replay, record, answer)
        if named is None:
            place = await self._records.keep(record, asked.by)
        else:
            place, stands = await self._records.keep_once(named, asked.by)
            if stands is None:
                raise KeyReused
            if stands != named.answer:
                return msgspec.json.decode(stands, type=DecisionAnswer)
        asked.lap("record")
        self._told(asked, state, record, place)
        return answer if place == "kept" else kept_elsewhere(answer, place)

    def _told(self, asked: _Asked, state: LiveState, record: DecisionRecord, place: Place) -> None:
        known = asked.known
        metrics.count_decision(record)
        count_degraded(known, state, record, place)
        self._degraded.told(record)
        if asked.watch is not None:
            self._steps.told(asked.watch, record)
        self._live.shadow.show(record, asked.profile, known.catalogue.by_id, known.time_zone)


def _named(
    replay: Replay | None, record: DecisionRecord, answer: DecisionAnswer
) -> Answered | None:
    """Return what is kept under a request's name, None for one without."""
    if replay is None:
        return None
    return Answered(replay, record, msgspec.json.encode(answer).decode())

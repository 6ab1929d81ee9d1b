"""The decision service: keeps what is live in memory, decides, and records before it answers."""

import asyncio
import contextlib
import os
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from foundation.access import KeyFacts, Scope, allowed
from foundation.clock import Clock
from foundation.decision import DecisionRecord, Policy
from foundation.errors import RegularsError, StoreUnavailable
from foundation.outcome import check_outcome
from foundation.profile import LiveState
from serving import metrics
from serving.batching import Batcher
from serving.catalogue import Catalogue, CatalogueSource
from serving.decide import Knowledge, decide
from serving.journal import Journal
from serving.keys import KeyStore
from serving.messages import (
    AnsweredExperiment,
    AnsweredOffer,
    AnsweredPlacement,
    AnsweredVersions,
    DecisionAnswer,
    DecisionRequest,
    OutcomeAnswer,
    OutcomeRequest,
)
from serving.profiles import ProfileStore
from serving.scoring import Model, Scorer

REFRESH_SECONDS = 0.5
KEY_SECONDS = 0.1


@dataclass(frozen=True)
class LiveModel:
    """The champion and its name, e.g. response@7."""

    name: str
    model: Model


@dataclass(frozen=True)
class Parts:
    """The adapters a service is put together from."""

    clock: Clock
    catalogue: CatalogueSource
    journal: Journal
    keys: KeyStore
    profiles: ProfileStore
    champion: Callable[[], LiveModel | None]
    policy: Policy
    time_zone: str


class DecisionService:
    """Answers decision requests and takes outcomes; see serving.api for HTTP."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = structlog.get_logger("serving")
        self._known: Knowledge | None = None
        self._keys: dict[bytes, KeyFacts] = {}
        self._keys_read = 0.0
        self._keys_turn = asyncio.Lock()
        # Reads run beside each other; two commits at a time keep the disk busy and still group.
        self._states: Batcher[str, LiveState] = Batcher(parts.journal.live_states, lanes=4)
        self._records: Batcher[DecisionRecord, None] = Batcher(self._write, lanes=2)
        self._watch: asyncio.Task[None] | None = None

    async def allows(self, key: str, scope: Scope) -> bool | None:
        """Whether a key may do something; None when nobody knows the key."""
        may, asked = allowed(self._keys, key, scope), time.monotonic()
        if may is not None:
            return may
        # The key may be younger than the last look. One look serves all who wait for it, and
        # looks keep a distance, so that guessing at keys does not wear out the database.
        async with self._keys_turn:
            if self._keys_read < asked:
                await asyncio.sleep(self._keys_read + KEY_SECONDS - asked)
                self._keys_read = time.monotonic()
                self._keys = await self._parts.keys.keys()
        return allowed(self._keys, key, scope)

    async def start(self) -> None:
        """Load what is live; goes on without the database and comes back with it."""
        with contextlib.suppress(StoreUnavailable):
            await self.refresh()
        self._watch = asyncio.create_task(self._keep_fresh())

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def ready(self) -> bool:
        """Whether a decision could be made and recorded now."""
        return self._known is not None and await self._parts.journal.ready()

    async def refresh(self) -> None:
        """Take over a newer catalogue, snapshot or champion, if there is one."""
        parts, known = self._parts, self._known
        self._keys = await parts.keys.keys()
        moved = parts.profiles.refresh()
        version = await parts.catalogue.version()
        if known is not None and not moved and version == known.catalogue.version:
            return
        catalogue = Catalogue(*await parts.catalogue.read())
        # Loading a model reads files: off the event loop, so that requests go on.
        self._known = await asyncio.to_thread(self._knowledge, catalogue)
        self._log.info(
            "took over",
            catalogue=catalogue.version,
            snapshot=self._known.snapshot,
            model=self._known.scorer.name if self._known.scorer else None,
            causes=list(self._known.causes),
        )

    async def decide(self, request: DecisionRequest) -> DecisionAnswer:
        """Decide, write the record, then answer.

        Raises:
            StoreUnavailable: The database does not answer; nothing was decided.
        """
        known = self._known
        if known is None:
            raise StoreUnavailable("the catalogue is not loaded yet; try again in a second")
        profile = self._parts.profiles.get(request.customer_id)
        state = await self._states.submit(request.customer_id)
        record = decide(
            request,
            profile,
            state,
            known,
            decision_id=_new_id(self._parts.clock),
            at=self._parts.clock.now(),
            seed=secrets.randbits(53),
        )
        await self._records.submit(record)
        metrics.count_decision(record)
        return _answer(record, known.catalogue)

    async def tell(self, request: OutcomeRequest) -> OutcomeAnswer:
        """Write outcomes; those told before count once.

        Raises:
            RegularsError: A time or an amount breaks its rule; nothing is written.
        """
        now = self._parts.clock.now()
        for outcome in request.events:
            check_outcome(outcome, now)
        new = await self._parts.journal.tell(request.events)
        metrics.OUTCOMES.inc(new)
        return OutcomeAnswer(accepted=new, repeated=len(request.events) - new)

    async def _write(self, records: Sequence[DecisionRecord]) -> Sequence[None]:
        await self._parts.journal.record(records)
        metrics.BATCH.observe(len(records))
        return [None] * len(records)

    def _knowledge(self, catalogue: Catalogue) -> Knowledge:
        parts = self._parts
        facts = parts.profiles.facts()
        names = () if facts is None else facts.names
        scorer, causes = None, list[str]()
        if facts is None:
            causes.append("no customer snapshot is published; run 'regulars segment'")
        else:
            try:
                live = parts.champion()
                scorer = None if live is None else Scorer(live.name, live.model, facts)
                if live is None:
                    causes.append("no champion model; run 'regulars train response'")
            except RegularsError as error:
                causes.append(str(error))
        return Knowledge(
            catalogue=catalogue.compiled(names),
            snapshot=None if facts is None else facts.version,
            feature_names=names,
            scorer=scorer,
            default_policy=parts.policy,
            time_zone=parts.time_zone,
            causes=tuple(causes),
        )

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                self._log.warning("database away", reason=str(error))
            except Exception:
                # What is live stays live; the fault is told and the next round tries again.
                self._log.exception("refresh failed")


def _new_id(clock: Clock) -> str:
    """Return a version 7 UUID: ordered by time, so that the primary key's index stays compact."""
    milliseconds = int(clock.now().timestamp() * 1000)
    bits = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=bits))


def _answer(record: DecisionRecord, catalogue: Catalogue) -> DecisionAnswer:
    offers = {offer.offer_id: offer for offer in catalogue.offers}
    return DecisionAnswer(
        decision_id=record.decision_id,
        customer_id=record.customer_id,
        degraded=bool(record.causes),
        causes=record.causes,
        placements=[
            AnsweredPlacement(
                name=slate.placement,
                fallback=slate.fallback,
                slate_propensity=slate.slate_propensity,
                offers=[
                    AnsweredOffer(
                        offer_id=shown.offer_id,
                        title=offers[shown.offer_id].title,
                        rank=shown.rank,
                        score=shown.score,
                        propensity=shown.propensity,
                        valid_to=offers[shown.offer_id].valid_to,
                    )
                    for shown in slate.offers
                ],
            )
            for slate in record.slates
        ],
        experiments=[AnsweredExperiment(a.key, a.variant) for a in record.assignments],
        versions=AnsweredVersions(
            catalogue=record.versions.catalogue,
            model=record.versions.model,
            snapshot=record.versions.snapshot,
            policy=record.policy.kind,
        ),
    )

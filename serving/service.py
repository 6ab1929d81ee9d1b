"""The decision service: keeps what is live in memory, decides, and records before it answers."""

import asyncio
import contextlib
import math
import os
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import msgspec
import structlog
from msgspec import UNSET

from foundation.access import KeyFacts, Scope, allowed
from foundation.clock import Clock
from foundation.decision import DecisionRecord, Policy
from foundation.errors import RegularsError, StoreUnavailable
from foundation.money import InvalidAmount
from foundation.offer import Offer
from foundation.outcome import check_outcome
from foundation.profile import NOTHING_KNOWN, LiveState, Profile, SnapshotFacts
from foundation.rule_profile import Facts
from foundation.uses import Claim, Claimed, Ended, Held
from recommender.next_products import recommend
from recommender.value import NO_COSTS, Contacts
from serving import canary, metrics
from serving.arms import arms_of
from serving.basket import with_basket
from serving.batching import Batcher
from serving.catalogue import Catalogue, CatalogueSource
from serving.decide import Knowledge, decide
from serving.eligibility import inapplicable
from serving.explain import explain
from serving.journal import Journal
from serving.keys import KeyStore
from serving.messages import (
    ActivationAnswer,
    ActivationRequest,
    AnsweredExperiment,
    AnsweredOffer,
    AnsweredPlacement,
    AnsweredProduct,
    AnsweredVersions,
    DecisionAnswer,
    DecisionRequest,
    OutcomeAnswer,
    OutcomeRequest,
    RecommendationAnswer,
    RecommendationRequest,
    RedemptionAnswer,
    RedemptionRequest,
)
from serving.profiles import ProfileStore
from serving.reasons import Reasons
from serving.scoring import Model, Quick, Scorer
from serving.shadow import Shadow
from serving.uplift_scoring import UpliftScorer, UpliftValues
from serving.uses import Uses

REFRESH_SECONDS = 0.5
# Looks at the keys keep this distance, so that guessing at keys does not wear out the database.
KEY_SECONDS = 0.1
# A start does not wait longer for a model; what is popular can be offered without one.
START_SECONDS = 20.0
# A champion that could not be loaded is tried again after this long.
MODEL_SECONDS = 10.0
LOADING = "the champion model is still being loaded"
CHECKING = "the {} is checked as soon as a snapshot and the catalogue are there"
# At most so many tellings hold a connection, so that decisions never wait behind outcomes, and
# none waits longer for its turn.
TELLINGS = 2
TELLING_SECONDS = 5.0


Live = TypeVar("Live", bound="LiveModel | LiveUplift")


class KeyReused(RegularsError):
    """An Idempotency-Key came back with another request."""


class InvalidField(RegularsError):
    """A value of a request breaks a rule; `field` is its place in the body."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class LiveModel:
    """A response model and its name, e.g. response@7; see serving.canary for `trained_mean`.

    `quick` answers requests in its place, once it has proved to be its equal.
    """

    name: str
    model: Model
    trained_mean: float | None = None
    quick: Quick | None = None


@dataclass(frozen=True)
class LiveUplift:
    """The uplift model that serves and its name, e.g. uplift@2."""

    name: str
    model: UpliftValues


@dataclass(frozen=True)
class Parts:
    """The adapters a service is put together from."""

    clock: Clock
    catalogue: CatalogueSource
    journal: Journal
    uses: Uses
    keys: KeyStore
    profiles: ProfileStore
    champion: Callable[[], LiveModel | None]
    uplift: Callable[[], LiveUplift | None]
    policy: Policy
    time_zone: str
    activation_seconds: int
    # Models that score beside those that serve, by what they score: response, uplift.
    shadows: Callable[[], Mapping[str, LiveModel | LiveUplift]] = dict
    contacts: Contacts = NO_COSTS


class DecisionService:
    """Answers decision requests and takes outcomes; see serving.api for HTTP.

    Keys, champion and catalogue are watched each by a task of its own: a tracking server that
    hangs delays no revocation, and what could not be read anew stays as it was.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = structlog.get_logger("serving")
        self._known: Knowledge | None = None
        self._catalogue: Catalogue | None = None
        self._champion: _Champion[LiveModel] = _Champion()
        self._uplift: _Champion[LiveUplift] = _Champion(
            fault="the uplift model is still being loaded"
        )
        self._shadow = Shadow()
        self._shadow_of: tuple[object, ...] = ()
        self._shadow_again = math.inf
        self._made_of: tuple[object, ...] = ()
        self._keys: dict[bytes, KeyFacts] = {}
        self._keys_read = 0.0
        self._looks: Batcher[str, None] = Batcher(self._look, lanes=1)
        # One read and one commit at a time: whoever comes meanwhile shares the next, and the more
        # come the cheaper each one is.
        self._states: Batcher[str, LiveState] = Batcher(parts.journal.live_states, lanes=1)
        self._records: Batcher[DecisionRecord, None] = Batcher(self._write, lanes=1)
        # One offer that all want is one lock: a second lane serves the other offers meanwhile.
        self._claims: Batcher[Claim, Claimed | None] = Batcher(parts.uses.claim, lanes=2)
        self._held: dict[str, Held] = {}
        self._tellings = asyncio.Semaphore(TELLINGS)
        self._watches: list[asyncio.Task[None]] = []

    async def allows(self, key: str, scope: Scope) -> bool | None:
        """Whether a key may do something; None when nobody knows the key.

        Raises:
            StoreUnavailable: The key may be younger than the last look, and no new one succeeds.
        """
        may = allowed(self._keys, key, scope)
        if may is None:
            # One look serves all who wait for it.
            await self._looks.submit(key)
            may = allowed(self._keys, key, scope)
        return may

    async def start(self) -> None:
        """Load what is live; goes on without the database or a model and comes back with them."""
        steps = (
            self._read_keys,
            self._read_champion,
            self._read_uplift,
            self._read_catalogue,
            self._read_uses,
        )
        first = [asyncio.Event() for _ in steps]
        self._watches = [
            asyncio.create_task(self._watch(step, tried))
            for step, tried in zip(steps, first, strict=True)
        ]
        # No start waits for a shadow.
        self._watches.append(asyncio.create_task(self._watch(self._read_shadows, asyncio.Event())))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                for tried in first:
                    await tried.wait()

    async def stop(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        self._shadow.stop()
        await self._parts.journal.close()

    async def ready(self) -> bool:
        """Whether a decision could be made and recorded now."""
        return self._known is not None and await self._parts.journal.ready()

    @property
    def causes(self) -> Sequence[str]:
        """Why answers would be degraded now; empty when they would not."""
        return () if self._known is None else self._known.causes

    @property
    def refused(self) -> Sequence[str]:
        """Why newer models than those that serve do not; answers are as before."""
        read = (self._champion, self._uplift)
        return [one.fault for one in read if one.live is not None and one.fault is not None]

    @property
    def shadows(self) -> Sequence[str]:
        """The models that score beside those that serve."""
        return self._shadow.names

    async def refresh(self) -> None:
        """Take over newer keys, catalogue, snapshot and champion at once, if there are any.

        Raises:
            StoreUnavailable: The database does not answer; what is live stays.
        """
        await self._read_keys()
        await self._read_catalogue()
        await self._read_champion()
        await self._read_uplift()

    async def decide(self, request: DecisionRequest) -> DecisionAnswer:
        """Decide, write the record, then answer; a dry run leaves nothing behind.

        Raises:
            StoreUnavailable: The database does not answer; nothing was answered.
            InvalidField: An amount of the basket is no money.
        """
        known = self._known
        if known is None:
            raise StoreUnavailable("the catalogue is not loaded yet; try again in a second")
        profile = self._parts.profiles.get(request.customer_id)
        basket = request.context.basket
        if profile is not None and basket is not None:
            # Before the wait below, after which another snapshot may be live.
            lines = (line.product_id for line in basket)
            profile = with_basket(profile, lines, self._parts.profiles)
        state = await self._states.submit(request.customer_id)
        try:
            record = decide(
                request,
                profile,
                state,
                known,
                decision_id=_new_id(self._parts.clock),
                at=self._parts.clock.now(),
                seed=secrets.randbits(53),
            )
        except InvalidAmount as error:
            raise InvalidField(str(error), "context.basket") from error
        if not request.dry_run:
            await self._records.submit(record)
            metrics.count_decision(record)
            self._shadow.show(record, profile, known.catalogue.by_id, known.time_zone)
        return _answer(request, record, profile, known)

    def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """Return the products that go best with a basket, by the live snapshot alone."""
        profiles = self._parts.profiles
        facts = profiles.facts()
        found = recommend(request.basket, profiles.product, profiles.group, request.limit)
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
        async with self._turn_to_tell():
            new = await self._parts.journal.tell(request.events)
        metrics.OUTCOMES.inc(new)
        return OutcomeAnswer(accepted=new, repeated=len(request.events) - new)

    async def activate(self, asked: ActivationRequest, replay: str | None) -> ActivationAnswer:
        """Keep one use of an offer for a customer, for a while.

        Args:
            replay: Names the request; the same one gets the same answer again.

        Raises:
            KeyReused: The name belongs to another request.
            StoreUnavailable: The database does not answer; nothing was kept.
        """
        claim = self._claim(asked, replay, redeem=False)
        granted = await self._granted(claim)
        return ActivationAnswer(granted.use_id, granted.expires_at, granted.refused)

    async def redeem(self, asked: RedemptionRequest, replay: str | None) -> RedemptionAnswer:
        """Use an offer now: the use kept for her, or one of those left.

        Raises:
            As `activate`.
        """
        claim = self._claim(asked, replay, redeem=True)
        claim = msgspec.structs.replace(
            claim, activation_id=asked.activation_id, order_id=asked.order_id
        )
        granted = await self._granted(claim)
        return RedemptionAnswer(granted.use_id, granted.refused)

    async def cancel(self, activation_id: str) -> Ended:
        """Give a reservation back before its time."""
        ended = await self._parts.uses.cancel(activation_id)
        await self._read_uses()
        return ended

    async def reverse(self, redemption_id: str) -> Ended:
        """Give a use back after a return: cap, stock and budget have it again."""
        ended = await self._parts.uses.reverse(redemption_id, f"{redemption_id}-reverse")
        await self._read_uses()
        return ended

    def _claim(
        self, asked: ActivationRequest | RedemptionRequest, replay: str | None, *, redeem: bool
    ) -> Claim:
        known = self._known
        if known is None:
            raise StoreUnavailable("the catalogue is not loaded yet; try again in a second")
        profile = self._parts.profiles.get(asked.customer_id)
        offer = known.catalogue.by_id.get(asked.offer_id)
        if offer is None:
            reason = "unknown_offer"
        else:
            facts = Facts({}, {}) if profile is None else profile.facts(known.feature_names)
            reason = inapplicable(
                offer, known.catalogue, facts, self._parts.clock.now(), asked.store_id
            )
        return Claim(
            use_id=_new_id(self._parts.clock),
            customer_id=asked.customer_id,
            offer_id=asked.offer_id,
            channel=asked.channel,
            redeem=redeem,
            replay=replay,
            store_id=asked.store_id,
            decision_id=asked.decision_id,
            inapplicable=reason,
            used_before=0 if profile is None else profile.redemptions.get(asked.offer_id, 0),
            lasts_seconds=self._parts.activation_seconds,
            valid_to=None if offer is None else offer.valid_to,
            arm=arms_of(asked.customer_id, profile, known.catalogue.shared).get(asked.offer_id),
        )

    async def _granted(self, claim: Claim) -> Claimed:
        # Also what is refused goes there: the same request was perhaps granted before.
        claimed = await self._claims.submit(claim)
        if claimed is None:
            raise KeyReused("this Idempotency-Key was used for another request; send a new one")
        return claimed

    @contextlib.asynccontextmanager
    async def _turn_to_tell(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(TELLING_SECONDS):
                await self._tellings.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("too many outcomes wait for the database; try again") from error
        try:
            yield
        finally:
            self._tellings.release()

    async def _write(self, records: Sequence[DecisionRecord]) -> Sequence[None]:
        await self._parts.journal.record(records)
        metrics.BATCH.observe(len(records))
        return [None] * len(records)

    async def _watch(self, step: Callable[[], Awaitable[None]], tried: asyncio.Event) -> None:
        """Take a step again and again; what it read stays live while it fails."""
        told = None
        while True:
            try:
                await step()
                fault = None
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
                if fault != told:
                    trace = None if isinstance(error, RegularsError) else error
                    self._log.warning("refresh failed", reason=fault, exc_info=trace)
            if told is not None and fault is None:
                self._log.info("refresh works again")
            told = fault
            tried.set()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _look(self, keys: Sequence[str]) -> Sequence[None]:
        await asyncio.sleep(max(0.0, self._keys_read + KEY_SECONDS - time.monotonic()))
        self._keys_read = time.monotonic()
        await self._read_keys()
        return [None] * len(keys)

    async def _read_keys(self) -> None:
        self._keys = await self._parts.keys.keys()

    async def _read_uses(self) -> None:
        """Give back what was reserved too long, and look at what is left of every offer."""
        await self._parts.uses.release_expired()
        self._held = await self._parts.uses.held()
        if self._known is not None:
            self._known = replace(self._known, held=self._held)

    async def _read_champion(self) -> None:
        def take(read: _Champion[LiveModel]) -> None:
            self._champion = read
            self._take_over()

        await self._read_model(
            self._champion, self._parts.champion, "champion model", "response", take
        )

    async def _read_uplift(self) -> None:
        def take(read: _Champion[LiveUplift]) -> None:
            self._uplift = read
            self._take_over()

        await self._read_model(self._uplift, self._parts.uplift, "uplift model", "uplift", take)

    async def _read_model(
        self,
        last: "_Champion[Live]",
        load: Callable[[], Live | None],
        what: str,
        name: str,
        take: Callable[["_Champion[Live]"], None],
    ) -> None:
        """Load a champion once for each catalogue version, which moves when it changes.

        One that is new has to pass its self-check first; the one before stays otherwise.
        """
        version = self._catalogue and self._catalogue.version
        facts = self._parts.profiles.facts()
        snapshot = facts and facts.version
        # What was refused on one snapshot may be just right for the next.
        again = last.fault is not None and last.snapshot != snapshot
        if last.read_at == version and not again and time.monotonic() < last.again:
            return
        later = time.monotonic() + MODEL_SECONDS
        try:
            # Loading a model reads files: off the event loop, so that requests go on.
            live = await asyncio.to_thread(load)
        except Exception as error:
            fault = f"the {what} cannot be loaded ({type(error).__name__})"
            # The one before stays; without one the answers are fallbacks and say so.
            take(_Champion(last.live, fault, version, later, snapshot))
            raise
        if live is None:
            take(_Champion(None, f"no {what}; run 'regulars train {name}'", version))
            return
        if last.live is not None and live.name == last.live.name:
            live = last.live
        else:
            if self._catalogue is None:
                with contextlib.suppress(StoreUnavailable):
                    await self._read_catalogue()
            if self._catalogue is None or facts is None:
                take(_Champion(last.live, CHECKING.format(what), None, 0.0))
                return
            try:
                live = await asyncio.to_thread(self._checked, live, facts, self._catalogue.offers)
            except Exception as error:
                fault = str(error) if isinstance(error, RegularsError) else type(error).__name__
                stays = f"; {last.live.name} stays" if last.live is not None else ""
                fault = f"the {what} {live.name} is refused: {fault}{stays}"
                metrics.MODELS_REFUSED.labels(name).inc()
                take(_Champion(last.live, fault, version, later, snapshot))
                raise
        take(_Champion(live, None, version))

    def _checked(self, live: Live, facts: SnapshotFacts, offers: Sequence[Offer]) -> Live:
        """Return a model that passed its self-check, without a quick way that is not its equal."""
        scorer = self._check(live, facts, offers)
        if isinstance(live, LiveUplift) or live.quick is None or isinstance(scorer, UpliftScorer):
            return live
        profiles = self._parts.profiles.sample(canary.CUSTOMERS)
        at, zone = self._parts.clock.now(), self._parts.time_zone
        if not canary.proved(scorer, live.quick, profiles, offers, at=at, time_zone=zone):
            self._log.warning(
                "the model itself answers", model=live.name, reason="flat trees differ"
            )
            return replace(live, quick=None)
        return live

    def _check(
        self, live: LiveModel | LiveUplift, facts: SnapshotFacts, offers: Sequence[Offer]
    ) -> Scorer | UpliftScorer:
        """Return a model's scorer on the live snapshot, once it has passed its self-check."""
        profiles = self._parts.profiles.sample(canary.CUSTOMERS)
        at, zone = self._parts.clock.now(), self._parts.time_zone
        if isinstance(live, LiveUplift):
            uplift = UpliftScorer(live.name, live.model, facts, self._parts.contacts)
            canary.check_uplift(uplift, profiles, at=at, time_zone=zone)
            return uplift
        scorer = Scorer(live.name, live.model, facts)
        canary.check_response(scorer, profiles, offers, live.trained_mean, at=at, time_zone=zone)
        return scorer

    async def _read_shadows(self) -> None:
        """Load the shadows once for each catalogue version and snapshot; none that is broken."""
        catalogue, facts = self._catalogue, self._parts.profiles.facts()
        if catalogue is None or facts is None:
            return
        made_of = (catalogue.version, facts.version)
        if made_of == self._shadow_of and time.monotonic() < self._shadow_again:
            return
        self._shadow_of, self._shadow_again = made_of, time.monotonic() + MODEL_SECONDS
        live = await asyncio.to_thread(self._parts.shadows)
        sound: dict[str, Scorer | UpliftScorer] = {}
        faults: list[Exception] = []
        for kind, one in live.items():
            try:
                sound[kind] = await asyncio.to_thread(self._check, one, facts, catalogue.offers)
            except Exception as error:
                metrics.MODELS_REFUSED.labels("shadow").inc()
                faults.append(error)
        self._shadow.take_over(sound)
        if faults:
            raise faults[0]
        self._shadow_again = math.inf

    async def _read_catalogue(self) -> None:
        """Take over a newer catalogue or snapshot, if there is one."""
        version = await self._parts.catalogue.version()
        if self._catalogue is None or version != self._catalogue.version:
            self._catalogue = Catalogue(*await self._parts.catalogue.read())
            self._take_over()
        # No await between these two: a request meets the old snapshot with the old knowledge or
        # the new one with the new, never features of one under the names of the other.
        self._parts.profiles.refresh()
        self._take_over()

    def _take_over(self) -> None:
        """Decide from now on with what was last read, if any of it is new."""
        facts = self._parts.profiles.facts()
        made_of = (
            self._catalogue,
            self._champion.live,
            self._champion.fault,
            self._uplift.live,
            self._uplift.fault,
            facts,
        )
        if self._catalogue is None or made_of == self._made_of:
            return
        known = self._knowledge(self._catalogue, facts)
        self._known, self._made_of = known, made_of
        self._log.info(
            "took over",
            catalogue=known.catalogue.version,
            snapshot=known.snapshot,
            model=known.scorer.name if known.scorer else None,
            uplift=known.uplift.name if known.uplift else None,
            causes=list(known.causes),
        )

    def _knowledge(self, catalogue: Catalogue, facts: SnapshotFacts | None) -> Knowledge:
        live = self._champion.live
        names = () if facts is None else facts.names
        scorer, causes = None, list[str]()
        if facts is None:
            causes.append("no customer snapshot is published; run 'regulars segment'")
        elif live is None:
            causes.append(str(self._champion.fault))
        else:
            try:
                scorer = Scorer(live.name, live.model, facts, live.quick)
            except RegularsError as error:
                causes.append(str(error))
        uplift, fault = self._uplift_known(facts)
        compiled = catalogue.compiled(NOTHING_KNOWN if facts is None else facts.vocabulary)
        causes.extend(
            f"experiment {key!r} assigns nobody: its audience cannot be judged ({reason})"
            for key, reason in compiled.waiting.items()
        )
        return Knowledge(
            catalogue=compiled,
            snapshot=None if facts is None else facts.version,
            feature_names=names,
            scorer=scorer,
            default_policy=self._parts.policy,
            time_zone=self._parts.time_zone,
            held=self._held,
            causes=tuple(causes),
            feature_hash=None if facts is None else facts.feature_hash,
            places={} if facts is None else facts.places,
            uplift=uplift,
            uplift_fault=fault or "",
            reasons=None if facts is None else Reasons(facts),
        )

    def _uplift_known(self, facts: SnapshotFacts | None) -> tuple[UpliftScorer | None, str | None]:
        """Return the uplift model on this snapshot, or why it cannot decide."""
        if facts is None:
            return None, "no customer snapshot is published; run 'regulars segment'"
        live = self._uplift.live
        if live is None:
            return None, self._uplift.fault
        try:
            return UpliftScorer(live.name, live.model, facts, self._parts.contacts), None
        except RegularsError as error:
            return None, str(error)


@dataclass(frozen=True)
class _Champion(Generic[Live]):
    """A champion as last read, or why there is none; under which catalogue version that was."""

    live: Live | None = None
    fault: str | None = LOADING
    read_at: int | None = -1
    again: float = math.inf
    # That a refused one was refused on.
    snapshot: str | None = None


def _new_id(clock: Clock) -> str:
    """Return a version 7 UUID: ordered by time, so that the primary key's index stays compact."""
    milliseconds = int(clock.now().timestamp() * 1000)
    bits = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=bits))


def _reasons(
    record: DecisionRecord, profile: Profile | None, known: Knowledge
) -> dict[str, list[str]]:
    """Return why the offers suit her; nothing where they were not chosen by the model explained."""
    told = known.reasons
    if profile is None or told is None or told.model != record.versions.model:
        return {}
    shown = [one.offer_id for slate in record.slates if not slate.fallback for one in slate.offers]
    return told.of(profile, shown)


def _answer(
    request: DecisionRequest, record: DecisionRecord, profile: Profile | None, known: Knowledge
) -> DecisionAnswer:
    offers = known.catalogue.by_id
    reasons = _reasons(record, profile, known)
    return DecisionAnswer(
        decision_id=None if request.dry_run else record.decision_id,
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
                        reasons=reasons.get(shown.offer_id, []),
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
        considered=explain(record, known.catalogue) if request.explain else UNSET,
    )

"""What is live in a service: catalogue, snapshot, models and uses, watched and taken over."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from foundation.errors import RegularsError, StoreUnavailable
from foundation.profile import NOTHING_KNOWN, SnapshotFacts
from foundation.uses import Held
from serving import metrics
from serving.catalogue import Catalogue
from serving.decide import Knowledge
from serving.parts import LiveModel, LiveUplift, Parts
from serving.reasons import Reasons
from serving.scoring import Scorer
from serving.self_check import checked, checked_scorer
from serving.shadow import Shadow
from serving.uplift_scoring import UpliftScorer

# A champion that could not be loaded is tried again after this long.
MODEL_SECONDS = 10.0
LOADING = "the champion model is still being loaded"
NO_SNAPSHOT = "no customer snapshot is published; run 'regulars segment'"
CHECKING = "the {} is checked as soon as a snapshot and the catalogue are there"

Live = TypeVar("Live", bound=LiveModel | LiveUplift)


@dataclass(frozen=True)
class _Champion(Generic[Live]):
    """A champion as last read, or why there is none; under which catalogue version that was."""

    live: Live | None = None
    fault: str | None = LOADING
    read_at: int | None = -1
    again: float = math.inf
    # That a refused one was refused on.
    snapshot: str | None = None


class LiveKnowledge:
    """Reads what is live, a part at a time, and keeps `known` whole: replaced, never changed.

    A model that fails its self-check does not come in; what was live stays.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = structlog.get_logger("serving")
        self.known: Knowledge | None = None
        self.shadow = Shadow()
        self._catalogue: Catalogue | None = None
        self._champion: _Champion[LiveModel] = _Champion()
        self._uplift: _Champion[LiveUplift] = _Champion(
            fault="the uplift model is still being loaded"
        )
        self._shadow_of: tuple[object, ...] = ()
        self._shadow_again = math.inf
        self._made_of: tuple[object, ...] = ()
        # Why there is no snapshot, while there is none.
        self._no_snapshot = NO_SNAPSHOT
        self._reading = asyncio.Lock()
        self._held: dict[str, Held] = {}

    def required(self) -> Knowledge:
        """Return what is known.

        Raises:
            StoreUnavailable: Nothing is, yet.
        """
        if self.known is None:
            raise StoreUnavailable("the catalogue is not loaded yet; try again in a second")
        return self.known

    @property
    def loading(self) -> bool:
        """Whether a model may yet come that was never looked at, or waits for its check."""
        # None is a model that waits for a snapshot or the catalogue.
        return not {-1, None}.isdisjoint((self._champion.read_at, self._uplift.read_at))

    @property
    def causes(self) -> Sequence[str]:
        """Why answers would be degraded now; empty when they would not."""
        return () if self.known is None else self.known.causes

    @property
    def refused(self) -> Sequence[str]:
        """Why newer models than those that serve do not; answers are as before."""
        read = (self._champion, self._uplift)
        return [one.fault for one in read if one.live is not None and one.fault is not None]

    async def read_uses(self) -> None:
        """Give back what was reserved too long, and look at what is left of every offer."""
        await self._parts.uses.release_expired()
        self._held = await self._parts.uses.held()
        for offer_id, held in self._held.items():
            metrics.HELD.labels(offer_id).set(held.uses)
        if self.known is not None:
            self.known = self.known.holding(self._held)

    async def read_champion(self) -> None:
        def take(read: _Champion[LiveModel]) -> None:
            self._champion = read
            self._take_over()

        await self._read_model(
            self._champion, self._parts.champion, "champion model", "response", take
        )

    async def read_uplift(self) -> None:
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
            told = f"no {what}; run 'regulars train {name}'"
            take(_Champion(None, told, version, snapshot=snapshot))
            return
        if last.live is not None and live.name == last.live.name:
            live = last.live
        else:
            if self._catalogue is None:
                with contextlib.suppress(StoreUnavailable):
                    await self.read_catalogue()
            if facts is None:
                with contextlib.suppress(RegularsError):
                    await self.read_snapshot()
                facts = self._parts.profiles.facts()
            if self._catalogue is None or facts is None:
                take(_Champion(last.live, CHECKING.format(what), None, 0.0))
                return
            try:
                live = await asyncio.to_thread(
                    checked, self._parts, live, facts, self._catalogue.offers
                )
            except Exception as error:
                fault = str(error) if isinstance(error, RegularsError) else type(error).__name__
                stays = f"; {last.live.name} stays" if last.live is not None else ""
                fault = f"the {what} {live.name} is refused: {fault}{stays}"
                metrics.MODELS_REFUSED.labels(name).inc()
                take(_Champion(last.live, fault, version, later, snapshot))
                raise
        take(_Champion(live, None, version))

    async def read_shadows(self) -> None:
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
                sound[kind] = await asyncio.to_thread(
                    checked_scorer, self._parts, one, facts, catalogue.offers
                )
            except Exception as error:
                metrics.MODELS_REFUSED.labels("shadow").inc()
                faults.append(error)
        self.shadow.take_over(sound)
        if faults:
            raise faults[0]
        self._shadow_again = math.inf

    async def read_catalogue(self) -> None:
        """Take over a newer catalogue, if there is one."""
        version = await self._parts.catalogue.version()
        if self._catalogue is None or version != self._catalogue.version:
            self._catalogue = Catalogue(*await self._parts.catalogue.read())
            self._take_over()

    async def read_snapshot(self) -> None:
        """Take over a newer snapshot, if there is one."""
        # One look at a time: the earlier of two must not move the store back.
        async with self._reading:
            try:
                # Off the event loop: it may be on another machine, which may be away.
                move = await asyncio.to_thread(self._parts.profiles.newer)
            except RegularsError as error:
                self._no_snapshot = f"no customer snapshot could be read: {error}"
                self._take_over()
                raise
            self._no_snapshot = NO_SNAPSHOT
            # No await between these two: a request meets the old snapshot with the old knowledge
            # or the new one with the new, never features of one under the names of the other.
            if move is not None:
                move()
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
            facts or self._no_snapshot,
        )
        if self._catalogue is None or made_of == self._made_of:
            return
        known = self._knowledge(self._catalogue, facts)
        self.known, self._made_of = known, made_of
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
            causes.append(self._no_snapshot)
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
            default_policy=catalogue.policy or self._parts.policy,
            time_zone=self._parts.time_zone,
            held=self._held,
            causes=tuple(causes),
            feature_hash=None if facts is None else facts.feature_hash,
            places={} if facts is None else facts.places,
            uplift=uplift,
            uplift_fault=fault or "",
            reasons=None if facts is None else Reasons(facts),
            contact_policy=self._parts.contact_policy,
        )

    def _uplift_known(self, facts: SnapshotFacts | None) -> tuple[UpliftScorer | None, str | None]:
        """Return the uplift model on this snapshot, or why it cannot decide."""
        if facts is None:
            return None, self._no_snapshot
        live = self._uplift.live
        if live is None:
            return None, self._uplift.fault
        try:
            return UpliftScorer(live.name, live.model, facts, self._parts.contacts), None
        except RegularsError as error:
            return None, str(error)

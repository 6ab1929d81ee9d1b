"""Lineup: the offers that one customer may be shown here and now, and why not each other one.

Customers who pass the same rules and are in the same variants have the same lineup, but for offers
they used or keep. So it is put together once for all of them, and not once a request.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import numpy as np

from experiments.design import Variant
from foundation.decision import Assignment, Terms
from foundation.offer import Offer
from foundation.profile import UNCOUNTED, LiveState, Profile
from foundation.rule_profile import Facts
from foundation.uses import Arm, Held
from recommender.policies import Eligible
from serving.arms import arms_of, shares_of
from serving.assign import offers_of
from serving.candidates import CandidateLists, Candidates
from serving.catalogue import Catalogue
from serving.eligibility import refusal, spent
from serving.messages import DecisionRequest

# Stores, placements, variants and rules make the kinds of lineups: what is kept stays bounded.
MOST_KEPT = 1000
# Of who used nothing.
UNUSED = LiveState({})

Kept = TypeVar("Kept")


@dataclass(eq=False)
class Lineup:
    """Eligible offers, those first to which ties in score go, and a code for each other one.

    `eligible` is what a policy has to know of `offers`, in their order.
    """

    offers: tuple[Offer, ...]
    eligible: tuple[Eligible, ...]
    refusals: dict[str, str]
    # Those of its offers that a record has to hold.
    terms: dict[str, Terms]
    _places: tuple[Mapping[str, int], np.ndarray] | None = None

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Where each offer stands."""
        return {offer.offer_id: row for row, offer in enumerate(self.offers)}

    @cached_property
    def popularity(self) -> dict[str, float]:
        """The scores of a policy that knows nobody."""
        return {offer.offer_id: offer.popularity for offer in self.offers}

    @cached_property
    def levers(self) -> dict[str, float]:
        """The marketer's weights where they are not 1."""
        return {offer.offer_id: offer.lever for offer in self.offers if offer.lever != 1}

    def places_in(self, places: Mapping[str, int]) -> np.ndarray:
        """Return where each offer stands among a snapshot's, -1 for one that is younger."""
        known = self._places
        if known is None or known[0] is not places:
            found = np.array([places.get(offer.offer_id, -1) for offer in self.offers])
            # The one snapshot that is live asks again and again.
            self._places = known = (places, found)
        return known[1]


class Lineups:
    """The lineups of one catalogue, each kept under all that it depends on."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._candidates = CandidateLists(catalogue)
        self._kept: dict[Hashable, Lineup] = {}
        # Of which offers others have left nothing, while just these uses are held.
        self._spent: dict[Hashable, frozenset[str]] = {}
        self._held: Mapping[str, Held] = {}

    def of(
        self,
        request: DecisionRequest,
        profile: Profile | None,
        facts: Facts,
        state: LiveState,
        assigned: Sequence[tuple[Assignment, Variant]],
        held: Mapping[str, Held],
        at: datetime,
    ) -> Lineup:
        """Return the lineup of one customer and moment.

        Args:
            assigned: Her assignments, each with what its variant gives her.
            held: Uses reserved or redeemed by offer, of all customers.
        """
        judge = _Judge(
            self._catalogue,
            self._candidates.at(at, request.channel, request.context.store_id),
            request,
            profile,
            facts,
            held,
            [(one.key, variant) for one, variant in assigned if variant.offers is not None],
        )
        found = self._of_all_alike(judge, UNUSED if state.counted else UNCOUNTED)
        used = {*state.redemptions, *state.activated, *(profile.redemptions if profile else ())}
        if not used:
            return found
        codes = {
            offer_id: judge.code(offer, profile, state)
            for offer_id in used
            if (offer := self._catalogue.by_id.get(offer_id)) is not None
        }
        if all(code == found.refusals.get(offer_id) for offer_id, code in codes.items()):
            return found
        return self._lineup({**found.refusals, **codes})

    def _of_all_alike(self, judge: "_Judge", unused: LiveState) -> Lineup:
        """Return the lineup of those who used nothing."""
        alike = (
            judge.candidates,
            tuple([holds(judge.facts) for holds in judge.candidates.rules]),
            tuple([(key, variant.name) for key, variant in judge.restricting]),
            tuple([placement.name for placement in judge.request.placements]),
            self._spent_for(judge),
            unused.counted,
        )
        found = self._kept.get(alike)
        if found is None:
            found = self._lineup(
                {o.offer_id: judge.code(o, None, unused) for o in self._catalogue.offers}
            )
            _keep(self._kept, alike, found)
        return found

    def _spent_for(self, judge: "_Judge") -> frozenset[str]:
        if judge.held is not self._held:
            self._held, self._spent = judge.held, {}
        store_id = self._catalogue.named_store(judge.request.context.store_id)
        alike = (store_id, judge.shares)
        found = self._spent.get(alike)
        if found is None:
            codes = {o.offer_id: judge.spent(o) for o in self._catalogue.scarce}
            found = frozenset(f"{code} {i}" for i, code in codes.items() if code is not None)
            _keep(self._spent, alike, found)
        return found

    def _lineup(self, codes: Mapping[str, str | None]) -> Lineup:
        left = [o for o in self._catalogue.by_tie if codes.get(o.offer_id) is None]
        return Lineup(
            tuple(left),
            tuple(self._catalogue.ranked[offer.offer_id] for offer in left),
            {offer_id: code for offer_id, code in codes.items() if code is not None},
            {i: terms for i, terms in self._catalogue.terms.items() if codes.get(i) is None},
        )


@dataclass(eq=False)
class _Judge:
    """Judges the offers of a catalogue for one request; `restricting` are her variants by key."""

    catalogue: Catalogue
    candidates: Candidates
    request: DecisionRequest
    profile: Profile | None
    facts: Facts
    held: Mapping[str, Held]
    restricting: Sequence[tuple[str, Variant]]

    @property
    def shares(self) -> tuple[str | None, ...]:
        return shares_of(self.request.customer_id, self.profile, self.catalogue.sharing)

    @cached_property
    def _arms(self) -> Mapping[str, Arm]:
        return arms_of(self.request.customer_id, self.profile, self.catalogue.shared)

    @cached_property
    def _allowed(self) -> frozenset[str] | None:
        return offers_of([variant for _, variant in self.restricting])

    @cached_property
    def _asked(self) -> frozenset[str]:
        return frozenset(placement.name for placement in self.request.placements)

    def spent(self, offer: Offer) -> str | None:
        """Return why others left nothing of an offer to her."""
        store_id = self.request.context.store_id
        return spent(offer, store_id, self.held, self._arms.get(offer.offer_id))

    def code(self, offer: Offer, profile: Profile | None, state: LiveState) -> str | None:
        """Return why an offer may not be shown, None when it may.

        Args:
            profile: As of `refusal`; None for anybody who used nothing.
            state: As of `refusal`.
        """
        # Her variant comes first: what it leaves out is no candidate for her at any time.
        if self._allowed is not None and offer.offer_id not in self._allowed:
            return "not_in_variant"
        if offer.offer_id in self.candidates.refusals:
            return self.candidates.refusals[offer.offer_id]
        reason = refusal(
            offer,
            self.catalogue,
            self.facts,
            profile,
            state,
            store_id=self.request.context.store_id,
            held=self.held,
            arm=self._arms.get(offer.offer_id),
        )
        if reason is None and offer.placements and self._asked.isdisjoint(offer.placements):
            return "wrong_placement"
        return reason


def _keep(kept: dict[Hashable, Kept], alike: Hashable, one: Kept) -> None:
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[alike] = one

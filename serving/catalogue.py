"""The catalogue: offers and running experiments as the service holds them in memory."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from experiments.design import Experiment
from experiments.holdout import HOLDOUT
from foundation.decision import Policy, Terms
from foundation.offer import Offer
from foundation.rule_profile import Judge, judge
from foundation.rules import InvalidRule, UnknownName, Vocabulary, read_rule
from recommender.policies import Eligible
from serving.arms import Shared, shared_offers


@dataclass(frozen=True)
class Catalogue:
    """One version of what can be offered. A changed catalogue is a new object."""

    version: int
    offers: Sequence[Offer]
    experiments: Sequence[Experiment]
    # What serves where no experiment says otherwise; None is what the settings say.
    policy: Policy | None = None
    # Compiled for one snapshot's vocabulary; an offer whose rule does not fit has none here, and is
    # pending or invalid.
    rules: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    pending: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()
    # Of experiments with an audience, by key; one that the snapshot cannot judge is in `waiting`.
    audiences: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    waiting: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def holdout(self) -> Experiment | None:
        """The global holdout, where there is one."""
        return next((one for one in self.experiments if one.key == HOLDOUT), None)

    @cached_property
    def trials(self) -> Sequence[Experiment]:
        """The experiments without the global holdout."""
        return [one for one in self.experiments if one.key != HOLDOUT]

    @cached_property
    def by_id(self) -> Mapping[str, Offer]:
        """Offers by their id, gathered once a version and not once a request."""
        return {offer.offer_id: offer for offer in self.offers}

    @cached_property
    def ranked(self) -> Mapping[str, Eligible]:
        """What a policy has to know of each offer, by its id."""
        return {
            o.offer_id: Eligible(o.offer_id, o.priority, o.exclusive_group) for o in self.offers
        }

    @cached_property
    def by_tie(self) -> Sequence[Offer]:
        """Offers in the order in which a policy breaks ties in score."""
        return sorted(self.offers, key=lambda offer: (-offer.priority, offer.offer_id))

    @cached_property
    def scarce(self) -> Sequence[Offer]:
        """The offers of which others may leave her none."""
        return [offer for offer in self.offers if offer.limits.scarce]

    def named_store(self, store_id: str | None) -> str | None:
        """Return a store; all that no offer names are one, which is no store's id."""
        return store_id if store_id is None or store_id in self._stores else ""

    @cached_property
    def _stores(self) -> frozenset[str]:
        stocked = (offer.limits.store_stock or () for offer in self.offers)
        return frozenset().union(*(offer.stores for offer in self.offers), *stocked)

    @cached_property
    def sharing(self) -> Sequence[Experiment]:
        """The experiments whose variants share an offer out."""
        found = {one.experiment.key: one.experiment for one in self.shared.values()}
        return list(found.values())

    @cached_property
    def placed(self) -> Mapping[str, Collection[str]]:
        """The placements of offers that not every one may show, by offer id."""
        return {offer.offer_id: offer.placements for offer in self.offers if offer.placements}

    @cached_property
    def terms(self) -> Mapping[str, Terms]:
        """What a record has to hold of offers to be drawn from again, where it is not the usual."""
        every = {
            offer.offer_id: Terms(offer.priority, offer.exclusive_group, sorted(offer.placements))
            for offer in self.offers
        }
        return {offer_id: terms for offer_id, terms in every.items() if terms != Terms()}

    @cached_property
    def shared(self) -> Mapping[str, Shared]:
        """The limited offers that several variants show, by id."""
        return shared_offers(self.offers, self.trials)

    def compiled(self, vocabulary: Vocabulary) -> "Catalogue":
        """Return the catalogue with its rules compiled for what a snapshot knows.

        A rule that asks for a feature, a segment or a counted event this snapshot lacks leaves
        its offer pending, a broken one makes it invalid: both are refused with a reason of their
        own, never silently false. An audience of such a kind holds nobody, and `waiting` says why.
        """
        rules: dict[str, Judge] = {}
        # Offers of the same rule are judged by one function, once.
        judges: dict[str, Judge] = {}
        pending: set[str] = set()
        invalid: set[str] = set()
        for offer in self.offers:
            if offer.eligibility is None:
                continue
            written = json.dumps(offer.eligibility, sort_keys=True)
            try:
                if written not in judges:
                    judges[written] = judge(read_rule(offer.eligibility, vocabulary))
                rules[offer.offer_id] = judges[written]
            except UnknownName:
                pending.add(offer.offer_id)
            except InvalidRule:
                invalid.add(offer.offer_id)
        audiences: dict[str, Judge] = {}
        waiting: dict[str, str] = {}
        for experiment in self.trials:
            if experiment.audience is None:
                continue
            try:
                audiences[experiment.key] = judge(read_rule(experiment.audience, vocabulary))
            except InvalidRule as error:
                waiting[experiment.key] = str(error)
        return replace(
            self,
            rules=rules,
            pending=frozenset(pending),
            invalid=frozenset(invalid),
            audiences=audiences,
            waiting=waiting,
        )


class CatalogueSource(Protocol):
    """Where the catalogue is kept."""

    async def version(self) -> int:
        """Return the newest version's number."""
        ...

    async def read(self) -> tuple[int, Sequence[Offer], Sequence[Experiment], Policy | None]:
        """Return the newest version: its number, all offers, running experiments, the policy.

        The policy is None where only the settings name one.
        """
        ...

"""Scores: what showing each offer to this customer is expected to earn, by the uplift model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import Profile, SnapshotFacts
from recommender.offer_uplift import Effects
from recommender.value import FREE, NO_COSTS, Contact, Contacts
from serving.scoring import ModelMismatch, check_definitions

# What was never shown by chance is not known to earn anything: only exploration shows it.
UNKNOWN = 0.0


class UpliftValues(Protocol):
    """A fitted uplift model; see recommender/offer_uplift.py."""

    @property
    def offers(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def feature_hash(self) -> str: ...

    @property
    def trained(self) -> Effects | None: ...

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray: ...


class UpliftScorer:
    """An uplift model fitted to one snapshot, and what contacts cost.

    Raises:
        ModelMismatch: The model was trained on other definitions than the snapshot holds.
    """

    def __init__(
        self,
        name: str,
        uplift: UpliftValues,
        snapshot: SnapshotFacts,
        contacts: Contacts = NO_COSTS,
    ) -> None:
        check_definitions(name, uplift.feature_hash, snapshot)
        if uplift.names != (*snapshot.names, *CONTEXT_NAMES):
            raise ModelMismatch(
                f"model {name!r} lists its inputs in another order than snapshot "
                f"{snapshot.version}; run 'regulars train uplift'"
            )
        self.name = name
        self.trained = uplift.trained
        self._uplift = uplift
        self._contacts = contacts

    def scores(
        self,
        profile: Profile,
        offers: Sequence[Offer],
        *,
        channel: str,
        at: datetime,
        time_zone: str,
        basket_amounts: Sequence[int] | None,
    ) -> dict[str, float]:
        """Return each offer's expected incremental margin for one customer, minor units.

        It is net of what a contact through the channel costs with her.

        Raises:
            RegularsError: The model answered something that is no number.
        """
        if not offers:
            return {}
        moment = context_features(channel, at, time_zone, basket_amounts)
        contact = self.contact(channel, profile)
        found = self._uplift.values(np.concatenate([profile.vector, moment])[None], contact)[0]
        self._check(found)
        known = dict(zip(self._uplift.offers, found.tolist(), strict=True))
        unknown = UNKNOWN - contact.total
        return {offer.offer_id: known.get(offer.offer_id, unknown) for offer in offers}

    def contact(self, channel: str, profile: Profile) -> Contact:
        """Return what a contact through a channel costs with one customer."""
        return self._contacts.with_her(channel, profile.remaining_value)

    def contact_cost(self, channel: str) -> float:
        """Return the money that a contact through a channel takes, minor units."""
        return self._contacts.with_her(channel, 0.0).cost

    def effects_of_many(
        self, profiles: Sequence[Profile], *, channel: str, at: datetime, time_zone: str
    ) -> np.ndarray:
        """Return what showing each learned offer earns with many at one instant, no basket.

        Args:
            time_zone: Of customers whose own is unknown.

        Returns:
            Minor units before the contact's cost; less `contact(...).total` they equal `scores` to
            the last bit. Shape (len(profiles), offers learned).

        Raises:
            RegularsError: The model answered something that is no number.
        """
        zones = [profile.time_zone or time_zone for profile in profiles]
        moments = {zone: context_features(channel, at, zone, None) for zone in set(zones)}
        vectors = np.array([profile.vector for profile in profiles])
        found = self._uplift.values(np.hstack([vectors, [moments[zone] for zone in zones]]))
        self._check(found)
        return found

    def _check(self, found: np.ndarray) -> None:
        if not np.isfinite(found).all():
            told = found if found.ndim == 1 else found[~np.isfinite(found).all(axis=1)][0]
            raise RegularsError(
                f"model {self.name!r} answered {told.tolist()}, which are not all numbers; run "
                "'regulars train uplift'"
            )

"""Scores: how likely customers are to redeem offers, for one request or for a batch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import Profile, SnapshotFacts
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import is_offer_feature, offer_vector
from recommender.pair_scores import Inputs, pair_scores

# An offer that is younger than the snapshot.
UNKNOWN = np.full(len(AFFINITY_NAMES), np.nan)


class Model(Protocol):
    """A fitted response model."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def feature_hash(self) -> str: ...

    def predict(self, matrix: np.ndarray) -> np.ndarray: ...


class ModelMismatch(RegularsError):
    """A model and a snapshot speak of different features."""


def check_definitions(name: str, feature_hash: str, snapshot: SnapshotFacts) -> None:
    """Pass a model (response@7, say) that was trained on what a snapshot holds.

    Raises:
        ModelMismatch: It was trained on other definitions.
    """
    if feature_hash != snapshot.feature_hash:
        kind = name.partition("@")[0]
        raise ModelMismatch(
            f"model {name!r} was trained on features {feature_hash}, this snapshot has "
            f"{snapshot.feature_hash}; run 'regulars train {kind}' or publish the matching snapshot"
        )


class Scorer:
    """A model fitted to one snapshot: assembles inputs and predicts.

    Raises:
        ModelMismatch: The model was trained on other definitions than the snapshot holds.
    """

    def __init__(self, name: str, model: Model, snapshot: SnapshotFacts) -> None:
        check_definitions(name, model.feature_hash, snapshot)
        customer, last = len(snapshot.names), (*AFFINITY_NAMES, *CONTEXT_NAMES)
        offer_names = model.names[customer : len(model.names) - len(last)]
        if model.names != (*snapshot.names, *offer_names, *last):
            raise ModelMismatch(
                f"model {name!r} lists its inputs in another order than snapshot "
                f"{snapshot.version}; run 'regulars train response'"
            )
        strange = [offered for offered in offer_names if not is_offer_feature(offered)]
        if strange:
            raise ModelMismatch(
                f"model {name!r} asks for {', '.join(strange)} of an offer, which this service "
                "cannot compute; run 'regulars train response'"
            )
        self.name = name
        self._model = model
        self._offer_names = offer_names
        self._places = snapshot.places
        self._offer_vectors: dict[str, tuple[Offer, np.ndarray]] = {}

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
        """Return each offer's response probability for one customer and moment.

        Raises:
            RegularsError: The model answered something that is no probability.
        """
        if not offers:
            return {}
        context = context_features(channel, at, time_zone, basket_amounts)
        rows = np.array([self._offer_vector(offer) for offer in offers])
        known = [profile.affinity_to(self._places.get(offer.offer_id)) for offer in offers]
        near = np.array([UNKNOWN if row is None else row for row in known], dtype=np.float64)
        n = len(offers)
        matrix = np.hstack([np.tile(profile.vector, (n, 1)), rows, near, np.tile(context, (n, 1))])
        found = self._model.predict(matrix)
        # Also true of NaN.
        wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
        if len(wrong):
            raise RegularsError(
                f"model {self.name!r} answered {found[wrong[0]]} for offer "
                f"{offers[int(wrong[0])].offer_id!r}, which is no probability; run 'regulars train "
                "response'"
            )
        return {offer.offer_id: float(score) for offer, score in zip(offers, found, strict=True)}

    def scores_of_many(
        self,
        profiles: Sequence[Profile],
        offers: Sequence[Offer],
        *,
        channel: str,
        at: datetime,
        time_zone: str,
    ) -> np.ndarray:
        """Return every customer's response probability for every offer at one instant, no basket.

        Args:
            time_zone: Of customers whose own is unknown.

        Returns:
            Equal to `scores` to the last bit, shape (len(profiles), len(offers)).

        Raises:
            RegularsError: The model answered something that is no probability.
        """
        n, m = len(profiles), len(offers)
        if not n or not m:
            return np.empty((n, m))
        zones = [profile.time_zone or time_zone for profile in profiles]
        context = {zone: context_features(channel, at, zone, None) for zone in set(zones)}
        near = np.tile(UNKNOWN.astype(np.float32), (n, m, 1))
        places = [self._places.get(offer.offer_id) for offer in offers]
        here = [column for column, place in enumerate(places) if place is not None]
        there = [place for place in places if place is not None]
        for row, profile in enumerate(profiles):
            if len(profile.affinity):
                near[row, here] = profile.affinity[there]
        inputs = Inputs(
            customers=np.array([profile.vector for profile in profiles]),
            offers=np.array([self._offer_vector(offer) for offer in offers]),
            affinity=near,
            context=np.array([context[zone] for zone in zones]),
        )
        rows, columns = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
        return pair_scores(self._model, inputs, rows, columns).reshape(n, m)

    def _offer_vector(self, offer: Offer) -> np.ndarray:
        known = self._offer_vectors.get(offer.offer_id)
        if known is not None and known[0] is offer:
            return known[1]
        vector = offer_vector(self._offer_names, offer)
        self._offer_vectors[offer.offer_id] = (offer, vector)
        return vector

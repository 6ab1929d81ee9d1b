"""Scores: how likely customers are to redeem offers, for one request or for a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
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
# Of whom nothing is known.
NOTHING_NEAR = np.empty((0, len(AFFINITY_NAMES)), dtype=np.float32)


# Offers that were asked for together: what is kept of them stays bounded.
MOST_KEPT = 1000


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


class Quick(Protocol):
    """Another way to a model's probabilities, for offers of one customer and moment."""

    def probabilities(
        self,
        shared: np.ndarray,
        features: np.ndarray,
        near: np.ndarray,
        at: np.ndarray,
        places: np.ndarray,
    ) -> np.ndarray: ...

    def equals(
        self,
        matrix: np.ndarray,
        shared: np.ndarray,
        features: np.ndarray,
        near: np.ndarray,
        at: np.ndarray,
        places: np.ndarray,
    ) -> bool:
        """Whether it answers the others of these as the model answers the matrix of them all."""
        ...


@dataclass(frozen=True, slots=True)
class _Together:
    """Offers that are asked for together: their ids, features, and places in an affinity."""

    offers: Sequence[Offer]
    ids: tuple[str, ...]
    features: np.ndarray
    places: np.ndarray
    nowhere: np.ndarray


class Scorer:
    """A model fitted to one snapshot: assembles inputs and predicts.

    Args:
        quick: Answers requests instead of the model, whose equal it has proved to be.

    Raises:
        ModelMismatch: The model was trained on other definitions than the snapshot holds.
    """

    def __init__(
        self, name: str, model: Model, snapshot: SnapshotFacts, quick: Quick | None = None
    ) -> None:
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
        self._quick = quick
        self._offer_names = offer_names
        self._places = snapshot.places
        # What is known of the offers that were asked for, and the row of each.
        self._offer_rows = np.empty((0, len(offer_names)))
        self._offer_places = np.empty(0, dtype=np.intp)
        self._row_of: dict[int, int] = {}
        # What is held here keeps its identity: no other offer can come by it.
        self._seen: list[Offer] = []
        # Of the offers that are asked for together again and again, by identity.
        self._asked: dict[int, _Together] = {}
        # Inputs of an offer's own, between those of the customer and those of the moment.
        own = len(offer_names) + len(AFFINITY_NAMES)
        self._own = slice(customer, customer + own)
        self._own_places = np.full(len(model.names), -1, dtype=np.int32)
        self._own_places[self._own] = np.arange(own)

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
        together = self._together(offers)
        if self._quick is None:
            found = self._model.predict(self._matrix(profile, together, context))
        else:
            found = self._quick.probabilities(*self._parts(profile, together, context))
        told: list[float] = found.tolist()
        # The sum is not true of NaN; of so few numbers Python is quicker than numpy.
        if not (min(told) >= 0 and max(told) <= 1 and sum(told) >= 0):
            wrong = int(np.argmin((found >= 0) & (found <= 1)))
            raise RegularsError(
                f"model {self.name!r} answered {found[wrong]} for offer "
                f"{offers[wrong].offer_id!r}, which is no probability; run 'regulars train "
                "response'"
            )
        return dict(zip(together.ids, told, strict=True))

    def matrix(
        self,
        profile: Profile,
        offers: Sequence[Offer],
        *,
        channel: str,
        at: datetime,
        time_zone: str,
    ) -> np.ndarray:
        """Return what the model is asked about one customer and moment without a basket.

        Returns:
            A row an offer, in the order of the model's names.
        """
        context = context_features(channel, at, time_zone, None)
        return self._matrix(profile, self._together(offers), context)

    def equals(
        self,
        quick: Quick,
        profile: Profile,
        offers: Sequence[Offer],
        *,
        channel: str,
        at: datetime,
        time_zone: str,
    ) -> bool:
        """Whether a quick way to the model answers one customer and moment as the model does."""
        context, together = context_features(channel, at, time_zone, None), self._together(offers)
        matrix = self._matrix(profile, together, context)
        return quick.equals(matrix, *self._parts(profile, together, context))

    def _parts(
        self, profile: Profile, together: _Together, context: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what a quick way is asked: inputs that rows share, and what each has its own."""
        shared = np.empty(len(self._own_places))
        shared[: self._own.start] = profile.vector
        shared[self._own.stop :] = context
        near, at = profile.affinity, together.places
        if not len(near):
            near, at = NOTHING_NEAR, together.nowhere
        return shared, together.features, near, at, self._own_places

    def _matrix(self, profile: Profile, together: _Together, context: np.ndarray) -> np.ndarray:
        near = profile.affinities_to(together.places)
        n = len(together.ids)
        return np.hstack(
            [
                np.tile(profile.vector, (n, 1)),
                together.features,
                np.tile(UNKNOWN, (n, 1)) if near is None else near,
                np.tile(context, (n, 1)),
            ]
        )

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
        offered = self._rows(offers)
        inputs = Inputs(
            customers=np.array([profile.vector for profile in profiles]),
            offers=self._offer_rows[offered],
            affinity=near,
            context=np.array([context[zone] for zone in zones]),
        )
        rows, columns = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
        return pair_scores(self._model, inputs, rows, columns).reshape(n, m)

    def _together(self, offers: Sequence[Offer]) -> _Together:
        known = self._asked.get(id(offers))
        if known is None:
            rows = self._rows(offers)
            known = _Together(
                offers,
                tuple(offer.offer_id for offer in offers),
                self._offer_rows[rows],
                self._offer_places[rows],
                np.full(len(offers), -1),
            )
            # A list may change and keep its identity, a tuple that is held here may not.
            if isinstance(offers, tuple):
                if len(self._asked) >= MOST_KEPT:
                    self._asked.clear()
                self._asked[id(offers)] = known
        return known

    def _rows(self, offers: Sequence[Offer]) -> list[int]:
        """Return the row of each offer; a changed offer of the same id is another one."""
        try:
            return [self._row_of[id(offer)] for offer in offers]
        except KeyError:
            new = [offer for offer in offers if id(offer) not in self._row_of]
            vectors = [offer_vector(self._offer_names, offer) for offer in new]
            places = [self._places.get(offer.offer_id, -1) for offer in new]
            first = len(self._seen)
            self._seen = [*self._seen, *new]
            # The rows first: another thread may ask meanwhile.
            self._offer_rows = np.vstack([self._offer_rows, vectors])
            self._offer_places = np.concatenate([self._offer_places, places])
            self._row_of = self._row_of | {id(o): first + n for n, o in enumerate(new)}
            return [self._row_of[id(offer)] for offer in offers]

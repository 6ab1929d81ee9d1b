"""What would another model have scored for a decision? Computed from its record, exactly.

A record holds the customer's vector, what was known of her and each eligible offer, and the moment:
a model's inputs, so that the service's own scorers do it. Only an offer's terms are today's.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np

from foundation.decision import DecisionRecord
from foundation.lake import Lake
from foundation.offer import Offer, read_offer
from foundation.profile import Profile, SnapshotFacts
from foundation.settings import Settings
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.affinity import response_hash
from recommender.decision_log import time_zones
from recommender.value import levered
from regulars.contacts import contacts_of
from regulars.jobs.customers import registry
from regulars.jobs.publish import catalogue_offers
from serving.scoring import Model, Scorer
from serving.uplift_scoring import UpliftScorer, UpliftValues

# A score for each offer that was eligible; None where the record cannot tell.
Scores = Callable[[DecisionRecord], Mapping[str, float] | None]

# Records were written to the last digit; offers' terms may have changed since.
SAME = 1e-9


class RecordedScores:
    """Scores recorded decisions again, by any model of today's features."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        features = registry(lake)
        self._offers = {
            offer["offer_id"]: read_offer(offer, 0.0) for offer in catalogue_offers(lake)
        }
        self._facts = SnapshotFacts(
            "of records",
            datetime(1970, 1, 1, tzinfo=UTC),
            tuple(feature.name for feature in features),
            response_hash(features),
            0,
            offers=tuple(self._offers),
        )
        self._places = self._facts.places
        self._zones = time_zones(lake)
        self._zone = settings.time_zone
        # A record does not tell what she was still to bring: the declared value stands in.
        self._contacts = contacts_of(settings)

    def response(self, name: str, model: Model) -> Scores:
        """Return the scores of a response model.

        Raises:
            ModelMismatch: It was trained on other definitions than today's.
        """
        scorer = Scorer(name, model, self._facts)
        return lambda record: None if record.affinity is None else self._told(scorer, record)

    def uplift(self, name: str, model: UpliftValues) -> Scores:
        """Return the scores of an uplift model, which needs no affinities.

        Raises:
            ModelMismatch: It was trained on other definitions than today's.
        """
        scorer = UpliftScorer(name, model, self._facts, self._contacts)

        def weighed(record: DecisionRecord) -> Mapping[str, float] | None:
            found = self._told(scorer, record)
            # The marketer's levers are no model's: they weigh whichever model scores.
            levers = record.levers.items()
            return found and {**found, **{i: levered(found[i], by) for i, by in levers}}

        return weighed

    def _told(
        self, scorer: Scorer | UpliftScorer, record: DecisionRecord
    ) -> Mapping[str, float] | None:
        facts = self._facts
        if record.vector is None or record.versions.features != facts.feature_hash:
            return None
        offers = [self._offers[offer_id] for offer_id in record.scores if offer_id in self._offers]
        if len(offers) < len(record.scores):
            return None
        basket = record.context.basket
        return scorer.scores(
            self._profile(record, offers),
            offers,
            channel=record.channel,
            at=record.at,
            time_zone=self._zones.get(record.customer_id) or self._zone,
            basket_amounts=None if basket is None else [line.amount for line in basket],
        )

    def _profile(self, record: DecisionRecord, offers: list[Offer]) -> Profile:
        affinity = np.empty((0, 0), dtype=np.float32)
        if record.affinity:
            affinity = np.full((len(self._offers), len(AFFINITY_NAMES)), np.nan, dtype=np.float32)
            places = [self._places[offer.offer_id] for offer in offers]
            told = np.frombuffer(record.affinity, dtype="<f4")
            affinity[places] = told.reshape(len(offers), len(AFFINITY_NAMES))
        vector = np.array([np.nan if v is None else v for v in record.vector or ()])
        return Profile(record.customer_id, None, None, vector, {}, affinity=affinity)


def checked(scores: Scores, name: str) -> Scores:
    """Return a model's scores, but None where it decided itself and recorded others.

    There an offer's terms have changed since, and no model can be asked as it would have been.
    """

    def again(record: DecisionRecord) -> Mapping[str, float] | None:
        found = scores(record)
        if found is None or record.versions.model != name or record.policy.scored is None:
            return found
        if record.policy.scored != name.partition("@")[0]:
            return found
        apart = [abs(found[offer_id] - score) for offer_id, score in record.scores.items()]
        return found if max(apart, default=0.0) <= SAME * _size(record) else None

    return again


def _size(record: DecisionRecord) -> float:
    return max(1.0, *(abs(score) for score in record.scores.values()))

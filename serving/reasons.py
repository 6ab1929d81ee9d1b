"""Reasons: the sentences of an answer, read from what was made ready when the snapshot was."""

from collections.abc import Collection, Mapping

import numpy as np

from foundation.profile import Profile, SnapshotFacts
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.reasons import sentences, topics

_AFFINITIES = {name: place for place, name in enumerate(AFFINITY_NAMES)}


class Reasons:
    """What a snapshot says of why its offers suit its customers.

    Nothing is computed here: codes of the profile are put into words, with figures of the profile.
    """

    def __init__(self, facts: SnapshotFacts) -> None:
        explanation = facts.explanation
        self.model = None if explanation is None else explanation.model
        known = {topic.key: topic for topic in topics(facts.names)}
        keys = () if explanation is None else explanation.topics
        # A topic of another version of this software is not told.
        self._topics = [known.get(key) for key in keys]
        self._goods = () if explanation is None else explanation.goods
        self._rows = {name: row for row, name in enumerate(facts.names)}
        self._places = facts.places

    def of(self, profile: Profile, offers: Collection[str]) -> dict[str, list[str]]:
        """Return the reasons why each offer suits her, the strongest first; perhaps none."""
        if not len(profile.reasons):
            return {}
        found: dict[str, list[str]] = {}
        facts = _Facts(profile.vector, self._rows)
        for offer_id in offers:
            place = self._places.get(offer_id)
            near = profile.affinity_to(place)
            if place is None or near is None:
                continue
            facts.near = near
            codes = profile.reasons[place].tolist()
            found[offer_id] = sentences(codes, self._topics, facts, self._goods[place])
        return found


class _Facts(dict[str, float]):
    """What is known of her and an offer, by name: looked up as it is told, for little of it is."""

    near: np.ndarray

    def __init__(self, vector: np.ndarray, rows: Mapping[str, int]) -> None:
        super().__init__()
        self._vector, self._rows = vector, rows

    def __missing__(self, name: str) -> float:
        place = _AFFINITIES.get(name)
        if place is not None:
            return self.near.item(place)
        # The same for every offer shown.
        self[name] = found = self._vector.item(self._rows[name])
        return found

"""Forgotten: customers whom the snapshot may still hold, and nobody is to see any more."""

from foundation.profile import Profile, SnapshotFacts
from recommender.next_products import Known
from serving.profiles import ProfileStore


class WithoutForgotten:
    """See serving.profiles.ProfileStore: the snapshot without who asked to be forgotten."""

    def __init__(self, profiles: ProfileStore) -> None:
        self._profiles = profiles
        self.forgotten: frozenset[str] = frozenset()

    def facts(self) -> SnapshotFacts | None:
        return self._profiles.facts()

    def get(self, customer_id: str) -> Profile | None:
        return None if customer_id in self.forgotten else self._profiles.get(customer_id)

    def sample(self, size: int) -> list[Profile]:
        found = self._profiles.sample(size)
        return [one for one in found if one.customer_id not in self.forgotten]

    def product(self, product_id: str) -> Known | None:
        return self._profiles.product(product_id)

    def group(self, name: str) -> Known | None:
        return self._profiles.group(name)

    def refresh(self) -> bool:
        return self._profiles.refresh()

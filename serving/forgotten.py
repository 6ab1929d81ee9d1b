"""Forgotten: customers whom the snapshot may still hold, and nobody is to see any more."""

import math
from collections.abc import Callable, Collection

from foundation.profile import Profile, SnapshotFacts
from recommender.next_products import NextProducts
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

    async def fetch(self, customer_id: str, by: float = math.inf) -> Profile | None:
        if customer_id in self.forgotten:
            return None
        return await self._profiles.fetch(customer_id, by)

    async def fetch_with_basket(
        self, customer_id: str, basket: Collection[str], by: float = math.inf
    ) -> tuple[Profile | None, NextProducts]:
        if customer_id in self.forgotten:
            return None, NextProducts()
        return await self._profiles.fetch_with_basket(customer_id, basket, by)

    def sample(self, size: int) -> list[Profile]:
        found = self._profiles.sample(size)
        return [one for one in found if one.customer_id not in self.forgotten]

    async def next_products(self, basket: Collection[str]) -> NextProducts:
        return await self._profiles.next_products(basket)

    def newer(self) -> Callable[[], None] | None:
        return self._profiles.newer()

    async def close(self) -> None:
        await self._profiles.close()

"""The profile store port: the published snapshot, read by customer in well under a millisecond."""

import math
from collections.abc import Callable, Collection
from typing import Protocol

from foundation.profile import Profile, SnapshotFacts
from recommender.next_products import NextProducts


class ProfileStore(Protocol):
    """The snapshot that is live now; a new store has none before it is moved to one.

    A store that many nodes share may be away: what reads it then raises StoreUnavailable, and
    never calls a customer unknown whom it could not ask for.
    """

    def facts(self) -> SnapshotFacts | None:
        """Return what the live snapshot is, None when none is live."""
        ...

    def get(self, customer_id: str) -> Profile | None:
        """Return a customer's profile, None when the snapshot does not have her. May wait."""
        ...

    async def fetch(self, customer_id: str, by: float = math.inf) -> Profile | None:
        """Return the same for a request: of the snapshot that is live when this is called.

        Args:
            by: When the caller gives up, on the loop's clock.
        """
        ...

    async def fetch_with_basket(
        self, customer_id: str, basket: Collection[str], by: float = math.inf
    ) -> tuple[Profile | None, NextProducts]:
        """Return her profile and what goes with a basket, both of that one snapshot."""
        ...

    def sample(self, size: int) -> list[Profile]:
        """Return up to `size` profiles, spread over all customers, the same for the same snapshot.

        A snapshot that has fewer is returned whole. May wait.
        """
        ...

    async def next_products(self, basket: Collection[str]) -> NextProducts:
        """Return what goes with these products, and with the groups that speak for some of them."""
        ...

    def newer(self) -> Callable[[], None] | None:
        """Open the newest published snapshot; None when it is the live one. May wait.

        Returns:
            What moves the store to it, at once and without waiting.

        Raises:
            RegularsError: It cannot be read; the live one stays.
        """
        ...

    async def close(self) -> None:
        """Give up connections; a later call opens them again."""
        ...


def refresh(profiles: ProfileStore) -> bool:
    """Move a store to the newest published snapshot; True when there was a newer one.

    Raises:
        RegularsError: The newest snapshot cannot be read; the live one stays.
    """
    move = profiles.newer()
    if move is None:
        return False
    move()
    return True

"""The profile store port: the published snapshot, read by customer in microseconds."""

from typing import Protocol

from foundation.profile import Profile, SnapshotFacts
from recommender.next_products import Known


class ProfileStore(Protocol):
    """The snapshot that is live now."""

    def facts(self) -> SnapshotFacts | None:
        """Return what the live snapshot is, None before the first publication."""
        ...

    def get(self, customer_id: str) -> Profile | None:
        """Return a customer's profile, None when the snapshot does not have her."""
        ...

    def sample(self, size: int) -> list[Profile]:
        """Return up to `size` profiles, spread over all customers, the same for the same snapshot.

        A snapshot that has fewer is returned whole.
        """
        ...

    def product(self, product_id: str) -> Known | None:
        """Return what goes with a product, None where nothing is known of it."""
        ...

    def group(self, name: str) -> Known | None:
        """Return what goes with a group of products, None where nothing is known of it."""
        ...

    def refresh(self) -> bool:
        """Move to the newest published snapshot; True when there was a newer one."""
        ...

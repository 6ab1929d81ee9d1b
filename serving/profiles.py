"""The profile store port: the published snapshot, read by customer in microseconds."""

from typing import Protocol

from foundation.profile import Profile, SnapshotFacts


class ProfileStore(Protocol):
    """The snapshot that is live now."""

    def facts(self) -> SnapshotFacts | None:
        """Return what the live snapshot is, None before the first publication."""
        ...

    def get(self, customer_id: str) -> Profile | None:
        """Return a customer's profile, None when the snapshot does not have her."""
        ...

    def refresh(self) -> bool:
        """Move to the newest published snapshot; True when there was a newer one."""
        ...

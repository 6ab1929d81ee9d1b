"""The key store port: which API keys are valid now."""

from collections.abc import Collection
from typing import Protocol

from foundation.access import KeyFacts


class KeyStore(Protocol):
    """Where keys are kept."""

    async def keys(self) -> dict[bytes, KeyFacts]:
        """Return every valid key by its hash."""
        ...

    async def used(self, numbers: Collection[int]) -> None:
        """Keep that the keys of these numbers were used today."""
        ...

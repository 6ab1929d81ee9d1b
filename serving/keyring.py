"""The API keys a service knows, and what each may do."""

import asyncio
import time
from collections.abc import Sequence

from foundation.access import KeyFacts, Scope, allowed
from serving.batching import Batcher
from serving.keys import KeyStore

# Looks at the keys keep this distance, so that guessing at keys does not wear out the database.
KEY_SECONDS = 0.1


class Keyring:
    """The keys as last read; one that is unknown is looked up anew before it is refused."""

    def __init__(self, keys: KeyStore) -> None:
        self._store = keys
        self._keys: dict[bytes, KeyFacts] = {}
        self._read_at = 0.0
        self._looks: Batcher[str, None] = Batcher(self._look, lanes=1)

    async def allows(self, key: str, scope: Scope) -> bool | None:
        """Whether a key may do something; None when nobody knows the key.

        Raises:
            StoreUnavailable: The key may be younger than the last look, and no new one succeeds.
        """
        may = allowed(self._keys, key, scope)
        if may is None:
            # One look serves all who wait for it.
            await self._looks.submit(key)
            may = allowed(self._keys, key, scope)
        return may

    async def read(self) -> None:
        """Take over the keys as they are now."""
        self._keys = await self._store.keys()

    async def _look(self, keys: Sequence[str]) -> Sequence[None]:
        await asyncio.sleep(max(0.0, self._read_at + KEY_SECONDS - time.monotonic()))
        self._read_at = time.monotonic()
        await self.read()
        return [None] * len(keys)

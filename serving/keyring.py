"""The API keys a service knows, what each may do and how often."""

import asyncio
import time
from collections.abc import Sequence

from foundation.access import KeyFacts, hash_key
from foundation.clock import Clock
from serving.batching import Batcher
from serving.keys import KeyStore
from serving.rates import Rates

# Looks at the keys keep this distance, so that guessing at keys does not wear out the database.
KEY_SECONDS = 0.1
# The day of a key's last use is told this seldom.
TELL_SECONDS = 60.0


class Keyring:
    """The keys as last read; one that is unknown is looked up anew before it is refused."""

    def __init__(self, keys: KeyStore, clock: Clock, rates: Rates) -> None:
        self._store = keys
        self._clock = clock
        self._rates = rates
        self._keys: dict[bytes, KeyFacts] = {}
        self._read_at = 0.0
        self._looks: Batcher[str, None] = Batcher(self._look, lanes=1)
        self._used: set[int] = set()
        self._told_at = time.monotonic()

    async def facts(self, key: str) -> KeyFacts | None:
        """Return what is known of a valid key; None when nobody knows it, or not any more.

        Raises:
            StoreUnavailable: The key may be younger than the last look, and no new one succeeds.
        """
        facts = self._keys.get(hash_key(key))
        if facts is None:
            # One look serves all who wait for it.
            await self._looks.submit(key)
            facts = self._keys.get(hash_key(key))
        # The last look may be from before the end, where the database does not answer.
        if facts is None or (facts.expires_at and facts.expires_at <= self._clock.now()):
            return None
        return facts

    def wait(self, facts: KeyFacts) -> float:
        """Count a use of a key; 0.0 if it may ask now, else the seconds until it may."""
        self._used.add(facts.number)
        return 0.0 if facts.rate is None else self._rates.wait(facts.number, facts.rate)

    async def read(self) -> None:
        """Take over the keys as they are now, and tell now and then which were used."""
        self._keys = await self._store.keys()
        if self._used and time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            used, self._used = self._used, set()
            await self._store.used(used)

    async def _look(self, keys: Sequence[str]) -> Sequence[None]:
        await asyncio.sleep(max(0.0, self._read_at + KEY_SECONDS - time.monotonic()))
        self._read_at = time.monotonic()
        await self.read()
        return [None] * len(keys)

"""Refusals: who closed a channel that is open to all others, known also while the database is away.

A decision that does not hear her live state in time would otherwise take her for one of those who
were never asked. Outbound channels need none of this: without the database nobody is contacted.
"""

import time
from collections.abc import Callable, Mapping
from typing import get_args

from foundation.contact_policy import ContactPolicy
from foundation.outcome import Channel
from foundation.profile import UNCOUNTED, LiveState
from serving.customers import Customers

# An answer may be committed after one that is numbered later: what is read goes on for so long.
SETTLED_SECONDS = 60.0


class Refusals:
    """Who refused which inbound channel, as last read."""

    def __init__(
        self,
        customers: Customers,
        policy: ContactPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._customers = customers
        self._channels = sorted(set(get_args(Channel)) - policy.outbound)
        # Not the time of day, which may jump.
        self._clock = clock
        self._newest = -1
        self._moved_at = 0.0
        self._refused: Mapping[str, frozenset[str]] = {}

    async def read(self) -> None:
        """Take over newer answers, if there may be any.

        Raises:
            StoreUnavailable: The database does not answer; what was read stays.
        """
        newest = await self._customers.newest_answer()
        if newest != self._newest:
            self._newest, self._moved_at = newest, self._clock()
        elif self._clock() - self._moved_at > SETTLED_SECONDS:
            return
        found = await self._customers.refusals(self._channels)
        self._refused = {channel: frozenset(names) for channel, names in found.items()}

    def uncounted(self, customer_id: str) -> LiveState:
        """Return the state of a customer of whom the database did not say what she has used."""
        refused = [name for name, hers in self._refused.items() if customer_id in hers]
        if not refused:
            return UNCOUNTED
        return LiveState({}, counted=False, consents=dict.fromkeys(refused, False))

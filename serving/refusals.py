"""Refusals: who closed a channel that is open to all others, known also while the database is away.

A decision that does not hear her live state in time would otherwise take her for one of those who
were never asked. What was read is kept on this machine's disk, for a start during an outage; where
there is neither, nobody is taken for one who agreed. Outbound channels need none of this: without
the database nobody is contacted.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Container, Mapping
from typing import Protocol, get_args

from foundation.contact_policy import ContactPolicy
from foundation.outcome import Channel
from foundation.profile import LiveState
from serving.customers import Customers

# An answer may be committed after one that is numbered later: what is read goes on for so long.
SETTLED_SECONDS = 60.0
# All are read again so often, whatever was missed of an erasure while the database was away.
WHOLE_SECONDS = 3600.0
# To keep a million takes a second: so many times as long is waited before it is done again.
REST = 20.0


class KeptRefusals(Protocol):
    """What was last read, on this machine's disk. Both calls block."""

    def read(self) -> Mapping[str, Container[str]]:
        """Return who refused by channel; a channel of which nothing is known is missing."""
        ...

    def keep(self, refused: Mapping[str, Collection[str]]) -> None:
        """Keep who refuses, by channel, in place of what was kept before."""
        ...


class Refusals:
    """Who refused which inbound channel, as last read."""

    def __init__(
        self,
        customers: Customers,
        kept: KeptRefusals,
        policy: ContactPolicy,
        forgotten: Callable[[], frozenset[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to read.

        Args:
            forgotten: Who was erased, as last read.
            clock: Seconds; not the time of day, which may jump.
        """
        self._customers = customers
        self._kept = kept
        self._channels = sorted(set(get_args(Channel)) - policy.outbound)
        self._forgotten = forgotten
        self._clock = clock
        # None before the database or the disk was asked.
        self._refused: Mapping[str, Container[str]] | None = None
        self._told: dict[str, set[str]] | None = None
        self._gone: frozenset[str] = frozenset()
        self._whole_by = 0.0
        # Numbers of the newest answers, and when they were first seen.
        self._seen: list[tuple[float, int]] = []
        self._changed = False
        self._keep_by = 0.0

    async def read(self) -> None:
        """Take over newer answers, if there may be any.

        Raises:
            StoreUnavailable: The database does not answer; what was read stays.
        """
        if self._refused is None:
            self._refused = await asyncio.to_thread(self._kept.read)
        newest, now = await self._customers.newest_answer(), self._clock()
        if self._told is None or now >= self._whole_by:
            gone, told = self._forgotten(), await self._customers.refusals(self._channels)
            # An answer that was under way at the first reading shows in the second.
            self._whole_by = now + (SETTLED_SECONDS if self._told is None else WHOLE_SECONDS)
            self._gone, self._told, self._refused, self._changed = gone, told, told, True
        else:
            self._forget(self._told)
            await self._follow(self._told, newest, now)
        if not self._seen or self._seen[-1][1] != newest:
            self._seen.append((now, newest))
        await self._keep()

    def _forget(self, told: dict[str, set[str]]) -> None:
        gone = self._forgotten()
        for hers in told.values():
            found = hers & (gone - self._gone)
            hers -= found
            self._changed |= bool(found)
        self._gone = gone

    async def _follow(self, told: dict[str, set[str]], newest: int, now: float) -> None:
        """Take over the answers that were not there when all who refuse were read."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - SETTLED_SECONDS:
            del self._seen[0]
        seen_at, settled = self._seen[0]
        if newest == settled and now - seen_at > SETTLED_SECONDS:
            return
        for channel, customer_id, granted in await self._customers.answers_after(
            settled, self._channels
        ):
            if granted == (customer_id in told[channel]):
                (told[channel].discard if granted else told[channel].add)(customer_id)
                self._changed = True

    async def _keep(self) -> None:
        began = self._clock()
        if self._told is None or not self._changed or began < self._keep_by:
            return
        self._changed = False
        # Answers go on being taken over while a thread keeps these.
        refused = {channel: tuple(hers) for channel, hers in self._told.items()}
        await asyncio.to_thread(self._kept.keep, refused)
        ended = self._clock()
        self._keep_by = ended + REST * (ended - began)

    def unknown(self, channel: str) -> bool:
        """Whether nobody can say who refused a channel where she comes to us."""
        return channel in self._channels and channel not in (self._refused or {})

    @property
    def all_known(self) -> bool:
        return not any(self.unknown(channel) for channel in self._channels)

    def uncounted(self, customer_id: str) -> LiveState:
        """Return the state of a customer of whom the database did not say what she has used.

        A channel of which nothing is known is closed, as if she had refused it.
        """
        refused = self._refused or {}
        closed = [c for c in self._channels if c not in refused or customer_id in refused[c]]
        return LiveState({}, counted=False, consents=dict.fromkeys(closed, False))

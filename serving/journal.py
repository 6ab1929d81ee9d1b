"""The journal port: decisions and outcomes, durable before they are acknowledged."""

from collections.abc import Sequence
from typing import Protocol

from foundation.decision import DecisionRecord
from foundation.outcome import Outcome
from foundation.profile import LiveState


class Journal(Protocol):
    """Where decisions and outcomes are written and a customer's live state is read."""

    async def live_states(self, customer_ids: Sequence[str]) -> list[LiveState]:
        """Return the state of each customer, in one round trip."""
        ...

    async def record(self, records: Sequence[DecisionRecord]) -> None:
        """Write decisions in one transaction; when this returns they are on disk."""
        ...

    async def tell(self, outcomes: Sequence[Outcome]) -> int:
        """Write outcomes not told before, all or none, and return how many those were.

        Raises:
            EventChanged: An event_id was told before with other content; nothing is written.
        """
        ...

    async def ready(self) -> bool:
        """Whether the store answers now."""
        ...

    async def close(self) -> None:
        """Give up what is held; a later call opens it again."""
        ...

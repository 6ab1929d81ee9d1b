"""The port to the counter of contacts: no contact cap is ever passed, whoever decides at once."""

from collections.abc import Sequence
from typing import Protocol

from foundation.contact_policy import Decided, Written


class ContactCounter(Protocol):
    """Where contacts are counted."""

    async def record(
        self, decided: Sequence[Decided], batch_id: str | None = None
    ) -> list[Written]:
        """Write decisions and count their contacts, in one transaction, durable when it returns.

        Args:
            batch_id: The batch that made them; it never decides for a customer twice.

        Returns:
            What became of each, in order. One that was not kept is to be decided anew.
        """
        ...

    async def forget(self) -> int:
        """Forget contacts that no cap has counted for long; return how many those were."""
        ...

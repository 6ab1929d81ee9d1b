"""The port to batches: which customers one has decided for, so that none is twice."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from foundation.batch import Begun
from foundation.decision import DecisionRecord


class Batches(Protocol):
    """Where batches are kept."""

    async def unfinished(self, request: str) -> bool:
        """Return whether a batch of a request was begun and not finished."""
        ...

    async def begin(self, batch_id: str, request: str, at: datetime) -> Begun:
        """Begin a batch, or go on with the unfinished one of the same request."""
        ...

    async def undecided(self, batch_id: str, customer_ids: Sequence[str]) -> list[str]:
        """Return those customers a batch did not decide for yet, in the order given."""
        ...

    async def records(self, batch_id: str, after: str, most: int) -> list[DecisionRecord]:
        """Return up to `most` of a batch's decisions, by customer, of those after one.

        Raises:
            UnreadableRecord: This version cannot read one of them.
        """
        ...

    async def finish(self, batch_id: str, at: datetime) -> None:
        """Let the next batch of the same request be a new one."""
        ...

"""The journal port: decisions and outcomes, durable before they are acknowledged."""

from collections.abc import Sequence
from typing import Protocol

from foundation.decision import DecisionRecord
from foundation.outcome import Outcome
from foundation.packed_decision import PackedDecision
from foundation.profile import LiveState
from foundation.replay import Answered, Replay


class Journal(Protocol):
    """Where decisions and outcomes are written and a customer's live state is read."""

    async def live_states(
        self, customer_ids: Sequence[str], *, contacts: bool = False
    ) -> list[LiveState]:
        """Return the state of each customer, in one round trip; only if asked with her contacts."""
        ...

    async def record(self, decisions: Sequence[PackedDecision]) -> None:
        """Write decisions in one transaction; when this returns they are on disk.

        One that is there already stays as it is.
        """
        ...

    async def record_once(self, asked: Sequence[Answered]) -> list[str | None]:
        """Write decisions whose request was not answered before, each with its answer.

        Returns:
            The answer that stands for each: its own, or that of the first under its name; None
            where the name was used for another request.
        """
        ...

    async def decision(self, decision_id: str) -> DecisionRecord | None:
        """Return a decision's record, None where there is none.

        Raises:
            UnreadableRecord: There is one, and this version cannot read it.
        """
        ...

    async def tell(self, outcomes: Sequence[Outcome], replay: Replay | None = None) -> int | None:
        """Write outcomes not told before, all or none, and return how many those were.

        A request that was told before under its name gets the same number again and writes
        nothing; None where the name was used for another request.

        Raises:
            EventChanged: An event_id was told before with other content; nothing is written.
            EventRefused: One of them cannot be written, now or later; nothing is.
        """
        ...

    async def forget_names(self) -> int:
        """Forget names of requests older than KEPT_HOURS; return how many those were."""
        ...

    async def ready(self) -> bool:
        """Whether the store answers now."""
        ...

    async def close(self) -> None:
        """Give up what is held; a later call opens it again."""
        ...

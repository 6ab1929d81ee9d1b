"""The port to what the operational database holds of one customer: read, answered, forgotten."""

from collections.abc import Sequence
from typing import Any, Protocol

from foundation.consent import ConsentAnswer
from foundation.pseudonym import Former
from foundation.replay import Replay


class Customers(Protocol):
    """What is known of one customer, and what she may ask of it."""

    async def answer(self, answers: Sequence[ConsentAnswer]) -> None:
        """Keep consents that are newer than her last answer for the channel, and their history.

        One without an instant is given now, and is the newest.
        """
        ...

    async def newest_answer(self) -> int:
        """Return the number of the newest answer, 0 where there is none."""
        ...

    async def refusals(self, channels: Sequence[str]) -> dict[str, set[str]]:
        """Return the customers who refuse a channel now, by channel, each of the channels."""
        ...

    async def answers_after(
        self, entry: int, channels: Sequence[str]
    ) -> list[tuple[str, str, bool]]:
        """Return channel, customer and answer that holds now, where one is numbered after entry."""
        ...

    async def consent(
        self, customer_id: str, answers: Sequence[ConsentAnswer], replay: Replay | None = None
    ) -> dict[str, bool]:
        """Keep one customer's consents as `answer` does, and return her newest by channel.

        Args:
            replay: Names the request; the same one gets the same answer again and changes nothing.

        Raises:
            KeyReused: The name belongs to another request.
        """
        ...

    async def known(self, customer_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return every row about her, by table; empty where there is none."""
        ...

    async def erase(
        self, customer_id: str, who: str, replay: Replay | None = None
    ) -> dict[str, int]:
        """Forget her: rows about her go, what counts stays under a pseudonym.

        Args:
            who: Who did it, for the audit log, which names her by her pseudonym only.
            replay, Raises: As for `consent`; what is kept of the request does not name her.

        Returns:
            Rows that were deleted or put under the pseudonym, by table.
        """
        ...

    async def erased(self) -> frozenset[str]:
        """Return who is forgotten here and not yet in the snapshot or the lake."""
        ...

    async def former(self, customer_ids: Sequence[str]) -> dict[str, Former]:
        """Return who of these customers was erased, now or long ago, by id."""
        ...

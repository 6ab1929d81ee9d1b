"""The port to the counter of uses: no cap, budget or stock is ever passed, whoever asks at once."""

from collections.abc import Sequence
from typing import Protocol

from foundation.replay import Replay
from foundation.uses import Claim, Claimed, Ended, Held


class Uses(Protocol):
    """Where uses of offers are counted."""

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed | None]:
        """Grant or refuse each claim, in order, in one transaction.

        Returns:
            An answer for each; None where its replay name was used for another request.
        """
        ...

    async def cancel(self, use_id: str, replay: Replay | None = None) -> Ended:
        """Release a reservation.

        Args:
            replay: Names the request; one that released it gets the same answer again.

        Raises:
            KeyReused: The name belongs to another request.
        """
        ...

    async def reverse(self, use_id: str, event_id: str, replay: Replay | None = None) -> Ended:
        """Give back a redeemed use: its place under every cap, its stock, its budget.

        Args:
            use_id: The use, or the event that told its redemption.
            event_id: What the reversal is called among outcomes.
            replay, Raises: As for `cancel`.
        """
        ...

    async def release_expired(self) -> int:
        """Release every reservation whose time is over; return how many those were."""
        ...

    async def held(self) -> dict[str, Held]:
        """Return what is reserved or redeemed, by offer."""
        ...

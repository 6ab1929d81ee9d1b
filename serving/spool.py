"""The spool port: what the database does not take now waits on this machine's disk."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from foundation.pseudonym import Former
from foundation.spooled import Rejected, Spooled


class Spool(Protocol):
    """Where decisions and outcomes wait for the database."""

    async def keep(self, entries: Sequence[Spooled]) -> None:
        """Keep entries; when this returns they are on disk.

        Raises:
            SpoolUnavailable: The disk does not take them; none of them counts as kept.
        """
        ...

    async def pass_on(self, write: Callable[[Sequence[Spooled]], Awaitable[None]]) -> int:
        """Pass on what waits here, also what a process left that ended; return how many.

        What `write` took is forgotten file by file, so that after a kill some of it comes again.
        An error of `write` leaves the rest where it is.
        """
        ...

    async def waits_seconds(self) -> float:
        """Return how long the oldest of what waits here has waited; 0 where nothing does."""
        ...

    async def reject(self, rejected: Sequence[Rejected]) -> None:
        """Put aside, on disk, what cannot be told.

        Raises:
            SpoolUnavailable: The disk does not take it; none of it counts as put aside.
        """
        ...

    async def rejected_customers(self) -> set[str]:
        """Return whom that tells of which was put aside here, by whichever process."""
        ...

    async def forget_rejected(self, former: Mapping[str, Former]) -> int:
        """Put what was put aside under the pseudonyms of who was forgotten; return how many.

        What others put aside meanwhile stays, and after a kill all is as it was or as it becomes.

        Args:
            former: Those who are forgotten, by their ids.

        Raises:
            SpoolUnavailable: The disk does not take it; all is as it was.
        """
        ...

    async def close(self) -> None:
        """Give up what is held; a later call opens it again."""
        ...

"""The write-ahead port: decisions are on this machine's disk before the database has them."""

from collections.abc import Sequence
from typing import Protocol

from foundation.packed_decision import PackedDecision


class Waiting(Protocol):
    """Decisions that wait for the database, in the order in which they were kept."""

    @property
    def decisions(self) -> Sequence[PackedDecision]: ...

    async def forget(self) -> None:
        """Forget them: the database has them all."""
        ...


class WriteAhead(Protocol):
    """Where decisions are for the moment until the database has them.

    However long the disk takes, nothing here holds up the event loop.
    """

    async def open(self) -> None:
        """Make room on disk; what is open stays as it is.

        Raises:
            SpoolUnavailable: The disk does not give it.
        """
        ...

    async def keep(self, decisions: Sequence[PackedDecision]) -> None:
        """Keep decisions; when this returns they are on disk. It must not be cancelled.

        Raises:
            SpoolUnavailable: There is no room, or the disk does not take them; none counts as kept.
        """
        ...

    async def waiting(self) -> Waiting | None:
        """Return what this process kept, None where nothing waits; the same until forgotten.

        What is being kept when this is called is in it.
        """
        ...

    async def left(self) -> tuple[Sequence[Waiting], Sequence[Exception]]:
        """Return what processes kept that ended since, and why some of it cannot be read here.

        The first who asks holds it; what it cannot read stays for who can.
        """
        ...

    async def close(self) -> None:
        """Give up what is held; what waits is left to others."""
        ...

"""The feed port: what the service wrote, read in order and without gaps by the ingest job."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """Transactions a feed may read: from `since` up to, not including, `until`.

    `system` names the database cluster and its timeline, so that a cursor of another one, or of
    the same one before it was restored, is never used.
    """

    system: str
    since: int
    until: int


class Feed(Protocol):
    """The operational database as the ingest job reads it."""

    def window(self, cursor: str | None) -> Window:
        """Return what can be read after a cursor without ever missing a late commit."""
        ...

    def decisions(self, window: Window) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the decisions written in a window, packed under their ids, a page at a time."""
        ...

    def outcomes(self, window: Window) -> Iterator[list[str]]:
        """Yield the outcomes written in a window, as JSON texts, a page at a time."""
        ...

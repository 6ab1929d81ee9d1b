"""The lake port: Parquet tables under contract, read as expressions, written all or nothing."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import ibis
import pyarrow as arrow


@dataclass(frozen=True, slots=True)
class Merged:
    """What an append did with its rows.

    `conflicts` are positions of rows whose event was told before with other content; they were
    not written.
    """

    new: int
    repeated: int
    replaced: int
    conflicts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """Rows of a table since a cursor, and the cursor after them.

    `whole` says that these are all rows: there was no cursor, or the table is no longer the one
    it was set in, grown.
    """

    rows: ibis.Table
    cursor: str
    whole: bool


class LakeWrite(Protocol):
    """One commit in the making: nothing of it is seen before it ends well."""

    def merge(self, table: str, rows: arrow.Table, *, by_day: bool = False) -> Merged:
        """Add events not told before, or replace records by key.

        Args:
            table: A contract's name.
            rows: Rows in the contract's schema.
            by_day: Keep one file a UTC day of the column `at`.
        """
        ...

    def clear(self, table: str) -> None:
        """Empty a table."""
        ...

    def rewrite(self, table: str, change: Callable[[arrow.Table], arrow.Table]) -> None:
        """Change rows that are there already, a part of the table at a time.

        Args:
            change: Gets rows in the contract's schema and returns those that stay, changed or not;
                the very object it got where it leaves all of them as they are.
        """
        ...

    def derive(self, name: str, rows: arrow.RecordBatchReader) -> None:
        """Replace a derived table: of any schema, made of the contracts' and kept in its order."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Set a note (a cursor, say) that becomes true together with the rows."""
        ...


class Lake(Protocol):
    """Where offline jobs read and write."""

    @property
    def version(self) -> int:
        """Number of the newest commit; 0 when nothing was ever written."""
        ...

    def pinned(self) -> "Lake":
        """Return this lake as of the newest commit: its reads never see a later one."""
        ...

    def table(self, name: str) -> ibis.Table:
        """Return a contract's table at the newest commit, empty when nothing was loaded."""
        ...

    def added(self, name: str, cursor: str | None) -> Added:
        """Return an event table's rows since a cursor of an earlier call; None is the start."""
        ...

    def derived(self, name: str) -> ibis.Table | None:
        """Return a derived table at the newest commit, None when it was never made."""
        ...

    def memory(self, rows: arrow.Table) -> ibis.Table:
        """Return an in-memory table that can be joined with the lake's own."""
        ...

    def fetch(self, expression: ibis.Table) -> arrow.Table:
        """Evaluate an expression."""
        ...

    def stream(self, expression: ibis.Table) -> arrow.RecordBatchReader:
        """Evaluate an expression that need not fit into memory."""
        ...

    def note(self, name: str) -> str | None:
        """Return a remembered note."""
        ...

    def digest(self, tables: Sequence[str]) -> str:
        """Return a fingerprint of these tables' content at the newest commit."""
        ...

    def drop_history(self) -> None:
        """Remove every commit but the newest, with the rows that only they hold."""
        ...

    def write(self) -> AbstractContextManager[LakeWrite]:
        """Begin one commit; it becomes visible, whole, when the block ends without an error."""
        ...

"""Documents under a name in PostgreSQL: experiments before their start, policies."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from adapters.audit_log import Begin, write_entry

Table = Literal["experiment_drafts", "policies"]


class PostgresDocuments:
    """One kind of documents; `who` goes into the audit log.

    Args:
        table: Where they are kept.
        name: The column of their name.
        subject: What the log calls them, as in "policy default".
        moved: Told in the transaction of each change.
    """

    def __init__(
        self,
        begin: Begin,
        who: str,
        table: Table,
        name: Literal["key", "name"],
        subject: str,
        moved: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        self._begin = begin
        self._who = who
        self._table = table
        self._name = name
        self._subject = subject
        self._moved = moved

    def all(self) -> dict[str, Any]:
        """Return every document by its name."""
        select = f"SELECT {self._name}, document FROM {self._table} ORDER BY 1"  # noqa: S608
        with self._begin() as connection:
            rows = connection.execute(text(select))
            return {row[0]: row[1] for row in rows}

    def one(self, name: str) -> Any | None:
        """Return a document, None where there is none."""
        with self._begin() as connection:
            return self._document(connection, name)

    def put(self, name: str, document: Any, at: datetime) -> None:
        """Keep a document in the place of what there is."""
        written = json.dumps(document)
        with self._begin() as connection:
            before = self._document(connection, name)
            connection.execute(
                text(
                    f"INSERT INTO {self._table} ({self._name}, document) "  # noqa: S608
                    "VALUES (:name, CAST(:document AS jsonb)) "
                    f"ON CONFLICT ({self._name}) DO UPDATE SET document = excluded.document"
                ),
                {"name": name, "document": written},
            )
            self._log(connection, "write", name, at, before, written)

    def remove(self, name: str, at: datetime, *, logged: bool = True) -> None:
        """Forget a document.

        Args:
            logged: Whether the log is to say so: where it becomes something else, that is said.
        """
        with self._begin() as connection:
            before = self._document(connection, name)
            connection.execute(
                text(f"DELETE FROM {self._table} WHERE {self._name} = :name"),  # noqa: S608
                {"name": name},
            )
            if logged:
                self._log(connection, "remove", name, at, before, None)

    def _document(self, connection: Connection, name: str) -> Any | None:
        select = f"SELECT document FROM {self._table} WHERE {self._name} = :name"  # noqa: S608
        return connection.execute(text(select), {"name": name}).scalar_one_or_none()

    def _log(
        self,
        connection: Connection,
        action: str,
        name: str,
        at: datetime,
        before: Any | None,
        after: str | None,
    ) -> None:
        was = None if before is None else json.dumps(before)
        write_entry(connection, self._who, action, f"{self._subject} {name}", at, was, after)
        self._moved(connection)

"""The audit log: who changed what and when. What is in it stays; see migration 0003."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from sqlalchemy import Connection, text

from foundation.audit import AuditEntry

Begin = Callable[[], AbstractContextManager[Connection]]


class AuditLog:
    """Reads the log."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    def of(self, subject: str) -> list[AuditEntry]:
        """Return what was done to a subject, the oldest first."""
        return self._entries("WHERE subject = :subject ORDER BY entry", subject=subject)

    def newest(self, most: int) -> list[AuditEntry]:
        """Return the last changes of anything, the newest first."""
        return self._entries("ORDER BY entry DESC LIMIT :most", most=most)

    def _entries(self, which: str, **values: object) -> list[AuditEntry]:
        select = f"SELECT at, who, action, subject, before, after FROM audit_log {which}"  # noqa: S608
        with self._begin() as connection:
            return [AuditEntry(*row) for row in connection.execute(text(select), values)]


def write_entry(
    connection: Connection,
    who: str,
    action: str,
    subject: str,
    at: datetime,
    before: str | None = None,
    after: str | None = None,
) -> None:
    """Write into the log, in the transaction that makes the change.

    Args:
        before, after: JSON texts.
    """
    connection.execute(
        text(
            "INSERT INTO audit_log (at, who, action, subject, before, after) VALUES "
            "(:at, :who, :action, :subject, CAST(:before AS jsonb), CAST(:after AS jsonb))"
        ),
        {
            "at": at,
            "who": who,
            "action": action,
            "subject": subject,
            "before": before,
            "after": after,
        },
    )

"""The catalogue's offers one by one, as marketers change them, in PostgreSQL."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from adapters.audit_log import Begin, write_entry

_ADD = """
    INSERT INTO offers (offer_id, document, popularity)
    VALUES (:offer_id, CAST(:document AS jsonb), :popularity)
    ON CONFLICT (offer_id) DO UPDATE SET document = excluded.document"""
_CHANGE = "UPDATE offers SET document = CAST(:document AS jsonb) WHERE offer_id = :offer_id"


class PostgresOffers:
    """Offers as rows of the contract, times in ISO 8601; `who` goes into the audit log."""

    def __init__(self, begin: Begin, who: str) -> None:
        self._begin = begin
        self._who = who

    def one(self, offer_id: str) -> dict[str, Any] | None:
        """Return an offer, None where there is none."""
        with self._begin() as connection:
            return _document(connection, offer_id)

    def page(self, after: str, limit: int) -> list[dict[str, Any]]:
        """Return so many offers at most in the order of their ids, those behind `after`."""
        with self._begin() as connection:
            rows = connection.execute(
                text(
                    'SELECT document FROM offers WHERE offer_id > :after COLLATE "C" '
                    'ORDER BY offer_id COLLATE "C" LIMIT :limit'
                ),
                {"after": after, "limit": limit},
            )
            return list(rows.scalars())

    def rules(self) -> dict[str, Any]:
        """Return the eligibility of offers that have one, as written, by offer id."""
        with self._begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT offer_id, document->'eligibility' AS rule FROM offers "
                    "WHERE document->>'eligibility' IS NOT NULL"
                )
            )
            return {row.offer_id: row.rule for row in rows}

    def put(self, document: dict[str, Any], popularity: float | None, at: datetime) -> None:
        """Write an offer into the catalogue.

        Args:
            popularity: Of a new offer; None where the one that is there keeps its own.
        """
        offer_id, written = document["offer_id"], json.dumps(document)
        with self._begin() as connection:
            # In the order in which a whole catalogue is published: first its version, then rows.
            _lock_catalogue(connection)
            before = _document(connection, offer_id)
            connection.execute(
                text(_ADD if popularity is not None else _CHANGE),
                {"offer_id": offer_id, "document": written, "popularity": popularity},
            )
            was = None if before is None else json.dumps(before)
            write_entry(connection, self._who, "write", f"offer {offer_id}", at, was, written)
            move_catalogue(connection)

    def remove(self, offer_id: str, at: datetime) -> int:
        """Take an offer out of the catalogue; return how many hold it activated."""
        with self._begin() as connection:
            _lock_catalogue(connection)
            before = json.dumps(_document(connection, offer_id))
            connection.execute(
                text("DELETE FROM offers WHERE offer_id = :offer_id"), {"offer_id": offer_id}
            )
            write_entry(connection, self._who, "withdraw", f"offer {offer_id}", at, before)
            move_catalogue(connection)
            reserved = text(
                "SELECT count(*) FROM uses WHERE offer_id = :offer_id AND state = 'reserved' "
                "AND expires_at > now()"
            )
            return int(connection.execute(reserved, {"offer_id": offer_id}).scalar_one())


def move_catalogue(connection: Connection) -> None:
    """Tell running services that something they hold in memory changed."""
    connection.execute(text("UPDATE catalogue SET version = version + 1"))


def _lock_catalogue(connection: Connection) -> None:
    connection.execute(text("SELECT FROM catalogue FOR UPDATE"))


def _document(connection: Connection, offer_id: str) -> dict[str, Any] | None:
    found = text("SELECT document FROM offers WHERE offer_id = :offer_id")
    return connection.execute(found, {"offer_id": offer_id}).scalar_one_or_none()

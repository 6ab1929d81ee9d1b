"""API keys in PostgreSQL: made, followed by a successor, revoked; only hashes are kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, Row, text

from adapters.audit_log import Begin, write_entry
from foundation.access import Scope, hash_key, key_called, new_key
from foundation.errors import RegularsError

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is listed; `successor` is the number of the key that follows it."""

    number: int
    name: str
    scopes: tuple[str, ...]
    rate: float | None
    made_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    successor: int | None
    last_used: date | None

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class ApiKeys:
    """Keys of the deployment; `who` goes into the audit log."""

    def __init__(self, begin: Begin, who: str) -> None:
        self._begin = begin
        self._who = who

    def make(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        lasts: timedelta | None = None,
        rate: float | None = None,
    ) -> tuple[str, int]:
        """Make a key and return it with its number; only its hash is kept.

        Args:
            lasts: How long it is valid; for ever where it is left out.
            rate: Requests a second; as many as it likes where it is left out.

        Raises:
            RegularsError: The name is empty, too long or unprintable.
        """
        if not (name.isprintable() and 1 <= len(name.strip()) <= LONGEST_NAME):
            raise RegularsError(
                f"key name {name!r} must have 1 to {LONGEST_NAME} printable characters; name who "
                "or what will use it"
            )
        key, now = new_key(), datetime.now(UTC)
        ends = None if lasts is None else now + lasts
        with self._begin() as connection:
            number = _insert(connection, key, name, scopes, rate, ends, hash_key(key))
            self._log(connection, "make", number, name, now, scopes=list(scopes), ends=ends)
        return key, number

    def all(self) -> list[StoredKey]:
        """Return every key there ever was, the newest first."""
        with self._begin() as connection:
            return _stored(connection, "true")

    def rotate(self, which: str, overlap: timedelta) -> tuple[str, StoredKey]:
        """Make a successor with the same scopes and rate; the old key ends after the overlap.

        The successor lasts as long as the old key was to last when it was made.

        Returns:
            The new key, and the old one as it is now.

        Raises:
            RegularsError: No such valid key, or it has a successor already.
        """
        now = datetime.now(UTC)
        with self._begin() as connection:
            old = _valid(connection, which, now)
            if old.successor is not None:
                raise RegularsError(
                    f"key {old.number} ({old.name}) is followed by key {old.successor} already; "
                    "rotate that one"
                )
            key = new_key()
            ends = None if old.expires_at is None else now + (old.expires_at - old.made_at)
            line = text("SELECT line FROM api_keys WHERE number = :number")
            number = _insert(
                connection,
                key,
                old.name,
                old.scopes,
                old.rate,
                ends,
                connection.execute(line, {"number": old.number}).scalar_one(),
            )
            old_ends = min(old.expires_at or now + overlap, now + overlap)
            connection.execute(
                text(
                    "UPDATE api_keys SET expires_at = :ends, successor = :successor "
                    "WHERE number = :number"
                ),
                {"ends": old_ends, "successor": number, "number": old.number},
            )
            self._log(
                connection, "rotate", old.number, old.name, now, successor=number, ends=old_ends
            )
            (after,) = _stored(connection, "number = :number", number=old.number)
        return key, after

    def revoke(self, which: str) -> StoredKey:
        """Make a valid key invalid.

        Raises:
            RegularsError: No such valid key.
        """
        now = datetime.now(UTC)
        with self._begin() as connection:
            found = _valid(connection, which, now)
            self._revoke(connection, found.number, found.name, now)
        return found

    def revoke_secret(self, key: str) -> None:
        """Make a key invalid that is at hand itself."""
        with self._begin() as connection:
            for one in _stored(
                connection, "secret_hash = :hash AND revoked_at IS NULL", hash=hash_key(key)
            ):
                self._revoke(connection, one.number, one.name, datetime.now(UTC))

    def any_valid(self) -> bool:
        """Whether any valid key exists."""
        now = datetime.now(UTC)
        return any(key.valid(now) for key in self.all())

    def _revoke(self, connection: Connection, number: int, name: str, now: datetime) -> None:
        connection.execute(
            text("UPDATE api_keys SET revoked_at = now() WHERE number = :number"),
            {"number": number},
        )
        self._log(connection, "revoke", number, name, now)

    def _log(
        self,
        connection: Connection,
        action: str,
        number: int,
        name: str,
        now: datetime,
        **after: object,
    ) -> None:
        told = json.dumps(after, default=str) if after else None
        write_entry(connection, self._who, action, key_called(number, name), now, None, told)


def _insert(
    connection: Connection,
    key: str,
    name: str,
    scopes: Sequence[str],
    rate: float | None,
    ends: datetime | None,
    line: bytes,
) -> int:
    made = connection.execute(
        text(
            "INSERT INTO api_keys (secret_hash, name, scopes, rate, expires_at, line) "
            "VALUES (:hash, :name, :scopes, :rate, :ends, :line) RETURNING number"
        ),
        {
            "hash": hash_key(key),
            "name": name,
            "scopes": list(scopes),
            "rate": rate,
            "ends": ends,
            "line": line,
        },
    )
    return int(made.scalar_one())


def _valid(connection: Connection, which: str, now: datetime) -> StoredKey:
    """Return the valid key of a number or a name, locked until the transaction ends."""
    found = _stored(
        connection, "number::text = :which OR name = :which FOR UPDATE", which=which.strip()
    )
    # A number goes before somebody's name that looks like one.
    named = [key for key in found if str(key.number) == which.strip()] or found
    valid = [key for key in named if key.valid(now)]
    if not valid:
        raise RegularsError(f"there is no valid key {which!r}; see 'regulars key list'")
    if len(valid) > 1:
        numbers = ", ".join(str(key.number) for key in valid)
        raise RegularsError(f"key {which!r} is the name of keys {numbers}; give a number")
    return valid[0]


def _stored(connection: Connection, where: str, **values: object) -> list[StoredKey]:
    select = (
        "SELECT number, name, scopes, rate, created_at, expires_at, revoked_at, successor, "
        "last_used FROM api_keys WHERE "
    )
    # The order is made here: FOR UPDATE ends the statement.
    rows = connection.execute(text(select + where), values)
    return sorted(map(_key, rows), key=lambda key: -key.number)


def _key(row: Row[tuple[object, ...]]) -> StoredKey:
    return StoredKey(
        row.number,
        row.name,
        tuple(row.scopes),
        row.rate,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.successor,
        row.last_used,
    )

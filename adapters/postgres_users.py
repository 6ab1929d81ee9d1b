"""People at the console in PostgreSQL: their passwords' hashes, sessions and tries to sign in."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from adapters.audit_log import Begin, write_entry
from foundation.access import Role, Tries, User
from foundation.errors import RegularsError
from foundation.passwords import hash_password, new_password

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user as she is listed; `seen_at` is the last use of a session that is still kept."""

    name: str
    role: Role
    made_at: datetime
    seen_at: datetime | None


class PostgresUsers:
    """See serving.console.sign_in.Accounts; `who` goes into the audit log."""

    def __init__(self, begin: Begin, who: str) -> None:
        self._begin = begin
        self._who = who

    def add(self, name: str, role: Role) -> str:
        """Let somebody into the console and return the password made for her.

        Raises:
            RegularsError: The name is taken, or none.
        """
        name = _known_form(name)
        password = new_password()
        with self._begin() as connection:
            if not self._insert(connection, name, role, password, "true"):
                raise RegularsError(f"user {name!r} exists; see 'regulars user list'")
        return password

    def add_first(self, name: str) -> str | None:
        """Let an admin in where there is nobody yet and return her password; None otherwise."""
        password = new_password()
        with self._begin() as connection:
            # Two services that start together make one of them.
            connection.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
            nobody = "NOT EXISTS (SELECT FROM users)"
            made = self._insert(connection, name, "admin", password, nobody)
        return password if made else None

    def all(self) -> list[StoredUser]:
        """Return everybody, by name."""
        with self._begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT name, role, made_at, (SELECT max(seen_at) FROM sessions "
                    "WHERE sessions.name = users.name) FROM users ORDER BY name"
                )
            )
            return [StoredUser(*row) for row in rows]

    def remove(self, name: str) -> None:
        """Let somebody in no more; her sessions end.

        Raises:
            RegularsError: There is no such user.
        """
        name = name.strip().lower()
        with self._begin() as connection:
            gone = connection.execute(
                text("DELETE FROM users WHERE name = :name"), {"name": name}
            ).rowcount
            if not gone:
                raise _nobody(name)
            self._log(connection, "remove", name, datetime.now(UTC))

    def renew_password(self, name: str) -> str:
        """Give somebody a new password and return it; her sessions end and she is unlocked.

        Raises:
            RegularsError: There is no such user.
        """
        name, password = name.strip().lower(), new_password()
        self._set_password(name, hash_password(password), datetime.now(UTC), self._who)
        return password

    def password_hash(self, name: str) -> str | None:
        with self._begin() as connection:
            found = connection.execute(
                text("SELECT password_hash FROM users WHERE name = :name"), {"name": name}
            )
            return found.scalar()

    def set_password(self, name: str, password_hash: str, at: datetime) -> None:
        self._set_password(name, password_hash, at, f"user {name}")

    def _set_password(self, name: str, password_hash: str, at: datetime, who: str) -> None:
        with self._begin() as connection:
            changed = connection.execute(
                text("UPDATE users SET password_hash = :hash WHERE name = :name"),
                {"hash": password_hash, "name": name},
            ).rowcount
            if not changed:
                raise _nobody(name)
            connection.execute(text("DELETE FROM sessions WHERE name = :name"), {"name": name})
            _forget(connection, f"user {name}")
            write_entry(connection, who, "password", f"user {name}", at)

    def try_once(self, subject: str, most: int, locked: timedelta, at: datetime) -> Tries:
        with self._begin() as connection:
            connection.execute(
                text("DELETE FROM sign_in_tries WHERE since <= :before"), {"before": at - locked}
            )
            row = connection.execute(
                text(
                    "INSERT INTO sign_in_tries AS known (subject, tries, since) "
                    "VALUES (:subject, 1, :at) ON CONFLICT (subject) DO UPDATE SET "
                    "tries = known.tries + 1, since = CASE WHEN known.tries + 1 = :most "
                    "THEN excluded.since ELSE known.since END RETURNING tries, since"
                ),
                {"subject": subject, "at": at, "most": most},
            ).one()
            return Tries(row.tries, row.since)

    def take_back_try(self, subject: str) -> None:
        with self._begin() as connection:
            connection.execute(
                text("UPDATE sign_in_tries SET tries = tries - 1 WHERE subject = :subject"),
                {"subject": subject},
            )

    def forget_tries(self, subject: str) -> None:
        with self._begin() as connection:
            _forget(connection, subject)

    def open_session(self, token_hash: bytes, name: str, at: datetime) -> None:
        with self._begin() as connection:
            connection.execute(
                text("INSERT INTO sessions VALUES (:hash, :name, :at, :at)"),
                {"hash": token_hash, "name": name, "at": at},
            )

    def session(
        self, token_hash: bytes, made_after: datetime, seen_after: datetime, seen_at: datetime
    ) -> User | None:
        values = {"hash": token_hash, "made": made_after, "seen": seen_after, "at": seen_at}
        with self._begin() as connection:
            row = connection.execute(
                text(
                    "SELECT name, role, seen_at FROM sessions JOIN users USING (name) WHERE "
                    "token_hash = :hash AND sessions.made_at > :made AND seen_at > :seen"
                ),
                values,
            ).one_or_none()
            if row is None:
                return None
            if row.seen_at < seen_at:
                connection.execute(
                    text("UPDATE sessions SET seen_at = :at WHERE token_hash = :hash"), values
                )
                # What is over is of no use to anybody.
                connection.execute(
                    text("DELETE FROM sessions WHERE made_at <= :made OR seen_at <= :seen"), values
                )
            return User(row.name, row.role)

    def end_session(self, token_hash: bytes) -> None:
        with self._begin() as connection:
            connection.execute(
                text("DELETE FROM sessions WHERE token_hash = :hash"), {"hash": token_hash}
            )

    def _insert(
        self, connection: Connection, name: str, role: Role, password: str, where: str
    ) -> bool:
        now = datetime.now(UTC)
        made = connection.execute(
            text(
                "INSERT INTO users (name, role, password_hash, made_at) "
                f"SELECT :name, :role, :hash, :now WHERE {where} ON CONFLICT DO NOTHING"
            ),
            {"name": name, "role": role, "hash": hash_password(password), "now": now},
        ).rowcount
        if made:
            self._log(connection, "add", name, now, role=role)
        return bool(made)

    def _log(
        self, connection: Connection, action: str, name: str, at: datetime, **after: object
    ) -> None:
        told = json.dumps(after) if after else None
        write_entry(connection, self._who, action, f"user {name}", at, None, told)


def _forget(connection: Connection, subject: str) -> None:
    connection.execute(
        text("DELETE FROM sign_in_tries WHERE subject = :subject"), {"subject": subject}
    )


def _known_form(name: str) -> str:
    plain = name.strip().lower()
    if not _NAME.fullmatch(plain):
        raise RegularsError(
            f"user name {name!r} must begin with a letter or digit and have up to 100 of a-z, 0-9 "
            "and . _ @ + -"
        )
    return plain


def _nobody(name: str) -> RegularsError:
    return RegularsError(f"user {name!r} does not exist; see 'regulars user list'")

"""PostgreSQL off the hot path: what jobs and marketers change, and the feed into the lake."""

import copy
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.errors import LockNotAvailable, ReadOnlySqlTransaction
from sqlalchemy import URL, Connection, Row, create_engine, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InternalError,
    OperationalError,
    ProgrammingError,
)

from adapters import migrations
from adapters.audit_log import AuditLog, write_entry
from adapters.login import login
from adapters.postgres_answers import PostgresAnswers
from adapters.postgres_contacts import PACKED
from adapters.postgres_documents import PostgresDocuments
from adapters.postgres_keys import ApiKeys
from adapters.postgres_offers import PostgresOffers, move_catalogue
from adapters.postgres_old_decisions import PostgresOldDecisions
from adapters.postgres_users import PostgresUsers
from experiments.design import Experiment, content_hash, read_design
from experiments.holdout import HOLDOUT
from experiments.layers import check_room
from experiments.lock import differing_fields
from foundation.access import Scope
from foundation.audit import AuditEntry
from foundation.errors import RegularsError, StoreUnavailable
from foundation.feed import Window

ROWS_A_PAGE = 5_000
CONNECT_SECONDS = 10
# So long a change waits for another one.
LOCK_SECONDS = 20
# Any fixed number that nothing else locks.
CHANGES_LOCK = 7_203_412


@dataclass(frozen=True, slots=True)
class StoredExperiment:
    """An experiment and its life."""

    design: Experiment
    content_hash: str
    started_at: datetime
    stopped_at: datetime | None


class PostgresAdmin:
    """The operational database for jobs; migrates it when it is opened.

    `who` goes into the audit log; left out, it is the login of this process.
    """

    def __init__(self, url: str, who: str | None = None) -> None:
        self._who = who or login()
        # The transaction that all is part of, in a block of `together`.
        self._joined: Connection | None = None
        self._engine = create_engine(
            _address(url),
            # A job outlives restarts of the database: a dead connection is found before its use.
            pool_pre_ping=True,
            # What somebody typed does not belong into a log.
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "regulars job",
            },
        )
        try:
            with _answering():
                migrations.upgrade(self._engine)
        except ProgrammingError as error:
            raise RegularsError(
                f"setting REGULARS_DATABASE_URL: PostgreSQL refuses ({_first_line(error)}); its "
                "user must own the schema, and every option of the address must exist"
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    def publish_offers(
        self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
    ) -> bool:
        """Make these the catalogue's offers; True when that changed anything.

        Args:
            offers: Rows of the offers contract, times in ISO 8601, eligibility decoded.
            popularity: Smoothed past response by offer_id, in [0, 1].
        """
        with self._begin() as connection:
            # One publication after the other, also where there is no offer yet to lock.
            connection.execute(text("SELECT FROM catalogue FOR UPDATE"))
            known = {
                row.offer_id: (row.document, row.popularity)
                for row in connection.execute(
                    text("SELECT offer_id, document, popularity FROM offers")
                )
            }
            wanted = {o["offer_id"]: (o, popularity[o["offer_id"]]) for o in offers}
            if known == wanted:
                return False
            connection.execute(text("DELETE FROM offers"))
            if wanted:
                connection.execute(
                    text(
                        "INSERT INTO offers (offer_id, document, popularity) "
                        "VALUES (:offer_id, CAST(:document AS jsonb), :popularity)"
                    ),
                    [
                        {"offer_id": i, "document": json.dumps(o), "popularity": p}
                        for i, (o, p) in wanted.items()
                    ],
                )
            move_catalogue(connection)
            return True

    def told_redemptions(self) -> list[str]:
        """Return the event_ids of all redemptions told to the service."""
        with self._begin() as connection:
            told = text("SELECT event_id FROM outcomes WHERE kind = 'redeem'")
            return list(connection.execute(told).scalars())

    def offer_ids(self) -> set[str]:
        """Return the ids of every offer in the catalogue."""
        with self._begin() as connection:
            return set(connection.execute(text("SELECT offer_id FROM offers")).scalars())

    def touch_catalogue(self) -> None:
        """Tell running services that something they hold in memory changed."""
        with self._begin() as connection:
            move_catalogue(connection)

    def start_experiment(self, design: Experiment, now: datetime) -> StoredExperiment:
        """Start an experiment; from now on its plan is locked.

        Raises:
            LayerTaken: It would disturb one that runs.
            RegularsError: The key was used before; the line names what differs in the plan.
        """
        with self._begin() as connection:
            connection.execute(text("LOCK TABLE experiments IN SHARE ROW EXCLUSIVE MODE"))
            stored = {one.design.key: one for one in _stored(connection)}
            if design.key in stored:
                raise RegularsError(_used_before(stored[design.key], design))
            if design.key != HOLDOUT:
                running = [one.design for one in stored.values() if one.stopped_at is None]
                check_room(design, [other for other in running if other.key != HOLDOUT])
            document = msgspec.json.encode(design).decode()
            connection.execute(
                text(
                    "INSERT INTO experiments (key, document, content_hash, started_at) "
                    "VALUES (:key, CAST(:document AS jsonb), :hash, :now)"
                ),
                {"key": design.key, "document": document, "hash": content_hash(design), "now": now},
            )
            self._log(connection, now, "start", design.key, None, document)
            move_catalogue(connection)
        return self.experiment(design.key)

    def ramp_up(self, key: str, exposure: float, now: datetime) -> StoredExperiment:
        """Let a larger share into a running experiment; nobody who is in moves.

        Raises:
            RegularsError: No experiment of this key runs, or the share would not grow.
        """
        with self._begin() as connection:
            connection.execute(text("LOCK TABLE experiments IN SHARE ROW EXCLUSIVE MODE"))
            running = {s.design.key: s for s in _stored(connection) if s.stopped_at is None}
            if key not in running:
                raise _not_running(key)
            design = running[key].design
            if key == HOLDOUT:
                raise RegularsError("the holdout's share is set once; it cannot be ramped up")
            # `not` also catches NaN.
            if not design.exposure < exposure <= 1:
                raise RegularsError(
                    f"experiment {key!r}: exposure {exposure:g} is not above {design.exposure:g} "
                    "and at most 1; a ramp-up lets more in and nobody out, to end it stop it with "
                    f"'regulars experiment stop {key}'"
                )
            connection.execute(
                text(
                    "UPDATE experiments SET document = "
                    "jsonb_set(document, '{exposure}', to_jsonb(CAST(:exposure AS float8))) "
                    "WHERE key = :key"
                ),
                {"key": key, "exposure": exposure},
            )
            before, after = ({"exposure": share} for share in (design.exposure, exposure))
            self._log(connection, now, "ramp-up", key, json.dumps(before), json.dumps(after))
            move_catalogue(connection)
        return self.experiment(key)

    def stop_experiment(self, key: str, now: datetime) -> StoredExperiment:
        """Stop a running experiment.

        Raises:
            RegularsError: No experiment of this key runs, or it is the global holdout.
        """
        if key == HOLDOUT:
            raise RegularsError(
                "the holdout is permanent: whoever was held out for a while and then was not is no "
                "comparison any more"
            )
        with self._begin() as connection:
            stopped = connection.execute(
                text(
                    "UPDATE experiments SET stopped_at = greatest(:now, started_at) "
                    "WHERE key = :key AND stopped_at IS NULL"
                ),
                {"key": key, "now": now},
            )
            if stopped.rowcount == 0:
                raise _not_running(key)
            self._log(connection, now, "stop", key, None, None)
            move_catalogue(connection)
        return self.experiment(key)

    def experiments(self) -> list[StoredExperiment]:
        """Return all experiments, the newest first."""
        with self._begin() as connection:
            return _stored(connection)

    def experiment(self, key: str) -> StoredExperiment:
        """Return one experiment.

        Raises:
            RegularsError: There is none of this key.
        """
        for stored in self.experiments():
            if stored.design.key == key:
                return stored
        raise RegularsError(f"experiment {key!r} does not exist; see 'regulars experiment list'")

    def audiences(self) -> list[dict[str, Any]]:
        """Return the audiences of running experiments, rules as written."""
        running = (one.design for one in self.experiments() if one.stopped_at is None)
        return [design.audience for design in running if design.audience is not None]

    def history(self, key: str) -> list[AuditEntry]:
        """Return who changed what in an experiment, the oldest first.

        Raises:
            RegularsError: There is none of this key.
        """
        self.experiment(key)
        return self.audit.of(_subject(key))

    def note(self, action: str, subject: str, at: datetime, **after: object) -> None:
        """Write into the audit log what was changed elsewhere."""
        told = json.dumps(after, default=str) if after else None
        with self._begin() as connection:
            write_entry(connection, self._who, action, subject, at, None, told)

    def acting(self, who: str) -> "PostgresAdmin":
        """Return the same database for what somebody else changes."""
        theirs = copy.copy(self)
        theirs._who = who
        return theirs

    @contextmanager
    def together(self) -> Generator["PostgresAdmin"]:
        """Lend the same database, where all that is done in the block is one transaction.

        One such block after the other, on all machines.

        Raises:
            StoreUnavailable: Another one takes too long.
        """
        with self._begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CHANGES_LOCK})
            one = copy.copy(self)
            one._joined = connection
            yield one

    @property
    def offers(self) -> PostgresOffers:
        """The catalogue's offers, one by one."""
        return PostgresOffers(self._begin, self._who)

    @property
    def drafts(self) -> PostgresDocuments:
        """Experiments before their start."""
        return PostgresDocuments(self._begin, self._who, "experiment_drafts", "key", "experiment")

    @property
    def policies(self) -> PostgresDocuments:
        """Policies under a name; running services take over the default one."""
        return PostgresDocuments(
            self._begin, self._who, "policies", "name", "policy", move_catalogue
        )

    @property
    def answers(self) -> PostgresAnswers:
        """What requests that may come again were answered."""
        return PostgresAnswers(self._begin)

    @property
    def old_decisions(self) -> PostgresOldDecisions:
        """Decisions that may leave the database."""
        return PostgresOldDecisions(self._begin)

    @property
    def keys(self) -> ApiKeys:
        """The API keys."""
        return ApiKeys(self._begin, self._who)

    @property
    def users(self) -> PostgresUsers:
        """Who may use the console."""
        return PostgresUsers(self._begin, self._who)

    @property
    def audit(self) -> AuditLog:
        """Who changed what."""
        return AuditLog(self._begin)

    def has_keys(self) -> bool:
        """Whether any valid API key exists."""
        return self.keys.any_valid()

    def make_key(self, name: str, scopes: Sequence[Scope]) -> str:
        """Make an API key and return it; only its hash is kept."""
        return self.keys.make(name, scopes)[0]

    def revoke_key(self, key: str) -> None:
        """Make a key invalid."""
        self.keys.revoke_secret(key)

    def window(self, cursor: str | None) -> Window:
        """Return what can be read after a cursor without ever missing a late commit.

        Only transactions older than the oldest one still open are read: none of them can
        become visible later. A cluster that was restored or failed over counts transactions from
        an earlier point: it has another timeline, or is behind the cursor, and is read anew.
        """
        with self._begin() as connection:
            system, until = connection.execute(
                text(
                    "SELECT system_identifier || '.' || left(pg_walfile_name("
                    "pg_current_wal_lsn()), 8), "
                    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint "
                    "FROM pg_control_system()"
                )
            ).one()
        read_by, _, until_then = (cursor or "").partition(":")
        since = int(until_then) if read_by == system else 0
        return Window(system, since if since <= until else 0, until)

    def decisions(self, window: Window) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the decisions written in a window, packed under their ids, a page at a time."""
        select = f"SELECT decision_id, {PACKED} AS packed FROM decisions"  # noqa: S608
        for page in self._pages(select, window):
            yield [(row.decision_id, bytes(row.packed)) for row in page]

    def outcomes(self, window: Window) -> Iterator[list[str]]:
        """Yield the outcomes written in a window, as JSON texts, a page at a time."""
        for page in self._pages("SELECT event::text FROM outcomes", window):
            yield [row[0] for row in page]

    def count_decisions(self, cursor: str | None = None) -> int:
        """Return how many decisions of the database stand behind a cursor; without it, all."""
        window = self.window(cursor)
        with self._begin() as connection:
            count = text(
                "SELECT count(*) FROM decisions WHERE written_by >= CAST(:since AS text)::xid8"
            )
            return int(connection.execute(count, {"since": str(window.since)}).scalar_one())

    def _pages(self, select: str, window: Window) -> Iterator[Sequence[Row[Any]]]:
        with self._begin() as connection:
            rows = connection.execution_options(stream_results=True).execute(
                text(
                    f"{select} WHERE written_by >= CAST(:since AS text)::xid8 "
                    "AND written_by < CAST(:until AS text)::xid8 ORDER BY written_by"
                ),
                {"since": str(window.since), "until": str(window.until)},
            )
            yield from rows.partitions(ROWS_A_PAGE)

    def _log(
        self,
        connection: Connection,
        at: datetime,
        action: str,
        key: str,
        before: str | None,
        after: str | None,
    ) -> None:
        write_entry(connection, self._who, action, _subject(key), at, before, after)

    @contextmanager
    def _begin(self) -> Generator[Connection]:
        if self._joined is not None:
            yield self._joined
            return
        with _answering(), self._engine.begin() as connection:
            yield connection


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        # Without the value: it may hold a password.
        raise RegularsError(
            "setting REGULARS_DATABASE_URL is no address; write it like "
            "postgresql://user:password@host:5432/database"
        ) from error
    if address.drivername not in ("postgresql", "postgres"):
        raise RegularsError(
            f"setting REGULARS_DATABASE_URL names {address.drivername!r}; Regulars keeps its "
            "operations in PostgreSQL: write postgresql://user:password@host:5432/database"
        )
    return address.set(drivername="postgresql+psycopg")


@contextmanager
def _answering() -> Generator[None]:
    try:
        yield
    except (OperationalError, InternalError) as error:
        if isinstance(error.orig, LockNotAvailable):
            raise StoreUnavailable("another change is being made; try again") from error
        if isinstance(error.orig, ReadOnlySqlTransaction):
            raise StoreUnavailable("PostgreSQL takes no writes now; try again") from error
        if isinstance(error, InternalError):
            raise
        raise StoreUnavailable(
            f"PostgreSQL does not answer ({_first_line(error)}); is it running?"
        ) from error


def _first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), "no reason given")


def _stored(connection: Connection) -> list[StoredExperiment]:
    rows = connection.execute(text("SELECT * FROM experiments ORDER BY started_at DESC, key"))
    return [
        StoredExperiment(
            read_design(row.document), row.content_hash, row.started_at, row.stopped_at
        )
        for row in rows
    ]


def _used_before(stored: StoredExperiment, asked: Experiment) -> str:
    key = asked.key
    if key == HOLDOUT:
        return (
            f"the holdout runs since {stored.started_at:%Y-%m-%d}, its share is set once: it would "
            "measure nothing if it moved"
        )
    differing = differing_fields(stored.design, asked)
    life = "runs" if stored.stopped_at is None else "was run before"
    if not differing:
        return f"experiment {key!r} {life} with this very plan; give a new one a key of its own"
    return (
        f"experiment {key!r} {life} and its plan is locked; it differs in {', '.join(differing)}; "
        "give the new one a key of its own"
    )


def _not_running(key: str) -> RegularsError:
    return RegularsError(f"experiment {key!r} does not run; see 'regulars experiment list'")


def _subject(key: str) -> str:
    return f"experiment {key}"

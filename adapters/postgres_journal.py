"""PostgreSQL on the hot path: live state, decisions, outcomes, catalogue and keys, by asyncpg."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from typing import Any

import asyncpg
import msgspec

from experiments.design import Experiment, read_design
from foundation.access import KeyFacts
from foundation.decision import DecisionRecord, encode
from foundation.errors import EventChanged, StoreUnavailable
from foundation.offer import Offer, read_offer
from foundation.outcome import Outcome
from foundation.profile import LiveState

# A decision waits this long for the database, no longer.
PATIENCE_SECONDS = 5.0
# What pg_stat_activity calls these connections.
APPLICATION = "regulars service"

# What passes when the server is back, has room again, or a rival transaction is over.
_AWAY = (
    TimeoutError,
    OSError,
    asyncpg.InterfaceError,
    # What asyncpg calls a connection whose server is just dying under it.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)


class PostgresJournal:
    """See serving.journal.Journal, serving.catalogue.CatalogueSource and serving.keys.KeyStore."""

    def __init__(self, url: str, connections: int = 10) -> None:
        self._url = url
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def live_states(self, customer_ids: Sequence[str]) -> list[LiveState]:
        found: dict[str, dict[str, int]] = {customer_id: {} for customer_id in customer_ids}
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT customer_id, offer_id, count(*) AS used FROM outcomes "
                "WHERE kind = 'redeem' AND offer_id IS NOT NULL AND customer_id = ANY($1::text[]) "
                "GROUP BY customer_id, offer_id",
                list(found),
            )
        for row in rows:
            found[row["customer_id"]][row["offer_id"]] = row["used"]
        return [LiveState(found[customer_id]) for customer_id in customer_ids]

    async def record(self, records: Sequence[DecisionRecord]) -> None:
        async with self._connection() as connection:
            # One statement is one transaction: it returns when the commit is on disk.
            await connection.execute(
                "INSERT INTO decisions (decision_id, customer_id, at, record) "
                "SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::json[])",
                [record.decision_id for record in records],
                [record.customer_id for record in records],
                [record.at for record in records],
                [encode(record).decode() for record in records],
            )

    async def tell(self, outcomes: Sequence[Outcome]) -> int:
        digests: dict[str, tuple[bytes, Outcome]] = {}
        for outcome in outcomes:
            digest = _digest(outcome)
            if digests.setdefault(outcome.event_id, (digest, outcome))[0] != digest:
                raise _changed(outcome.event_id)
        # One order for all writers, so that two batches never wait for each other in a circle.
        told = sorted(digests.values(), key=lambda pair: pair[1].event_id)
        async with self._connection() as connection, connection.transaction():
            new = await connection.fetch(
                "INSERT INTO outcomes (event_id, customer_id, at, kind, offer_id, event, digest) "
                "SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], "
                "$5::text[], $6::json[], $7::bytea[]) "
                "ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
                [outcome.event_id for _, outcome in told],
                [outcome.customer_id for _, outcome in told],
                [outcome.at for _, outcome in told],
                [outcome.kind for _, outcome in told],
                [outcome.offer_id for _, outcome in told],
                [encode(outcome).decode() for _, outcome in told],
                [digest for digest, _ in told],
            )
            if len(new) < len(told):
                rows = await connection.fetch(
                    "SELECT event_id, digest FROM outcomes WHERE event_id = ANY($1::text[])",
                    [outcome.event_id for _, outcome in told],
                )
                for row in rows:
                    if digests[row["event_id"]][0] != row["digest"]:
                        raise _changed(row["event_id"])
        return len(new)

    async def ready(self) -> bool:
        try:
            async with self._connection() as connection:
                return await connection.fetchval("SELECT true")
        except StoreUnavailable:
            return False

    async def version(self) -> int:
        async with self._connection() as connection:
            return await connection.fetchval("SELECT version FROM catalogue")

    async def read(self) -> tuple[int, list[Offer], list[Experiment]]:
        async with (
            self._connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            version = await connection.fetchval("SELECT version FROM catalogue")
            offers = await connection.fetch(
                "SELECT document, popularity FROM offers ORDER BY offer_id"
            )
            experiments = await connection.fetch(
                "SELECT document FROM experiments WHERE stopped_at IS NULL ORDER BY key"
            )
        return (
            version,
            [read_offer(json.loads(row["document"]), row["popularity"]) for row in offers],
            [read_design(json.loads(row["document"])) for row in experiments],
        )

    async def keys(self) -> dict[bytes, KeyFacts]:
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT secret_hash, name, scopes FROM api_keys WHERE revoked_at IS NULL"
            )
        return {row["secret_hash"]: KeyFacts(row["name"], frozenset(row["scopes"])) for row in rows}

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Any]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                pool = await self._opened()
                connection = await pool.acquire()
        # Whatever refuses a connection, a password just rotated too, is no fault of the request.
        except (*_AWAY, asyncpg.PostgresError) as error:
            raise _unavailable(error) from error
        try:
            yield connection
        except _AWAY as error:
            # A value that PostgreSQL cannot take is no outage.
            if isinstance(error, ValueError):
                raise
            # Whatever state it is in, nobody else is to meet it.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise _unavailable(error) from error
        finally:
            # What was committed stays so: a server that dies now is no reason to refuse it. The
            # pool drops a connection that it cannot take back.
            with suppress(Exception):
                await pool.release(connection, timeout=PATIENCE_SECONDS)

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections,
                    timeout=PATIENCE_SECONDS,
                    command_timeout=PATIENCE_SECONDS,
                    reset=_leave_as_it_is,
                    server_settings={"application_name": APPLICATION},
                )
            return self._pool


async def _leave_as_it_is(_connection: Any) -> None:
    """Reset nothing: no statement here leaves a setting behind, and asking is a round trip."""


def _unavailable(error: Exception) -> StoreUnavailable:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return StoreUnavailable(f"PostgreSQL does not answer ({what}); try again")


def _changed(event_id: str) -> EventChanged:
    return EventChanged(
        f"event {event_id!r} was told before with other content; give a new event its own id"
    )


def _digest(outcome: Outcome) -> bytes:
    # A client that repeats itself may write the same instant in another zone.
    same = msgspec.structs.replace(outcome, at=outcome.at.astimezone(UTC))
    told = msgspec.json.encode(same, order="deterministic")
    return hashlib.blake2b(told, digest_size=16).digest()

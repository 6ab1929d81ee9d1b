"""Connections to PostgreSQL on the hot path, by asyncpg: short patience, one word for outages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from foundation.errors import StoreUnavailable

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


class PostgresPool:
    """Opens connections when they are first asked for, and again after an outage."""

    def __init__(self, url: str, connections: int = 10) -> None:
        self._url = url
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        # Lent before and open still: the next one has it at once, where the pool would take longer
        # to lend it than PostgreSQL to answer. Nobody may wait for the pool meanwhile.
        self._at_hand: list[Any] = []
        self._waiting = 0
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Give up all connections; a later call opens new ones."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool, self._at_hand = None, []

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Any]:
        """Lend a connection.

        Raises:
            StoreUnavailable: The server does not answer, or goes away meanwhile.
        """
        connection = self._from_hand() or await self._from_pool()
        pool, sound = self._pool, False
        try:
            yield connection
            sound = True
        except _AWAY as error:
            # A value that PostgreSQL cannot take is no outage.
            if isinstance(error, ValueError):
                raise
            # Whatever state it is in, nobody else is to meet it.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise _unavailable(error) from error
        except AttributeError as error:
            # So asyncpg stumbles over a connection that it gave up itself between two messages.
            if not _given_up(connection):
                raise
            raise _unavailable(error) from error
        finally:
            if sound and pool is not None and pool is self._pool and not self._waiting:
                self._at_hand.append(connection)
            elif pool is not None:
                # What was committed stays so: a server that dies now is no reason to refuse it. The
                # pool drops a connection that it cannot take back.
                with suppress(Exception):
                    await pool.release(connection, timeout=PATIENCE_SECONDS)

    def _from_hand(self) -> Any:
        while self._at_hand:
            connection = self._at_hand.pop()
            # One that closed meanwhile has left the pool by itself.
            if not _given_up(connection):
                return connection
        return None

    async def _from_pool(self) -> Any:
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                pool = await self._opened()
                return await pool.acquire()
        # Whatever refuses a connection, a password just rotated too, is no fault of the request.
        except (*_AWAY, asyncpg.PostgresError) as error:
            raise _unavailable(error) from error
        finally:
            self._waiting -= 1

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


def _given_up(connection: Any) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def _leave_as_it_is(_connection: Any) -> None:
    """Reset nothing: no statement here leaves a setting behind, and asking is a round trip."""


def _unavailable(error: Exception) -> StoreUnavailable:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return StoreUnavailable(f"PostgreSQL does not answer ({what}); try again")

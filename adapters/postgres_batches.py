"""PostgreSQL's batches of decisions."""

from collections.abc import Sequence
from datetime import datetime

from adapters.postgres_contacts import PACKED
from adapters.postgres_pool import PostgresPool
from foundation.batch import Begun
from foundation.decision import DecisionRecord
from foundation.packed_decision import unpacked


class PostgresBatches:
    """See serving.batches.Batches."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def unfinished(self, request: str) -> bool:
        async with self._pool.connection() as connection:
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM batches WHERE request = $1 AND finished_at IS NULL)",
                request,
            )

    async def begin(self, batch_id: str, request: str, at: datetime) -> Begun:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO batches (batch_id, request, started_at) VALUES ($1, $2, $3) "
                "ON CONFLICT (request) WHERE finished_at IS NULL DO NOTHING",
                batch_id,
                request,
                at,
            )
            begun = await connection.fetchval(
                "SELECT batch_id FROM batches WHERE request = $1 AND finished_at IS NULL", request
            )
        return Begun(begun, resumed=begun != batch_id)

    async def undecided(self, batch_id: str, customer_ids: Sequence[str]) -> list[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT customer_id FROM batch_decisions "
                "WHERE batch_id = $1 AND customer_id = ANY($2::text[])",
                batch_id,
                list(customer_ids),
            )
        decided = {row["customer_id"] for row in rows}
        return [one for one in customer_ids if one not in decided]

    async def records(self, batch_id: str, after: str, most: int) -> list[DecisionRecord]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                f"SELECT decision_id, {PACKED} AS packed FROM (SELECT decision_id, "  # noqa: S608
                'customer_id COLLATE "C" AS customer_id FROM batch_decisions WHERE batch_id = $1 '
                'AND customer_id COLLATE "C" > $2 ORDER BY 2 LIMIT $3) AS hers '
                "JOIN decisions USING (decision_id) ORDER BY hers.customer_id",
                batch_id,
                after,
                most,
            )
        return [unpacked(row["decision_id"], row["packed"]) for row in rows]

    async def finish(self, batch_id: str, at: datetime) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE batches SET finished_at = $2 WHERE batch_id = $1", batch_id, at
            )

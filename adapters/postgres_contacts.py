"""PostgreSQL as the counter of contacts: online and batch decisions and what is told as sent.

Who decides a contact holds its customer's lock, taken in one order, so that no cap is ever passed
and no two transactions wait in a circle.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from adapters.postgres_pool import PostgresPool
from foundation.contact_policy import (
    REMEMBERED,
    Contact,
    ContactPolicy,
    Decided,
    barred,
    is_contact,
)
from foundation.decision import DecisionRecord, encode
from foundation.outcome import Outcome

# Offers are locked under the seed 0.
_SEED = 1
CONSENTS = "SELECT customer_id, channel, granted FROM consents WHERE customer_id = ANY($1::text[])"


class PostgresContacts:
    """See serving.contacts.ContactCounter."""

    def __init__(self, pool: PostgresPool, policy: ContactPolicy) -> None:
        self._pool = pool
        self._policy = policy

    async def record(self, decided: Sequence[Decided], batch_id: str | None = None) -> list[bool]:
        async with self._pool.connection() as connection, connection.transaction():
            reaching = [one for one in decided if is_contact(self._policy, one.record)]
            refused = await self._refused(connection, reaching)
            records = [one.record for one in decided if one.record.decision_id not in refused]
            made = [one.record for one in reaching if one.record.decision_id not in refused]
            await insert_decisions(connection, records)
            await connection.execute(
                "INSERT INTO contacts (contact_id, customer_id, channel, at) SELECT * FROM "
                "unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])",
                [record.decision_id for record in made],
                [record.customer_id for record in made],
                [record.channel for record in made],
                [record.at for record in made],
            )
            if batch_id is not None:
                await connection.execute(
                    "INSERT INTO batch_decisions SELECT $1, * FROM unnest($2::text[], $3::text[])",
                    batch_id,
                    [record.customer_id for record in records],
                    [record.decision_id for record in records],
                )
        return [one.record.decision_id not in refused for one in decided]

    async def _refused(self, connection: Any, reaching: Sequence[Decided]) -> set[str]:
        """Return the decisions that would pass a cap by now, each counted for those after it."""
        if not reaching:
            return set()
        customers = sorted({one.record.customer_id for one in reaching})
        await connection.execute(
            "SELECT pg_advisory_xact_lock(name) FROM (SELECT DISTINCT hashtextextended(one, $2) "
            "AS name FROM unnest($1::text[]) AS one ORDER BY name) AS ordered",
            customers,
            _SEED,
        )
        # Statements after the lock: they see what the transactions before this one wrote.
        first = min(one.record.at for one in reaching)
        rows = await connection.fetch(
            "SELECT customer_id, channel, at FROM contacts "
            "WHERE customer_id = ANY($1::text[]) AND at > $2",
            customers,
            first - REMEMBERED,
        )
        contacts: dict[str, list[Contact]] = {customer_id: [] for customer_id in customers}
        for row in rows:
            contacts[row["customer_id"]].append(Contact(row["channel"], row["at"]))
        consents: dict[str, dict[str, bool]] = {customer_id: {} for customer_id in customers}
        for row in await connection.fetch(CONSENTS, customers):
            consents[row["customer_id"]][row["channel"]] = row["granted"]
        refused: set[str] = set()
        for one in reaching:
            record, hers = one.record, contacts[one.record.customer_id]
            held = consents[record.customer_id]
            if barred(self._policy, record.channel, held, hers, one.zone, record.at) is None:
                hers.append(Contact(record.channel, record.at))
            else:
                refused.add(record.decision_id)
        return refused


async def insert_decisions(connection: Any, records: Sequence[DecisionRecord]) -> None:
    """Write decisions; a single statement is a transaction of its own."""
    await connection.execute(
        "INSERT INTO decisions (decision_id, customer_id, at, record) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::json[])",
        [record.decision_id for record in records],
        [record.customer_id for record in records],
        [record.at for record in records],
        [encode(record).decode() for record in records],
    )


async def count_sent(connection: Any, outcomes: Iterable[Outcome]) -> None:
    """Count messages told as sent; one that a decision here counted already is the same."""
    sent = [one for one in outcomes if one.kind == "sent"]
    if sent:
        await connection.execute(
            "INSERT INTO contacts (contact_id, customer_id, channel, at) SELECT * FROM "
            "unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) ON CONFLICT DO NOTHING",
            [one.decision_id or one.event_id for one in sent],
            [one.customer_id for one in sent],
            [one.channel for one in sent],
            [one.at for one in sent],
        )

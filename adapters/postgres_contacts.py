"""PostgreSQL as the counter of contacts: online and batch decisions and what is told as sent.

Who decides a contact holds its customer's lock, taken in one order, so that no cap is ever passed
and no two transactions wait in a circle.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from adapters.postgres_pool import PostgresPool
from adapters.postgres_replays import free_names, keep_answers, take_names
from foundation.contact_policy import (
    REMEMBERED,
    Contact,
    ContactPolicy,
    Decided,
    Written,
    barred,
    is_contact,
)
from foundation.decision import DecisionRecord
from foundation.outcome import Outcome
from foundation.packed_decision import PackedDecision, packed

# Offers are locked under the seed 0.
_SEED = 1
# What is decided or told late still finds all that it has to count.
KEPT = REMEMBERED + timedelta(days=30)
# A pass takes no more, so that it holds no lock for long.
_FORGOTTEN_AT_ONCE = 10_000
# Decisions of earlier versions are JSON.
PACKED = "coalesce(packed, convert_to(record::text, 'UTF8'))"
_CONTACT = (
    "INSERT INTO contacts (contact_id, customer_id, channel, at) "
    "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])"
)
CONSENTS = "SELECT customer_id, channel, granted FROM consents WHERE customer_id = ANY($1::text[])"


class PostgresContacts:
    """See serving.contacts.ContactCounter."""

    def __init__(self, pool: PostgresPool, policy: ContactPolicy) -> None:
        self._pool = pool
        self._policy = policy

    async def record(
        self, decided: Sequence[Decided], batch_id: str | None = None
    ) -> list[Written]:
        first: dict[str, Decided] = {}
        for one in decided:
            first.setdefault(_name(one), one)
        async with self._pool.connection() as connection, connection.transaction():
            known = await take_names(
                connection,
                {n: one.answered.replay.digest for n, one in first.items() if one.answered},
            )
            new = {name: one for name, one in first.items() if name not in known}
            reaching = {n: one for n, one in new.items() if is_contact(self._policy, one.record)}
            refused = await self._refused(connection, reaching)
            kept = {name: one for name, one in new.items() if name not in refused}
            await insert_decisions(connection, [packed(one.record) for one in kept.values()])
            await _count(connection, [reaching[name].record for name in reaching.keys() - refused])
            await _finish_names(connection, kept, refused)
            if batch_id is not None:
                await connection.execute(
                    "INSERT INTO batch_decisions SELECT $1, * FROM unnest($2::text[], $3::text[])",
                    batch_id,
                    [one.record.customer_id for one in kept.values()],
                    [one.record.decision_id for one in kept.values()],
                )
        return [_written(one, first[_name(one)], known, refused) for one in decided]

    async def forget(self) -> int:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "DELETE FROM contacts WHERE ctid = ANY(ARRAY(SELECT ctid FROM contacts "
                "WHERE at < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
                KEPT,
                _FORGOTTEN_AT_ONCE,
            )
        return len(rows)

    async def _refused(self, connection: Any, reaching: Mapping[str, Decided]) -> set[str]:
        """Return the names of decisions that would pass a cap by now; each counts for the next."""
        if not reaching:
            return set()
        customers = sorted({one.record.customer_id for one in reaching.values()})
        await connection.execute(
            "SELECT pg_advisory_xact_lock(name) FROM (SELECT DISTINCT hashtextextended(one, $2) "
            "AS name FROM unnest($1::text[]) AS one ORDER BY name) AS ordered",
            customers,
            _SEED,
        )
        # Statements after the lock: they see what the transactions before this one wrote.
        rows = await connection.fetch(
            "SELECT customer_id, channel, at FROM contacts "
            "WHERE customer_id = ANY($1::text[]) AND at > $2",
            customers,
            min(one.record.at for one in reaching.values()) - REMEMBERED,
        )
        contacts: dict[str, list[Contact]] = {customer_id: [] for customer_id in customers}
        for row in rows:
            contacts[row["customer_id"]].append(Contact(row["channel"], row["at"]))
        consents: dict[str, dict[str, bool]] = {customer_id: {} for customer_id in customers}
        for row in await connection.fetch(CONSENTS, customers):
            consents[row["customer_id"]][row["channel"]] = row["granted"]
        refused: set[str] = set()
        for name, one in reaching.items():
            record, hers = one.record, contacts[one.record.customer_id]
            held = consents[record.customer_id]
            if barred(self._policy, record.channel, held, hers, one.zone, record.at) is None:
                hers.append(Contact(record.channel, record.at))
            else:
                refused.add(name)
        return refused


def _name(decided: Decided) -> str:
    """Return what tells one decision from another: its request's name, where that has one."""
    return decided.answered.replay.name if decided.answered else decided.record.decision_id


def _written(
    one: Decided,
    first: Decided,
    known: Mapping[str, tuple[bytes, str | None]],
    refused: Collection[str],
) -> Written:
    name = _name(one)
    if one.answered is None or first.answered is None or name in refused:
        return Written(kept=name not in refused)
    digest, answer = known.get(name, (first.answered.replay.digest, first.answered.answer))
    return Written(True, answer if digest == one.answered.replay.digest else None)


async def _count(connection: Any, records: Sequence[DecisionRecord]) -> None:
    await connection.execute(
        f"{_CONTACT} ON CONFLICT DO NOTHING",
        [record.decision_id for record in records],
        [record.customer_id for record in records],
        [record.channel for record in records],
        [record.at for record in records],
    )


async def _finish_names(
    connection: Any, kept: Mapping[str, Decided], refused: Collection[str]
) -> None:
    answered = {name: one.answered.answer for name, one in kept.items() if one.answered}
    await keep_answers(connection, answered)
    if refused:
        # Their requests are not answered yet.
        await free_names(connection, list(refused))


async def insert_decisions(connection: Any, decisions: Sequence[PackedDecision]) -> None:
    """Write decisions; as a statement of its own it is a transaction."""
    # One that is there already came by the spool, or is still under way in another connection.
    await connection.execute(
        "INSERT INTO decisions (decision_id, customer_id, at, packed) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[]) "
        "ON CONFLICT (decision_id) DO NOTHING",
        [decision.decision_id for decision in decisions],
        [decision.customer_id for decision in decisions],
        [decision.at for decision in decisions],
        [decision.packed for decision in decisions],
    )


async def count_sent(connection: Any, outcomes: Iterable[Outcome]) -> None:
    """Count messages told as sent; one that a decision for its channel counted is the same."""
    sent = [one for one in outcomes if one.kind == "sent"]
    if sent:
        await connection.execute(
            "INSERT INTO contacts (contact_id, customer_id, channel, at) "
            "SELECT event_id, customer_id, channel, at FROM unnest($1::text[], $2::text[], "
            "$3::text[], $4::timestamptz[], $5::text[]) "
            "AS sent (event_id, customer_id, channel, at, decision_id) WHERE NOT EXISTS ("
            "SELECT FROM contacts AS counted WHERE counted.contact_id = sent.decision_id "
            "AND counted.channel = sent.channel) ON CONFLICT DO NOTHING",
            [one.event_id for one in sent],
            [one.customer_id for one in sent],
            [one.channel for one in sent],
            [one.at for one in sent],
            [one.decision_id for one in sent],
        )

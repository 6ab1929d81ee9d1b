"""PostgreSQL's rows about a customer: her consents, all that is known, how it is forgotten."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Literal

import msgspec

from adapters.postgres_contacts import CONSENTS, PACKED
from adapters.postgres_pool import PostgresPool
from adapters.postgres_replays import answer_before, keep_answer
from foundation.consent import ConsentAnswer
from foundation.decision import encode
from foundation.errors import UnreadableRecord
from foundation.outcome import Outcome
from foundation.packed_decision import packed, unpacked
from foundation.pseudonym import (
    Former,
    Quoted,
    new_pseudonym,
    pseudonymous_decision,
    pseudonymous_outcome,
)
from foundation.replay import Replay

# Rows that only tell of her go; what counts for others stays under her pseudonym.
DELETED = ("consents", "consent_history", "contacts")
_HASH = "sha256(convert_to(customer_id, 'UTF8'))"
_PIECE = 2000
# Decisions and outcomes have no index by customer, whom nobody asks for on the hot path.
PATIENCE_SECONDS = 600.0

_ANSWER = """
    WITH told AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::timestamptz[], $5::text[],
            $6::text[]) AS told (customer_id, channel, granted, at, who, source)
    ), now AS (
        SELECT customer_id, channel FROM told WHERE at IS NULL
    ), kept AS (
        INSERT INTO consents
        SELECT customer_id, channel, granted, coalesce(at, clock_timestamp()) FROM told
        ON CONFLICT (customer_id, channel) DO UPDATE SET granted = excluded.granted,
            at = CASE WHEN (consents.customer_id, consents.channel) IN (SELECT * FROM now)
                THEN greatest(excluded.at, consents.at + interval '1 microsecond')
                ELSE excluded.at END
        WHERE consents.at < excluded.at
            OR (consents.customer_id, consents.channel) IN (SELECT * FROM now)
        RETURNING customer_id, channel, at
    )
    INSERT INTO consent_history (customer_id, channel, granted, at, who, source)
    SELECT customer_id, channel, granted, kept.at, who, source
    FROM told JOIN kept USING (customer_id, channel)"""


class PostgresCustomers:
    """See serving.customers.Customers."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def answer(self, answers: Sequence[ConsentAnswer]) -> None:
        async with self._pool.connection() as connection:
            await _answer(connection, answers)

    async def consent(
        self, customer_id: str, answers: Sequence[ConsentAnswer], replay: Replay | None = None
    ) -> dict[str, bool]:
        async with self._pool.connection() as connection, connection.transaction():
            before = await answer_before(connection, replay)
            if before is not None:
                return msgspec.json.decode(before, type=dict[str, bool])
            await _answer(connection, answers)
            rows = await connection.fetch(CONSENTS, [customer_id])
            consents = {row["channel"]: row["granted"] for row in rows}
            # Without her id: who is erased is not brought back by a repetition.
            await keep_answer(connection, replay, consents)
        return consents

    async def newest_answer(self) -> int:
        async with self._pool.connection() as connection:
            return await connection.fetchval("SELECT coalesce(max(entry), 0) FROM consent_history")

    async def refusals(self, channels: Sequence[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {channel: set() for channel in channels}
        async with self._pool.connection() as connection, connection.transaction(readonly=True):
            # There may be a million: piece by piece, so that requests go on.
            rows = connection.cursor(
                "SELECT channel, customer_id FROM consents "
                "WHERE NOT granted AND channel = ANY($1::text[])",
                list(channels),
                prefetch=_PIECE,
            )
            async for channel, customer_id in rows:
                found[channel].add(customer_id)
        return found

    async def answers_after(
        self, entry: int, channels: Sequence[str]
    ) -> list[tuple[str, str, bool]]:
        async with self._pool.connection() as connection, connection.transaction(readonly=True):
            rows = connection.cursor(
                "SELECT DISTINCT channel, customer_id, consents.granted "
                "FROM consent_history JOIN consents USING (customer_id, channel) "
                "WHERE entry > $1 AND channel = ANY($2::text[])",
                entry,
                list(channels),
                prefetch=_PIECE,
            )
            return [tuple(row) async for row in rows]

    async def known(self, customer_id: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        async with (
            self._pool.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            for table in await _tables(connection):
                if table == "erasures":
                    continue
                rows = await connection.fetch(
                    f'SELECT to_jsonb(t)::text AS row FROM "{table}" t WHERE customer_id = $1',  # noqa: S608
                    customer_id,
                    timeout=PATIENCE_SECONDS,
                )
                if rows:
                    found[table] = [_as_told(json.loads(row["row"])) for row in rows]
        return found

    async def erase(
        self, customer_id: str, who: str, replay: Replay | None = None
    ) -> dict[str, int]:
        changed: dict[str, int] = {}
        async with self._pool.connection() as connection, connection.transaction():
            before = await answer_before(connection, replay)
            if before is not None:
                return msgspec.json.decode(before, type=dict[str, int])
            first = await connection.fetchval(
                "INSERT INTO erasures (customer_id, pseudonym) VALUES ($1, $2) "
                "ON CONFLICT DO NOTHING RETURNING true",
                customer_id,
                new_pseudonym(),
            )
            pseudonym = await connection.fetchval(
                "SELECT pseudonym FROM erasures WHERE customer_id = $1", customer_id
            )
            for table in await _tables(connection):
                if table in DELETED:
                    done = await connection.execute(
                        f'DELETE FROM "{table}" WHERE customer_id = $1',  # noqa: S608
                        customer_id,
                        timeout=PATIENCE_SECONDS,
                    )
                elif table == "decisions":
                    done = await _rewrite(connection, _DECISIONS, customer_id, pseudonym)
                elif table == "outcomes":
                    done = await _rewrite(connection, _OUTCOMES, customer_id, pseudonym)
                elif table == "erasures":
                    continue
                else:
                    if table == "uses":
                        await _unquote_uses(connection, customer_id, pseudonym)
                    done = await connection.execute(
                        f'UPDATE "{table}" SET customer_id = $2 WHERE customer_id = $1',  # noqa: S608
                        customer_id,
                        pseudonym,
                        timeout=PATIENCE_SECONDS,
                    )
                count = int(done.rpartition(" ")[2])
                if count:
                    changed[table] = count
            # Answers that a repeated request would get again.
            await connection.execute(
                "DELETE FROM replays WHERE answer ->> 'customer_id' = $1",
                customer_id,
                timeout=PATIENCE_SECONDS,
            )
            if first or changed:
                # What is in the log stays, so it names her as the other tables do from now on.
                await connection.execute(
                    "INSERT INTO audit_log (at, who, action, subject, after) "
                    "VALUES (now(), $1, 'erase', $2, $3::jsonb)",
                    who,
                    f"customer {pseudonym}",
                    json.dumps(changed),
                )
            await keep_answer(connection, replay, changed)
        return changed

    async def erased(self) -> frozenset[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch("SELECT customer_id FROM erasures")
        return frozenset(row["customer_id"] for row in rows)

    async def former(self, customer_ids: Sequence[str]) -> dict[str, Former]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                f"WITH asked AS (SELECT customer_id, {_HASH} AS customer_hash "  # noqa: S608
                "FROM unnest($1::text[]) AS customer_id) "
                "SELECT customer_id, pseudonym, at FROM asked JOIN forgotten USING (customer_hash) "
                # What is under way comes last: it is the newer one.
                "UNION ALL SELECT customer_id, pseudonym, NULL FROM asked "
                "JOIN erasures USING (customer_id)",
                list(customer_ids),
            )
        return {row["customer_id"]: Former(row["pseudonym"], row["at"]) for row in rows}

    async def pseudonyms(self) -> dict[str, str]:
        """Return the pseudonyms of those who are to be forgotten in snapshot and lake, too."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch("SELECT customer_id, pseudonym FROM erasures")
        return {row["customer_id"]: row["pseudonym"] for row in rows}

    async def forgotten(self, customer_ids: Sequence[str]) -> None:
        """Drop the names of customers, once snapshot and lake have forgotten them."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "WITH done AS (DELETE FROM erasures WHERE customer_id = ANY($1::text[]) "  # noqa: S608
                "RETURNING customer_id, pseudonym) "
                f"INSERT INTO forgotten (customer_hash, pseudonym) SELECT {_HASH}, pseudonym "
                "FROM done ON CONFLICT (customer_hash) DO UPDATE "
                "SET pseudonym = excluded.pseudonym, at = excluded.at",
                list(customer_ids),
            )


def _order(answer: ConsentAnswer) -> datetime:
    return datetime.max.replace(tzinfo=UTC) if answer.at is None else answer.at


async def _answer(connection: Any, answers: Sequence[ConsentAnswer]) -> None:
    # A statement may change a row only once, and two of them must not wait in a circle.
    newest = {(a.customer_id, a.channel): a for a in sorted(answers, key=_order)}
    ordered = [newest[key] for key in sorted(newest)]
    await connection.execute(
        _ANSWER,
        [one.customer_id for one in ordered],
        [one.channel for one in ordered],
        [one.granted for one in ordered],
        [one.at for one in ordered],
        [one.who for one in ordered],
        [one.source for one in ordered],
    )


def _as_told(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it may be read: what is packed in it as what it says."""
    kept: str | None = row.pop("packed", None)
    if kept is None:
        return row
    # As jsonb PostgreSQL writes bytes in hexadecimal digits behind two more characters.
    told = bytes.fromhex(kept[2:])
    try:
        record: Any = unpacked(row["decision_id"], told)
    except UnreadableRecord as error:
        record = {"unreadable": str(error), "packed": told}
    return row | {"record": msgspec.json.decode(encode(record))}


def _decision(kept: bytes, pseudonym: str) -> bytes:
    return packed(pseudonymous_decision(unpacked("", kept), pseudonym)).packed


def _outcome(text: str, pseudonym: str) -> str:
    outcome = msgspec.json.decode(text, type=Outcome)
    return encode(pseudonymous_outcome(outcome, pseudonym)).decode()


@dataclass(frozen=True)
class _Documents:
    """A table of documents: how one is read, what it becomes under a pseudonym, how it is kept."""

    table: str
    key: str
    read: str
    rewritten: Callable[[Any, str], Any]
    set_to: str
    kind: Literal["bytea", "json"]

    def of(self, told: Any, pseudonym: str) -> Any:
        """Return what stays of a document."""
        try:
            return self.rewritten(told, pseudonym)
        except (msgspec.ValidationError, UnreadableRecord):
            # What cannot be read may tell anything of her: nothing of it stays.
            bare = json.dumps({"customer_id": pseudonym})
            return bare.encode() if self.kind == "bytea" else bare


_DECISIONS = _Documents(
    table="decisions",
    key="decision_id",
    read=PACKED,
    rewritten=_decision,
    set_to="packed = new.told, record = NULL",
    kind="bytea",
)
_OUTCOMES = _Documents(
    table="outcomes",
    key="event_id",
    read="event::text",
    rewritten=_outcome,
    set_to="event = new.told",
    kind="json",
)


async def _rewrite(connection: Any, of: _Documents, customer_id: str, pseudonym: str) -> str:
    table, key = of.table, of.key
    rows = await connection.fetch(
        f"SELECT {key} AS key, {of.read} AS told FROM {table} WHERE customer_id = $1",  # noqa: S608
        customer_id,
        timeout=PATIENCE_SECONDS,
    )
    quoted = Quoted({customer_id: pseudonym})
    own = {row["key"]: quoted.replaced(row["key"], customer_id) for row in rows}
    # Told again since she was first forgotten, under an id that quotes her: it is there already.
    again = await connection.fetch(
        f"DELETE FROM {table} WHERE {key} IN (SELECT old FROM "  # noqa: S608
        f"unnest($1::text[], $2::text[]) AS name (old, own) JOIN {table} AS there "
        f"ON there.{key} = own WHERE old <> own) RETURNING {key} AS key",
        list(own),
        list(own.values()),
        timeout=PATIENCE_SECONDS,
    )
    gone = {row["key"] for row in again}
    kept = [row for row in rows if row["key"] not in gone]
    return await connection.execute(
        f"UPDATE {table} SET customer_id = $1, {key} = new.own, {of.set_to} FROM "  # noqa: S608
        f"unnest($2::text[], $3::text[], $4::{of.kind}[]) AS new (key, own, told) "
        f"WHERE {key} = new.key",
        pseudonym,
        [row["key"] for row in kept],
        [own[row["key"]] for row in kept],
        [of.of(row["told"], pseudonym) for row in kept],
        timeout=PATIENCE_SECONDS,
    )


# What callers name, and may name after her.
_OF_USE = ("use_id", "decision_id", "order_id", "event_id")


async def _unquote_uses(connection: Any, customer_id: str, pseudonym: str) -> None:
    quoted = Quoted({customer_id: pseudonym})
    names = ", ".join(_OF_USE)
    rows = await connection.fetch(
        f"SELECT {names} FROM uses WHERE customer_id = $1",  # noqa: S608
        customer_id,
        timeout=PATIENCE_SECONDS,
    )
    for row in rows:
        told = [one and quoted.replaced(one, customer_id) for one in row]
        if told != list(row):
            taken = "SELECT true FROM uses WHERE use_id = $1"
            if told[0] != row["use_id"] and await connection.fetchval(taken, told[0]):
                # Counted twice, as a use of somebody new; that it was is kept.
                told[0] = f"{told[0]}:{token_hex(8)}"
            await connection.execute(
                f"UPDATE uses SET ({names}) = ($2, $3, $4, $5) WHERE use_id = $1",  # noqa: S608
                row["use_id"],
                *told,
                timeout=PATIENCE_SECONDS,
            )


async def _tables(connection: Any) -> list[str]:
    """Return the tables whose rows are about a customer, whoever made them."""
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() "
        "AND column_name = 'customer_id' ORDER BY 1"
    )
    return [row["table_name"] for row in rows]

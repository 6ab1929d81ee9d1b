"""PostgreSQL on the hot path: live state, decisions, outcomes, catalogue and keys, by asyncpg."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC
from typing import Any

import asyncpg
import msgspec

from adapters.postgres_contacts import PACKED, count_sent, insert_decisions
from adapters.postgres_pool import PostgresPool
from adapters.postgres_replays import forget_names, keep_answers, take_names
from adapters.postgres_uses import count_named, count_told, lock_offers
from experiments.design import Experiment, read_design
from foundation.access import KeyFacts
from foundation.contact_policy import REMEMBERED, Contact
from foundation.decision import DEFAULT_POLICY, DecisionRecord, Policy, encode
from foundation.errors import EventChanged, EventRefused, StoreUnavailable
from foundation.offer import Offer, read_offer
from foundation.outcome import Outcome
from foundation.packed_decision import PackedDecision, packed, unpacked
from foundation.profile import LiveState
from foundation.replay import Answered, Replay, digest

# One row a fact: what it is, of which offer or channel, how often (a consent: 1 or 0) and when.
_STATES = """
    SELECT customer_id, state AS what, offer_id AS name, count(*) AS number, NULL::timestamptz AS at
    FROM uses WHERE state IN ('reserved', 'redeemed') AND customer_id = ANY($1::text[])
    GROUP BY customer_id, offer_id, state
    UNION ALL SELECT customer_id, 'consent', channel, granted::int, at
    FROM consents WHERE customer_id = ANY($1::text[])"""
_STATES_AND_CONTACTS = f"""{_STATES}
    UNION ALL SELECT customer_id, 'contact', channel, 1, at
    FROM contacts WHERE customer_id = ANY($1::text[])
    AND at > now() - interval '{REMEMBERED.days} days'"""  # noqa: S608
_NOTHING_TOLD = LiveState({})
# What is wrong with a value, a rule that it breaks, or its size. Whatever else PostgreSQL says, of
# a table that is missing in the middle of an upgrade, is no fault of what it is given.
_NEVER = (
    ValueError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


class PostgresJournal:
    """See serving.journal.Journal, serving.catalogue.CatalogueSource and serving.keys.KeyStore."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def close(self) -> None:
        await self._pool.close()

    async def live_states(
        self, customer_ids: Sequence[str], *, contacts: bool = False
    ) -> list[LiveState]:
        asked = list(dict.fromkeys(customer_ids))
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_STATES_AND_CONTACTS if contacts else _STATES, asked)
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row["customer_id"], []).append(row)
        states = {customer_id: _state(hers) for customer_id, hers in found.items()}
        return [states.get(customer_id, _NOTHING_TOLD) for customer_id in customer_ids]

    async def record(self, decisions: Sequence[PackedDecision]) -> None:
        async with self._pool.connection() as connection:
            # One statement is one transaction: it returns when the commit is on disk.
            await insert_decisions(connection, decisions)

    async def record_once(self, asked: Sequence[Answered]) -> list[str | None]:
        first: dict[str, Answered] = {}
        for one in asked:
            first.setdefault(one.replay.name, one)
        async with self._pool.connection() as connection, connection.transaction():
            known = await take_names(
                connection, {name: one.replay.digest for name, one in first.items()}
            )
            new = {name: one for name, one in first.items() if name not in known}
            await insert_decisions(connection, [packed(one.record) for one in new.values()])
            await keep_answers(connection, {name: one.answer for name, one in new.items()})
        stands = known | {name: (one.replay.digest, one.answer) for name, one in new.items()}
        return [
            stands[replay.name][1] if stands[replay.name][0] == replay.digest else None
            for replay in (one.replay for one in asked)
        ]

    async def decision(self, decision_id: str) -> DecisionRecord | None:
        async with self._pool.connection() as connection:
            found = await connection.fetchval(
                f"SELECT {PACKED} FROM decisions WHERE decision_id = $1",  # noqa: S608
                decision_id,
            )
        return None if found is None else unpacked(decision_id, found)

    async def forget_names(self) -> int:
        async with self._pool.connection() as connection:
            return await forget_names(connection)

    async def tell(self, outcomes: Sequence[Outcome], replay: Replay | None = None) -> int | None:
        try:
            return await self._tell(outcomes, replay)
        except _NEVER as error:
            # What else it says of the error may quote a row.
            raise EventRefused(f"PostgreSQL refuses it ({type(error).__name__})") from error

    async def _tell(self, outcomes: Sequence[Outcome], replay: Replay | None) -> int | None:
        redeemed = [o for o in outcomes if o.kind == "redeem" and o.offer_id is not None]
        async with self._pool.connection() as connection, connection.transaction():
            asked = {} if replay is None else {replay.name: replay.digest}
            for before, answer in (await take_names(connection, asked)).values():
                return int(answer or 0) if before in asked.values() else None
            await lock_offers(connection, (str(outcome.offer_id) for outcome in redeemed))
            named, counted = await count_named(connection, redeemed)
            digests = _each_once(o for o in outcomes if _name(o) not in named)
            # One order for all writers, so that two batches never wait for each other in a circle.
            told = sorted(digests.values(), key=lambda pair: pair[1].event_id)
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
            ids = {row["event_id"] for row in new}
            first = [outcome for _, outcome in told if outcome.event_id in ids]
            await count_told(connection, [o for o in first if o.kind == "redeem" and o.offer_id])
            await count_sent(connection, first)
            counted += len(new)
            await keep_answers(connection, dict.fromkeys(asked, str(counted)))
        return counted

    async def ready(self) -> bool:
        try:
            async with self._pool.connection() as connection:
                return await connection.fetchval("SELECT true")
        except StoreUnavailable:
            return False

    async def version(self) -> int:
        async with self._pool.connection() as connection:
            return await connection.fetchval("SELECT version FROM catalogue")

    async def read(self) -> tuple[int, list[Offer], list[Experiment], Policy | None]:
        async with (
            self._pool.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            version = await connection.fetchval("SELECT version FROM catalogue")
            offers = await connection.fetch(
                "SELECT document, popularity FROM offers ORDER BY offer_id"
            )
            experiments = await connection.fetch(
                "SELECT document FROM experiments WHERE stopped_at IS NULL ORDER BY key"
            )
            policy = await connection.fetchval(
                "SELECT document FROM policies WHERE name = $1", DEFAULT_POLICY
            )
        return (
            version,
            [read_offer(json.loads(row["document"]), row["popularity"]) for row in offers],
            [read_design(json.loads(row["document"])) for row in experiments],
            None if policy is None else msgspec.json.decode(policy, type=Policy),
        )

    async def keys(self) -> dict[bytes, KeyFacts]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT secret_hash, name, scopes, number, line, rate, expires_at FROM api_keys "
                "WHERE revoked_at IS NULL AND coalesce(expires_at > now(), true)"
            )
        return {
            row["secret_hash"]: KeyFacts(
                row["name"],
                frozenset(row["scopes"]),
                row["number"],
                row["line"].hex(),
                row["rate"],
                row["expires_at"],
            )
            for row in rows
        }

    async def used(self, numbers: Collection[int]) -> None:
        async with self._pool.connection() as connection:
            # Nothing is written but the first use of a day.
            await connection.execute(
                "UPDATE api_keys SET last_used = current_date "
                "WHERE number = ANY($1::bigint[]) AND last_used IS DISTINCT FROM current_date",
                list(numbers),
            )


def _state(rows: Iterable[Any]) -> LiveState:
    redeemed, consents = dict[str, int](), dict[str, bool]()
    activated, contacts = set[str](), list[Contact]()
    for row in rows:
        if row["what"] == "redeemed":
            redeemed[row["name"]] = row["number"]
        elif row["what"] == "reserved":
            activated.add(row["name"])
        elif row["what"] == "consent":
            consents[row["name"]] = bool(row["number"])
        else:
            contacts.append(Contact(row["name"], row["at"]))
    return LiveState(redeemed, frozenset(activated), consents=consents, contacts=tuple(contacts))


def _each_once(outcomes: Iterable[Outcome]) -> dict[str, tuple[bytes, Outcome]]:
    """Return outcomes with their digests by event_id."""
    digests: dict[str, tuple[bytes, Outcome]] = {}
    for outcome in outcomes:
        digest = _digest(outcome)
        if digests.setdefault(outcome.event_id, (digest, outcome))[0] != digest:
            raise _changed(outcome.event_id)
    return digests


def _name(outcome: Outcome) -> tuple[str, str, str | None] | None:
    """Return the use that a redemption may be told of: its id, customer and offer."""
    if outcome.kind != "redeem":
        return None
    return outcome.event_id, outcome.customer_id, outcome.offer_id


def _changed(event_id: str) -> EventChanged:
    return EventChanged(
        f"event {event_id!r} was told before with other content; give a new event its own id"
    )


def _digest(outcome: Outcome) -> bytes:
    # A client that repeats itself may write the same instant in another zone.
    same = msgspec.structs.replace(outcome, at=outcome.at.astimezone(UTC))
    return digest(same)

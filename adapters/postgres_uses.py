"""PostgreSQL as the counter of uses: each offer has a lock, so that no limit is ever passed.

Every change of a use holds its offer's lock; locks are taken in one order, after the names of
repeated requests and before anything else, so that no two transactions wait in a circle.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from adapters.postgres_pool import PostgresPool
from adapters.postgres_replays import (
    answer_before,
    free_names,
    keep_answer,
    keep_answers,
    take_names,
)
from experiments.shared_cap import arm_exhausted
from foundation.decision import encode
from foundation.outcome import Outcome
from foundation.own_id import own_id
from foundation.replay import Replay, digest
from foundation.uses import (
    Claim,
    Claimed,
    Ended,
    Held,
    Limits,
    State,
    exhausted,
    read_limits,
)

# Offer, store, uses, cost and arm.
_Move = tuple[str, str | None, int, int, str | None]
_ADD_HELD = (
    "INSERT INTO held SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) "
    "ON CONFLICT (offer_id, store_id) DO UPDATE SET "
    "uses = held.uses + excluded.uses, cost = held.cost + excluded.cost"
)
_ADD_HELD_BY_ARM = (
    "INSERT INTO held_by_arm SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], "
    "$4::bigint[]) ON CONFLICT (offer_id, arm) DO UPDATE SET "
    "uses = held_by_arm.uses + excluded.uses, cost = held_by_arm.cost + excluded.cost"
)


class PostgresUses:
    """See serving.uses.Uses."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed | None]:
        async with self._pool.connection() as connection, connection.transaction():
            known = await _replayed(connection, claims)
            fresh: dict[str, Claim] = {}
            for claim in claims:
                if claim.replay is None or claim.replay not in known:
                    fresh.setdefault(claim.replay or claim.use_id, claim)
            book = await _open_book(connection, list(fresh.values()))
            answers = {name: book.judge(claim) for name, claim in fresh.items()}
            await book.write(connection)
            await keep_answers(
                connection, {n: encode(a).decode() for n, a in answers.items() if fresh[n].replay}
            )
        return [_answer(claim, known, fresh, answers) for claim in claims]

    async def cancel(self, use_id: str, replay: Replay | None = None) -> Ended:
        return await self._end(use_id, "reserved", "released", replay)

    async def reverse(self, use_id: str, event_id: str, replay: Replay | None = None) -> Ended:
        return await self._end(use_id, "redeemed", "reversed", replay, event_id)

    async def release_expired(self) -> int:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT offer_id FROM uses "
                "WHERE state = 'reserved' AND expires_at <= now()"
            )
            if not rows:
                return 0
            async with connection.transaction():
                offer_ids = [row["offer_id"] for row in rows]
                await lock_offers(connection, offer_ids)
                return await _release_expired(connection, offer_ids)

    async def held(self) -> dict[str, Held]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch("SELECT offer_id, store_id, uses, cost FROM held")
            arms = await connection.fetch("SELECT offer_id, arm, uses, cost FROM held_by_arm")
        return _gather(rows, arms)

    async def _end(
        self,
        use_id: str,
        before: State,
        after: State,
        replay: Replay | None,
        event_id: str | None = None,
    ) -> Ended:
        async with self._pool.connection() as connection, connection.transaction():
            answer = await answer_before(connection, replay)
            if answer is not None:
                return msgspec.json.decode(answer, type=Ended)
            ended = await _end(connection, use_id, before, after, event_id)
            if ended.state == after:
                await keep_answer(connection, replay, ended)
            elif replay is not None:
                await free_names(connection, [replay.name])
        return ended


async def _end(
    connection: Any, use_id: str, before: State, after: State, event_id: str | None
) -> Ended:
    found = await connection.fetchrow(
        "SELECT use_id, offer_id FROM uses WHERE use_id = $1 OR event_id = $1 "
        "ORDER BY use_id = $1 DESC LIMIT 1",
        use_id,
    )
    if found is None:
        return Ended(None, changed=False)
    use_id, offer_id = found
    await lock_offers(connection, [offer_id])
    row = await connection.fetchrow(
        "UPDATE uses SET state = $3, changed_at = now() WHERE use_id = $1 AND state = $2 "
        "RETURNING *, now() AS at",
        use_id,
        before,
        after,
    )
    if row is None:
        state = await connection.fetchval("SELECT state FROM uses WHERE use_id = $1", use_id)
        return Ended(state, changed=False)
    await _move(connection, [(offer_id, row["store_id"], -1, -row["cost"], row["arm"])])
    if event_id is not None:
        reversal = _outcome(row, event_id, "reverse", row["at"])
        await _write_outcomes(connection, [reversal])
    return Ended(after, changed=True)


async def lock_offers(connection: Any, offer_ids: Iterable[str]) -> None:
    """Hold the locks of offers until the transaction ends; an offer without uses has one too."""
    wanted = list(set(offer_ids))
    if wanted:
        await connection.execute(
            "SELECT pg_advisory_xact_lock(name) FROM (SELECT DISTINCT hashtextextended(offer_id, 0)"
            " AS name FROM unnest($1::text[]) AS offer_id ORDER BY name) AS ordered",
            wanted,
        )


async def count_named(
    connection: Any, redeemed: Sequence[Outcome]
) -> tuple[set[tuple[str, str, str]], int]:
    """Count redemptions told under the id of the use itself, under the locks of their offers.

    Each is that use's redemption, once, whichever way it came first: no other event of it is kept.

    Returns:
        Use, customer and offer of those told so, and how many of them were new.
    """
    if not redeemed:
        return set(), 0
    rows = await connection.fetch(
        "SELECT *, now() AS at FROM uses WHERE use_id = ANY($1::text[])",
        [outcome.event_id for outcome in redeemed],
    )
    uses = {(row["use_id"], row["customer_id"], row["offer_id"]): row for row in rows}
    named = set[tuple[str, str, str]]()
    book: _Book | None = None
    for outcome in redeemed:
        name = (outcome.event_id, outcome.customer_id, str(outcome.offer_id))
        row = uses.get(name)
        if row is None:
            continue
        named.add(name)
        book = book or _Book({}, now=row["at"])
        if row["state"] in ("reserved", "released") and row["use_id"] not in book.redeemed:
            if row["state"] == "released":
                book.take_again(row)
            book.redeem(row, outcome.store_id, outcome.order_id)
            book.outcomes.append(
                msgspec.structs.replace(
                    outcome,
                    event_id=own_id("redeem", row["use_id"]),
                    decision_id=outcome.decision_id or row["decision_id"],
                )
            )
    if book is None:
        return named, 0
    await book.write(connection)
    return named, len(book.outcomes)


async def count_told(connection: Any, redeemed: Sequence[Outcome]) -> None:
    """Count redemptions that happened already, under the locks of their offers.

    One that she had activated commits her oldest reservation; any other is a use of its own. They
    are past refusing: a limit may be exceeded by what is only told.
    """
    if not redeemed:
        return
    book = _Book(
        await _limits(connection, (str(o.offer_id) for o in redeemed)),
        await connection.fetchval("SELECT now()"),
    )
    hers = [(outcome.customer_id, str(outcome.offer_id)) for outcome in redeemed]
    book.know(await _uses(connection, [], hers))
    for outcome in redeemed:
        activated = book.oldest_kept(outcome.customer_id, str(outcome.offer_id))
        if activated is not None:
            book.redeem(activated, outcome.store_id, outcome.order_id, outcome.event_id)
        else:
            book.use_told(outcome)
    await book.write(connection)


@dataclass
class _Book:
    """The state of the claimed offers inside a transaction, and what is to be written of it."""

    limits: dict[str, Limits]
    now: datetime
    held: dict[str, Held] = field(default_factory=dict[str, Held])
    by_customer: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    activated: dict[str, Any] = field(default_factory=dict[str, Any])
    # Reservations by customer and offer, the oldest at the end.
    kept: dict[tuple[str, str], list[Any]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], list[Any]](list)
    )
    made: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    # Store, order and telling event by use.
    redeemed: dict[str, tuple[str | None, str | None, str | None]] = field(
        default_factory=dict[str, tuple[str | None, str | None, str | None]]
    )
    moves: list[_Move] = field(default_factory=list[_Move])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    def know(self, rows: Iterable[Any]) -> None:
        """Take in uses that claims or outcomes may be about, the newest first."""
        for row in rows:
            self.activated[row["use_id"]] = row
            if row["state"] == "reserved":
                self.kept[row["customer_id"], row["offer_id"]].append(row)

    def oldest_kept(self, customer_id: str, offer_id: str) -> Any:
        """Return her oldest reservation that is not redeemed yet, None without one."""
        hers = self.kept[customer_id, offer_id]
        while hers and hers[-1]["use_id"] in self.redeemed:
            hers.pop()
        return hers[-1] if hers else None

    def judge(self, claim: Claim) -> Claimed:
        """Grant or refuse a claim, and count it for the ones after it."""
        limits = self.limits.get(claim.offer_id)
        if limits is None:
            return Claimed(None, "unknown_offer")
        if claim.activation_id is not None:
            row = self.activated.get(claim.activation_id)
            if row is None or (row["customer_id"], row["offer_id"]) != (
                claim.customer_id,
                claim.offer_id,
            ):
                return Claimed(None, "unknown_activation")
            if row["state"] in ("redeemed", "reversed") or row["use_id"] in self.redeemed:
                return Claimed(None, "already_redeemed")
            if row["state"] == "reserved":
                return self._redeem(claim, row, limits)
            return self._take(claim, limits, row)
        kept = self.oldest_kept(claim.customer_id, claim.offer_id) if claim.redeem else None
        return self._take(claim, limits) if kept is None else self._redeem(claim, kept, limits)

    def _redeem(self, claim: Claim, row: Any, limits: Limits) -> Claimed:
        store_id = claim.store_id or row["store_id"]
        if limits.store_stock is not None and store_id != row["store_id"]:
            # Her piece was kept in another store: this one must have a piece of its own.
            held = self._held(claim.offer_id)
            pieces = limits.store_stock.get(store_id, 0)
            if held.by_store.get(store_id, 0) >= pieces:
                return Claimed(None, "out_of_stock")
        self.redeem(row, claim.store_id, claim.order_id)
        self._tell(claim, row["use_id"], row["decision_id"])
        return Claimed(row["use_id"])

    def redeem(
        self, row: Any, store_id: str | None, order_id: str | None, event_id: str | None = None
    ) -> None:
        """Commit a reservation, in the store of the redemption where that is known."""
        if store_id is not None and store_id != row["store_id"]:
            self._move(row["offer_id"], row["store_id"], -1, -row["cost"], row["arm"])
            self._move(row["offer_id"], store_id, 1, row["cost"], row["arm"])
        self.redeemed[row["use_id"]] = (store_id, order_id, event_id)

    def take_again(self, row: Any) -> None:
        """Count a use that was released, before it is redeemed all the same."""
        self._move(row["offer_id"], row["store_id"], 1, row["cost"], row["arm"])

    def _take(self, claim: Claim, limits: Limits, released: Any = None) -> Claimed:
        """Take one of the uses left: the one that was released before, or a new one."""
        if claim.inapplicable is not None:
            return Claimed(None, claim.inapplicable)
        hers = self.by_customer.get((claim.customer_id, claim.offer_id), 0) + claim.used_before
        refused: str | None = exhausted(limits, self._held(claim.offer_id), claim.store_id)
        if refused is None and claim.arm is not None:
            refused = arm_exhausted(claim.arm, limits, self._held(claim.offer_id))
        if refused is None and limits.customer_cap is not None and hers >= limits.customer_cap:
            refused = "customer_cap_reached"
        if refused:
            return Claimed(None, refused)
        ends = None if claim.redeem else self.now + timedelta(seconds=claim.lasts_seconds)
        if ends is not None and claim.valid_to is not None:
            ends = min(ends, claim.valid_to)
        self.by_customer[claim.customer_id, claim.offer_id] = hers - claim.used_before + 1
        if released is not None:
            self.take_again(released)
            self.redeem(released, claim.store_id, claim.order_id)
            self._tell(claim, released["use_id"], released["decision_id"])
            return Claimed(released["use_id"])
        arm = None if claim.arm is None else claim.arm.name
        self._move(claim.offer_id, claim.store_id, 1, limits.cost, arm)
        state: State = "redeemed" if claim.redeem else "reserved"
        self.made.append(
            (claim.use_id, claim.offer_id, claim.customer_id, claim.store_id, claim.channel,
             limits.cost, state, ends, claim.decision_id, claim.order_id, arm, None)
        )  # fmt: skip
        if claim.redeem:
            self._tell(claim, claim.use_id, claim.decision_id)
        return Claimed(claim.use_id, expires_at=ends)

    def use_told(self, outcome: Outcome) -> None:
        """Count a redemption that was told without any claim."""
        limits = self.limits.get(str(outcome.offer_id))
        cost = 0 if limits is None else limits.cost
        self._move(str(outcome.offer_id), outcome.store_id, 1, cost)
        self.made.append(
            (own_id("use", outcome.event_id), outcome.offer_id, outcome.customer_id,
             outcome.store_id, outcome.channel, cost, "redeemed", None, outcome.decision_id,
             outcome.order_id, None, outcome.event_id)
        )  # fmt: skip

    def _held(self, offer_id: str) -> Held:
        return self.held.setdefault(offer_id, Held())

    def _move(
        self, offer_id: str, store_id: str | None, uses: int, cost: int, arm: str | None = None
    ) -> None:
        self._held(offer_id).take(store_id, cost, uses, arm)
        self.moves.append((offer_id, store_id, uses, cost, arm))

    def _tell(self, claim: Claim, use_id: str, decision_id: str | None) -> None:
        self.outcomes.append(
            Outcome(
                event_id=own_id("redeem", use_id),
                customer_id=claim.customer_id,
                at=self.now,
                channel=claim.channel,  # pyright: ignore[reportArgumentType]
                kind="redeem",
                offer_id=claim.offer_id,
                decision_id=claim.decision_id or decision_id,
                order_id=claim.order_id,
                store_id=claim.store_id,
            )
        )

    async def write(self, connection: Any) -> None:
        """Write what changed."""
        if self.made:
            await connection.executemany(
                "INSERT INTO uses (use_id, offer_id, customer_id, store_id, channel, cost, state, "
                "expires_at, decision_id, order_id, arm, event_id) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                self.made,
            )
        if self.redeemed:
            await connection.executemany(
                "UPDATE uses SET state = 'redeemed', changed_at = now(), "
                "store_id = coalesce($2, store_id), order_id = coalesce($3, order_id), "
                "event_id = coalesce($4, event_id) WHERE use_id = $1",
                [(use_id, *where) for use_id, where in self.redeemed.items()],
            )
        await _move(connection, self.moves)
        await _write_outcomes(connection, self.outcomes)


async def _open_book(connection: Any, claims: Sequence[Claim]) -> _Book:
    offer_ids = sorted({claim.offer_id for claim in claims})
    limits = await _limits(connection, offer_ids)
    await lock_offers(connection, limits)
    # One more statement, after the lock: it sees what the transactions before this one wrote.
    await _release_expired(connection, list(limits))
    held = await connection.fetch(
        "SELECT offer_id, store_id, uses, cost FROM held WHERE offer_id = ANY($1::text[])",
        offer_ids,
    )
    arms = await connection.fetch(
        "SELECT offer_id, arm, uses, cost FROM held_by_arm WHERE offer_id = ANY($1::text[])",
        [claim.offer_id for claim in claims if claim.arm is not None],
    )
    used = await connection.fetch(
        "SELECT customer_id, offer_id, count(*) AS used FROM uses "
        "WHERE state IN ('reserved', 'redeemed') AND customer_id = ANY($1::text[]) "
        "GROUP BY customer_id, offer_id",
        [claim.customer_id for claim in claims],
    )
    book = _Book(
        limits,
        now=await connection.fetchval("SELECT now()"),
        held=_gather(held, arms),
        by_customer={(row["customer_id"], row["offer_id"]): row["used"] for row in used},
    )
    redeeming = [claim for claim in claims if claim.redeem]
    named = [claim.activation_id for claim in redeeming if claim.activation_id is not None]
    hers = [(c.customer_id, c.offer_id) for c in redeeming if c.activation_id is None]
    if redeeming:
        book.know(await _uses(connection, named, hers))
    return book


async def _uses(
    connection: Any, use_ids: Sequence[str], hers: Sequence[tuple[str, str]]
) -> Sequence[Any]:
    """Return uses, and the reservations of customers and offers, the newest first."""
    return await connection.fetch(
        "SELECT * FROM uses WHERE use_id = ANY($1::text[]) OR state = 'reserved' "
        "AND customer_id = ANY($2::text[]) AND offer_id = ANY($3::text[]) "
        "ORDER BY made_at DESC, use_id",
        use_ids,
        [customer_id for customer_id, _ in hers],
        list({offer_id for _, offer_id in hers}),
    )


async def _limits(connection: Any, offer_ids: Iterable[str]) -> dict[str, Limits]:
    rows = await connection.fetch(
        "SELECT offer_id, document FROM offers WHERE offer_id = ANY($1::text[])", list(offer_ids)
    )
    return {row["offer_id"]: read_limits(json.loads(row["document"])) for row in rows}


async def _release_expired(connection: Any, offer_ids: Sequence[str]) -> int:
    rows = await connection.fetch(
        "UPDATE uses SET state = 'released', changed_at = now() WHERE state = 'reserved' "
        "AND expires_at <= now() AND offer_id = ANY($1::text[]) "
        "RETURNING offer_id, store_id, cost, arm",
        offer_ids,
    )
    moves = [(r["offer_id"], r["store_id"], -1, -r["cost"], r["arm"]) for r in rows]
    await _move(connection, moves)
    return len(rows)


async def _move(connection: Any, moves: Sequence[_Move]) -> None:
    total: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    arms: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for offer_id, store_id, uses, cost, arm in moves:
        counted = [total[offer_id, place] for place in {"", store_id or ""}]
        if arm is not None:
            counted.append(arms[offer_id, arm])
        for sums in counted:
            sums[0] += uses
            sums[1] += cost
    for statement, sums_by_key in ((_ADD_HELD, total), (_ADD_HELD_BY_ARM, arms)):
        if sums_by_key:
            await connection.execute(
                statement,
                [offer_id for offer_id, _ in sums_by_key],
                [place for _, place in sums_by_key],
                [uses for uses, _ in sums_by_key.values()],
                [cost for _, cost in sums_by_key.values()],
            )


async def _write_outcomes(connection: Any, outcomes: Sequence[Outcome]) -> None:
    if outcomes:
        await connection.executemany(
            "INSERT INTO outcomes (event_id, customer_id, at, kind, offer_id, event, digest) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                (
                    o.event_id,
                    o.customer_id,
                    o.at,
                    o.kind,
                    o.offer_id,
                    encode(o).decode(),
                    digest(o),
                )
                for o in outcomes
            ],
        )


async def _replayed(connection: Any, claims: Sequence[Claim]) -> dict[str, tuple[bytes, Claimed]]:
    """Take the names of new requests, and return what old ones asked and were answered."""
    asked = {claim.replay: digest(_asked(claim)) for claim in claims if claim.replay is not None}
    known = await take_names(connection, asked)
    return {
        name: (before, msgspec.json.decode(answer or "", type=Claimed))
        for name, (before, answer) in known.items()
    }


def _answer(
    claim: Claim,
    known: dict[str, tuple[bytes, Claimed]],
    fresh: dict[str, Claim],
    answers: dict[str, Claimed],
) -> Claimed | None:
    if claim.replay is None:
        return answers[claim.use_id]
    if claim.replay in known:
        before, answer = known[claim.replay]
    else:
        before, answer = digest(_asked(fresh[claim.replay])), answers[claim.replay]
    return answer if before == digest(_asked(claim)) else None


def _asked(claim: Claim) -> Claim:
    """Return a claim without what the service adds anew each time it is asked."""
    return msgspec.structs.replace(
        claim,
        use_id="",
        inapplicable=None,
        used_before=0,
        lasts_seconds=0,
        valid_to=None,
        arm=None,
        replay=None,
    )


def _gather(rows: Iterable[Any], arms: Iterable[Any]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for row in rows:
        held = found.setdefault(row["offer_id"], Held())
        if row["store_id"]:
            held.by_store[row["store_id"]] = row["uses"]
        else:
            held.uses, held.cost = row["uses"], row["cost"]
    for row in arms:
        held = found.setdefault(row["offer_id"], Held())
        held.by_arm[row["arm"]] = Held(row["uses"], row["cost"])
    return found


def _outcome(row: Any, event_id: str, kind: Any, at: datetime) -> Outcome:
    return Outcome(
        event_id=event_id,
        customer_id=row["customer_id"],
        at=at,
        channel=row["channel"],
        kind=kind,
        offer_id=row["offer_id"],
        decision_id=row["decision_id"],
        order_id=row["order_id"],
        store_id=row["store_id"],
    )

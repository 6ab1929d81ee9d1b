"""What ContactCounter, Customers and Batches promise, asked of PostgreSQL with a real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_contacts import KEPT, PostgresContacts
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from adapters.postgres_uses import PostgresUses
from adapters.traces import BYTES_A_LOOK, traces_of
from foundation.consent import ConsentAnswer
from foundation.contact_policy import Caps, Contact, ContactPolicy, Decided, Written
from foundation.decision import (
    Assignment,
    BasketLine,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Shown,
    Slate,
    Versions,
)
from foundation.errors import KeyReused, UnreadableRecord
from foundation.outcome import Outcome
from foundation.packed_decision import packed
from foundation.pseudonym import PREFIX
from foundation.replay import Answered, Replay
from foundation.uses import Claim
from tests.kept_decisions import records_in

# Live state remembers by the database's clock.
AT = datetime.now(UTC).replace(microsecond=0)
UTC_ZONE = ZoneInfo("UTC")
POLICY = ContactPolicy(in_all=Caps(day=None, week=3), quiet_from=0, quiet_to=0)


@dataclass(frozen=True)
class Store:
    """A database, and every part that shares its rows."""

    url: str
    journal: PostgresJournal
    contacts: PostgresContacts
    customers: PostgresCustomers
    batches: PostgresBatches
    uses: PostgresUses

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("contacts") / "pg") as running:
        PostgresAdmin(running.url).close()
        yield running


@pytest.fixture
def url(server: EmbeddedPostgres) -> Iterator[str]:
    yield server.url
    with psycopg.connect(server.url) as connection:
        connection.execute(
            "TRUNCATE offers, decisions, outcomes, uses, held, replays, consents, consent_history, "
            "contacts, erasures, batches, batch_decisions"
        )


def tell_story(url: str, story: Callable[[Store], Awaitable[None]]) -> None:
    async def told() -> None:
        pool = PostgresPool(url)
        try:
            await story(opened(url, pool))
        finally:
            await pool.close()

    asyncio.run(told())


def opened(url: str, pool: PostgresPool) -> Store:
    return Store(
        url,
        PostgresJournal(pool),
        PostgresContacts(pool, POLICY),
        PostgresCustomers(pool),
        PostgresBatches(pool),
        PostgresUses(pool),
    )


def test_contacts_no_cap_counts_are_forgotten_and_younger_ones_stay(url: str) -> None:
    async def story(store: Store) -> None:
        now = datetime.now(UTC)
        await store.customers.answer([answer("c-1", granted=True), answer("c-2", granted=True)])
        await store.contacts.record(
            [
                decision("old", "c-1", at=now - KEPT - timedelta(hours=1)),
                decision("young", "c-2", at=now - KEPT + timedelta(hours=1)),
            ]
        )
        assert await store.contacts.forget() == 1
        assert await store.contacts.forget() == 0
        assert store.rows("SELECT contact_id FROM contacts") == [("young",)]
        assert store.rows("SELECT count(*) FROM decisions") == [(2,)]

    tell_story(url, story)


def answer(
    customer_id: str, granted: bool, at: datetime | None = AT, channel: str = "email"
) -> Any:
    return ConsentAnswer(customer_id, channel, granted, at, "key 1", "app")


def decision(
    decision_id: str,
    customer_id: str = "c-1",
    channel: str = "email",
    at: datetime = AT,
    offers: tuple[str, ...] = ("o-1",),
) -> Decided:
    record = DecisionRecord(
        decision_id=decision_id,
        customer_id=customer_id,
        at=at,
        channel=channel,
        placements=[Placement("hero", 1)],
        context=Context("s-1", [BasketLine("p-secret", 1, 450)]),
        known=True,
        vector=[1.0, None],
        assignments=[Assignment("x", "on", customer_id), Assignment("y", "off", "h-1")],
        policy=Policy("popular"),
        scores={"o-1": 0.25},
        refusals={},
        slates=[Slate("hero", [Shown(o, 1, 0.25, 1.0) for o in offers], 1.0, fallback=False)],
        seed=7,
        propensity_valid=True,
        causes=[],
        versions=Versions(1, None, None),
        affinity=b"1234",
    )
    return Decided(record, UTC_ZONE)


def named(decision_id: str, name: str, asked: bytes) -> Decided:
    one = decision(decision_id)
    return replace(one, answered=Answered(Replay(name, asked), one.record, f'"{decision_id}"'))


def sent(event_id: str, **changed: Any) -> Outcome:
    told: dict[str, Any] = {"customer_id": "c-1", "at": AT, "channel": "email", "kind": "sent"}
    return Outcome(event_id, **(told | changed))


class TestContacts:
    def test_are_decisions_that_show_an_offer_in_an_outbound_channel(self, url: str) -> None:
        async def story(store: Store) -> None:
            await store.customers.answer([answer("c-1", True)])
            told = [
                decision("d-1"),
                decision("d-2", channel="app"),
                decision("d-3", offers=()),
                decision("d-4", customer_id="c-2", channel="app"),
            ]
            assert await store.contacts.record(told) == [Written(kept=True)] * 4
            [hers] = await store.journal.live_states(["c-1"], contacts=True)
            assert hers.contacts == (Contact("email", AT),)
            assert hers.consents == {"email": True}
            # Who is asked for where she comes to us has no contacts to be read.
            assert (await store.journal.live_states(["c-1"]))[0].contacts == ()
            assert len(store.rows("SELECT FROM decisions")) == 4

        tell_story(url, story)

    def test_told_as_sent_count_once_with_their_decision(self, url: str) -> None:
        async def story(store: Store) -> None:
            await store.customers.answer([answer("c-1", True)])
            await store.contacts.record([decision("d-1")])
            survey = sent("e-2", channel="push", touchpoint="survey")
            await store.journal.tell([sent("e-1", decision_id="d-1"), survey])
            await store.journal.tell([survey, sent("e-3", kind="view")])
            [hers] = await store.journal.live_states(["c-1"], contacts=True)
            assert sorted(one.channel for one in hers.contacts) == ["email", "push"]

        tell_story(url, story)

    def test_told_as_sent_under_a_decision_for_another_channel_are_one_each(self, url: str) -> None:
        async def story(store: Store) -> None:
            seen = decision("d-app", channel="app")
            await store.journal.record([packed(seen.record)])
            told = [
                sent(f"e-{n}", decision_id="d-app", at=AT - timedelta(days=n), channel=channel)
                for n, channel in enumerate(("email", "push", "email", "push"))
            ]
            await store.journal.tell(told)
            await store.journal.tell(told)
            [hers] = await store.journal.live_states(["c-1"], contacts=True)
            assert sorted(one.channel for one in hers.contacts) == ["email"] * 2 + ["push"] * 2

        tell_story(url, story)

    def test_past_a_cap_or_without_consent_are_not_written(self, url: str) -> None:
        async def story(store: Store) -> None:
            await store.customers.answer([answer("c-1", True), answer("c-2", False)])
            many = [decision(f"d-{n}", at=AT - timedelta(hours=5 - n)) for n in range(5)]
            others = [decision("d-no", "c-2"), decision("d-never", "c-3")]
            # Source: three a week, by the order in which they are decided.
            written = await store.contacts.record([*many, *others])
            assert [one.kept for one in written] == [True] * 3 + [False] * 4
            assert store.rows("SELECT decision_id FROM decisions ORDER BY 1") == [
                ("d-0",),
                ("d-1",),
                ("d-2",),
            ]

        tell_story(url, story)

    def test_of_a_named_request_are_counted_once_and_a_refused_name_stays_free(
        self, url: str
    ) -> None:
        async def story(store: Store) -> None:
            await store.customers.answer([answer("c-1", True)])
            one, same = named("d-1", "n", b"1"), named("d-2", "n", b"1")
            other = named("d-3", "n", b"2")
            assert await store.contacts.record([one, same, other]) == [
                Written(True, '"d-1"'),
                Written(True, '"d-1"'),
                Written(True, None),
            ]
            assert await store.contacts.record([same, other]) == [
                Written(True, '"d-1"'),
                Written(True, None),
            ]
            assert store.rows("SELECT contact_id FROM contacts") == [("d-1",)]
            assert store.rows("SELECT decision_id FROM decisions") == [("d-1",)]
            await store.customers.answer([answer("c-1", False, AT + timedelta(seconds=1))])
            assert await store.contacts.record([named("d-4", "m", b"1")]) == [Written(False)]
            assert store.rows("SELECT replay FROM replays") == [("n",)]

        tell_story(url, story)

    def test_of_many_who_decide_at_once_never_pass_a_cap(self, url: str) -> None:
        # Every block holds the same customers, in another order: locks are taken in one.
        async def story(store: Store) -> None:
            names = [f"c-{n}" for n in range(20)]
            await store.customers.answer([answer(one, True) for one in names])
            pools = [PostgresPool(url) for _ in range(3)]
            stores = [opened(url, pool) for pool in pools]
            blocks = [
                stores[n % 3].contacts.record(
                    [decision(f"d-{n}-{one}", one) for one in (names if n % 2 else reversed(names))]
                )
                for n in range(12)
            ]
            written = await asyncio.gather(*blocks)
            assert sum(one.kept for block in written for one in block) == 20 * 3
            counts = store.rows("SELECT count(*) FROM contacts GROUP BY customer_id")
            assert counts == [(3,)] * 20
            assert len(store.rows("SELECT FROM decisions")) == 60
            for pool in pools:
                await pool.close()

        tell_story(url, story)


class TestConsents:
    def test_hold_from_the_newest_answer_whenever_it_was_told(self, url: str) -> None:
        async def story(store: Store) -> None:
            later, last = AT + timedelta(seconds=1), AT + timedelta(seconds=2)
            await store.customers.answer([answer("c-1", True, later)])
            await store.customers.answer([answer("c-1", False, AT)])
            [hers] = await store.journal.live_states(["c-1"])
            assert hers.consents == {"email": True}
            # Told twice, as the night does, it stays one entry.
            await store.customers.answer([answer("c-1", True, later)])
            await store.customers.answer([answer("c-1", True, last), answer("c-1", False, AT)])
            history = (await store.customers.known("c-1"))["consent_history"]
            assert [(row["granted"], row["who"], row["source"]) for row in history] == [
                (True, "key 1", "app")
            ] * 2

        tell_story(url, story)

    def test_given_now_hold_whatever_clock_dated_the_one_before(self, url: str) -> None:
        async def story(store: Store) -> None:
            ahead = AT + timedelta(hours=1)
            await store.customers.answer([answer("c-1", True, ahead)])
            await store.customers.answer([answer("c-1", False, None)])
            [hers] = await store.journal.live_states(["c-1"])
            assert hers.consents == {"email": False}
            rows = store.rows("SELECT granted, at FROM consent_history ORDER BY entry")
            assert [granted for granted, _ in rows] == [True, False]
            assert rows[1][1] == ahead + timedelta(microseconds=1)
            assert store.rows("SELECT at FROM consents") == [(rows[1][1],)]
            # Of a batch, too, and by the store's own clock where nothing stands in the way.
            both = [answer("c-2", True, None), answer("c-2", False, AT - timedelta(days=1))]
            await store.customers.answer(both)
            [(granted, at)] = store.rows(
                "SELECT granted, at FROM consents WHERE customer_id = 'c-2'"
            )
            assert granted
            assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)

        tell_story(url, story)

    def test_of_many_at_once_do_not_wait_in_a_circle(self, url: str) -> None:
        async def story(store: Store) -> None:
            names = [f"c-{n}" for n in range(50)]
            await asyncio.gather(
                *(
                    store.customers.answer(
                        [
                            answer(one, bool(n % 2), AT + timedelta(seconds=n))
                            for one in (names if n % 2 else reversed(names))
                        ]
                    )
                    for n in range(9)
                )
            )
            states = await store.journal.live_states(names)
            assert [one.consents for one in states] == [{"email": False}] * 50

        tell_story(url, story)

    def test_under_a_name_are_taken_once(self, url: str) -> None:
        later = AT + timedelta(seconds=1)

        async def story(store: Store) -> None:
            def told(granted: bool, name: str) -> Awaitable[dict[str, bool]]:
                given = [answer("c-1", granted, AT if granted else later)]
                return store.customers.consent("c-1", given, Replay(name, b"%d" % granted))

            assert await told(True, "n") == {"email": True}
            assert await told(False, "m") == {"email": False}
            # What was withdrawn since stays so; the till hears what it would have heard.
            assert await told(True, "n") == {"email": True}
            [state] = await store.journal.live_states(["c-1"])
            assert state.consents == {"email": False}
            with pytest.raises(KeyReused):
                await told(False, "n")
            # What is refused as too old is answered by what holds.
            assert await told(True, "o") == {"email": False}

        tell_story(url, story)


class TestErasure:
    def test_leaves_counts_and_nothing_of_her(self, url: str, tmp_path: Path) -> None:
        her, other = "ana-b@example", "c-2"

        async def story(store: Store) -> None:
            await store.customers.answer([answer(her, True), answer(other, True)])
            with psycopg.connect(url) as connection:
                document = {"offer_id": "o-1", "cost": 100, "total_cap": 5}
                connection.execute(
                    "INSERT INTO offers VALUES ('o-1', %s::jsonb, 0.1)", [json.dumps(document)]
                )
            await store.contacts.record([decision("d-1", her), decision("d-2", other)])
            claims = [
                Claim(f"u-{who}", who, "o-1", "app", redeem=True, replay=f"r-{who}")
                for who in (her, other)
            ]
            await store.uses.claim(claims)
            words = sent("e-1", customer_id=her, kind="survey", value=9.0, text="I am Ana")
            await store.journal.tell([words])
            held = await store.uses.held()

            assert traces_of(*places(her, url, tmp_path)).found
            rows = await store.customers.erase(her, "key 7 (privacy)")

            assert rows == {
                "consents": 1,
                "consent_history": 1,
                "contacts": 1,
                "decisions": 1,
                "outcomes": 2,
                "uses": 1,
            }
            assert await store.customers.erased() == {her}
            assert await store.customers.known(her) == {}
            assert await store.uses.held() == held
            [(name,)] = store.rows("SELECT customer_id FROM decisions WHERE decision_id = 'd-1'")
            assert name.startswith(PREFIX)
            left, kept = records_in(store.url)["d-1"], decision("d-1", name).record
            assert left == msgspec.structs.replace(
                kept, context=Context("s-1"), known=False, vector=None, affinity=None
            )
            told = store.rows("SELECT DISTINCT customer_id FROM outcomes UNION SELECT customer_id "
                              "FROM uses WHERE use_id <> 'u-c-2' ORDER BY 1")  # fmt: skip
            assert set(told) == {(name,), (other,)}
            # She may be a new customer from now on; the same event told again is still the same.
            assert await store.journal.tell([words]) == 0
            # What is told of her later goes under the same name.
            await store.journal.tell([msgspec.structs.replace(words, event_id="e-9")])
            assert await store.customers.erase(her, "key 7 (privacy)") == {"outcomes": 1}
            assert store.rows("SELECT customer_id FROM outcomes WHERE event_id = 'e-9'") == [
                (name,)
            ]
            log = store.rows("SELECT who, action, subject, after FROM audit_log ORDER BY entry")
            assert log == [
                ("key 7 (privacy)", "erase", f"customer {name}", rows),
                ("key 7 (privacy)", "erase", f"customer {name}", {"outcomes": 1}),
            ]
            # Until the night only the erasure itself names her.
            told = traces_of(*places(her, url, tmp_path))
            assert told.found == ["table erasures: 1"]
            await store.customers.forgotten([her])
            assert not traces_of(*places(her, url, tmp_path)).found
            assert (await store.customers.known(other)).keys() == {
                "consents", "consent_history", "contacts", "decisions", "outcomes", "uses",
            }  # fmt: skip

        tell_story(url, story)

    def test_takes_her_out_of_the_ids_that_quote_her(self, url: str, tmp_path: Path) -> None:
        her, other = "ana-b@example", "c-2"

        def told(event_id: str, who: str, **more: Any) -> Outcome:
            return sent(event_id, customer_id=who, kind="view", decision_id=None, **more)

        async def story(store: Store) -> None:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "INSERT INTO offers VALUES ('o-1', %s::jsonb, 0.1)",
                    [json.dumps({"offer_id": "o-1", "cost": 100, "total_cap": 5})],
                )
            quoting = told(f"visit/{her}:1", her, order_id=f"till_{her}")
            redeemed = msgspec.structs.replace(
                told(f"{her}/redeems", her, order_id=f"till_{her}"), kind="redeem", offer_id="o-1"
            )
            await store.journal.tell([quoting, redeemed, told(f"visit/{her}2", other)])
            found = traces_of(*places(her, url, tmp_path)).found
            assert {"table outcomes: 2", "table uses: 1"} <= set(found)
            await store.customers.erase(her, "desk")
            # Told again, it is somebody's who is new, and is forgotten with the rest by night.
            assert await store.journal.tell([quoting]) == 1
            await store.customers.erase(her, "desk")
            await store.customers.forgotten([her])
            assert not traces_of(*places(her, url, tmp_path)).found
            events = dict(store.rows("SELECT event_id, event ->> 'event_id' FROM outcomes"))
            assert events.keys() == set(events.values())
            [(name,)] = store.rows("SELECT DISTINCT customer_id FROM uses")
            assert events.keys() == {f"visit/{name}:1", f"{name}/redeems", f"visit/{her}2"}
            # What belongs together still does.
            assert store.rows(
                "SELECT count(*) FROM uses JOIN outcomes ON outcomes.event_id IN "
                "(uses.use_id, uses.event_id) WHERE uses.order_id = event ->> 'order_id'"
            ) == [(1,)]

        tell_story(url, story)

    def test_is_answered_again_as_it_was_and_done_once(self, url: str, tmp_path: Path) -> None:
        her = "ana-b@example"

        async def story(store: Store) -> None:
            await store.customers.answer([answer(her, True)])
            await store.contacts.record([decision("d-1", her)])
            told = await store.customers.erase(her, "desk", Replay("n", b"erase"))
            entries = store.rows("SELECT count(*) FROM audit_log")
            # Who came back is not erased by a repetition, and what is kept of it names nobody.
            await store.customers.answer([answer(her, True)])
            assert await store.customers.erase(her, "desk", Replay("n", b"erase")) == told
            assert (await store.customers.known(her)).keys() == {"consents", "consent_history"}
            assert store.rows("SELECT count(*) FROM audit_log") == entries
            with pytest.raises(KeyReused):
                await store.customers.erase(her, "desk", Replay("n", b"another"))
            # Also after the next erasure, which forgets answers that name her.
            await store.customers.erase(her, "desk", Replay("m", b"erase"))
            assert await store.customers.erase(her, "desk", Replay("n", b"erase")) == told
            await store.customers.forgotten([her])
            assert not traces_of(*places(her, url, tmp_path)).found
            assert store.rows("SELECT replay FROM replays ORDER BY 1") == [("m",), ("n",)]

        tell_story(url, story)

    def test_is_not_undone_by_a_repeated_consent(self, url: str) -> None:
        async def story(store: Store) -> None:
            def told() -> Awaitable[dict[str, bool]]:
                return store.customers.consent("c-1", [answer("c-1", True)], Replay("n", b"yes"))

            assert await told() == {"email": True}
            await store.customers.erase("c-1", "desk")
            assert await told() == {"email": True}
            assert await store.customers.known("c-1") == {}

        tell_story(url, story)


def places(customer_id: str, url: str, folder: Path) -> tuple[str, str, Path, Path, Path, Path]:
    return customer_id, url, folder / "lake", folder / "snapshots", folder, folder / "pg"


class TestTraces:
    def test_the_same_digits_in_what_is_counted_and_numbered_are_nobody(
        self, url: str, tmp_path: Path
    ) -> None:
        async def story(store: Store) -> None:
            told = sent("e-1", customer_id="c-2", kind="view", decision_id=None)
            await store.journal.tell([told])
            with psycopg.connect(url) as connection:
                connection.execute("ALTER TABLE consent_history ALTER entry RESTART WITH 4711")
            await store.customers.answer([answer("c-2", True)])
            await store.contacts.record([decision("d-1", "c-2")])
            [(outcome,)] = store.rows("SELECT written_by::text FROM outcomes")
            [(made,)] = store.rows("SELECT written_by::text FROM decisions")
            [(entry,)] = store.rows("SELECT max(entry)::text FROM consent_history")
            for her in (outcome, made, entry):
                found = traces_of(*places(her, url, tmp_path))
                assert (found.found, found.coincidences) == ([], [])

        tell_story(url, story)

    def test_digits_that_name_another_thing_are_told_apart_from_her(
        self, url: str, tmp_path: Path
    ) -> None:
        her = "1029"

        async def story(store: Store) -> None:
            other = sent(her, customer_id="c-2", kind="view", decision_id=None)
            await store.journal.tell([other])
            found = traces_of(*places(her, url, tmp_path))
            assert (found.found, found.coincidences) == ([], ["table outcomes: 1"])
            await store.journal.tell(
                [msgspec.structs.replace(other, event_id="e", customer_id=her)]
            )
            found = traces_of(*places(her, url, tmp_path))
            assert (found.found, found.coincidences) == (["table outcomes: 1"],) * 2

        tell_story(url, story)

    def test_digits_in_a_named_field_of_a_file_are_her(self, url: str, tmp_path: Path) -> None:
        her = "1029"
        named = '{"event_id":"1029","customer_id":"2"}\n{"event_id":"7","customer_id":"1029"}\n'
        (tmp_path / "named.jsonl").write_text(named)
        (tmp_path / "among.json").write_text('{"members": ["2", "1029"]}')
        (tmp_path / "other.json").write_text('{"customer_id": "2", "offers": ["1029"]}')
        # Across the end of what is read at once.
        cut = " " * (BYTES_A_LOOK - 12) + '"customer_id": "1029"'
        (tmp_path / "long.json").write_text(cut)
        found = traces_of(*places(her, url, tmp_path))
        assert found.found == [
            f"{tmp_path / 'among.json'}: 1",
            f"{tmp_path / 'long.json'}: 1",
            f"{tmp_path / 'named.jsonl'}: 1",
        ]
        others = [f"{tmp_path / name}: 1" for name in ("named.jsonl", "other.json")]
        assert found.coincidences == others


class TestBatches:
    def test_are_resumed_until_they_are_finished(self, url: str) -> None:
        async def story(store: Store) -> None:
            first = await store.batches.begin("b-1", "email to all", AT)
            again = await store.batches.begin("b-2", "email to all", AT)
            other = await store.batches.begin("b-3", "push to all", AT)
            assert (first.batch_id, first.resumed) == ("b-1", False)
            assert (again.batch_id, again.resumed) == ("b-1", True)
            assert not other.resumed
            await store.batches.finish("b-1", AT)
            assert (await store.batches.begin("b-4", "email to all", AT)).batch_id == "b-4"

        tell_story(url, story)

    def test_decide_for_nobody_twice_and_tell_their_decisions_by_customer(self, url: str) -> None:
        async def story(store: Store) -> None:
            await store.batches.begin("b-1", "app to all", AT)
            names = ["c-B", "c-a", "c-b", "é"]
            made = [decision(f"d-{n}", one, "app") for n, one in enumerate(names)]
            await store.contacts.record(made[:2], "b-1")
            assert await store.batches.undecided("b-1", names) == ["c-b", "é"]
            with pytest.raises(asyncpg.UniqueViolationError):
                await store.contacts.record([made[2], decision("d-9", "c-a", "app")], "b-1")
            await store.contacts.record(made[2:], "b-1")
            pages = [await store.batches.records("b-1", after, 3) for after in ("", "c-b", "é")]
            assert [[one.customer_id for one in page] for page in pages] == [
                ["c-B", "c-a", "c-b"],
                ["é"],
                [],
            ]

        tell_story(url, story)

    def test_name_the_decision_that_cannot_be_read(self, url: str) -> None:
        async def story(store: Store) -> None:
            await store.batches.begin("b-1", "app to all", AT)
            made = [decision("d-1", "c-1", "app"), decision("d-2", "c-2", "app")]
            await store.contacts.record(made, "b-1")
            with psycopg.connect(store.url) as connection:
                connection.execute("UPDATE decisions SET packed = '{}' WHERE decision_id = 'd-2'")
            assert len(await store.batches.records("b-1", "", 1)) == 1
            with pytest.raises(UnreadableRecord, match="decision 'd-2' cannot be read"):
                await store.batches.records("b-1", "", 3)

        tell_story(url, story)

"""What Journal, CatalogueSource and KeyStore promise, asked of PostgreSQL with real servers.

Another adapter of these ports joins by another parameter of the fixture `store`.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import psycopg
import pytest

from adapters import postgres_pool
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from experiments.design import Experiment, Variant
from foundation.access import KeyFacts, hash_key
from foundation.decision import (
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Terms,
    Versions,
)
from foundation.errors import EventChanged, StoreUnavailable
from foundation.outcome import BoughtLine, Outcome
from foundation.packed_decision import packed
from foundation.profile import LiveState
from foundation.replay import KEPT_HOURS, Answered, Replay
from tests.kept_decisions import records_in

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Store:
    """One empty database: its address, and the jobs' side of it."""

    url: str
    admin: PostgresAdmin

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("journal") / "pg") as running:
        yield running


@pytest.fixture(params=["postgresql"])
def store(server: EmbeddedPostgres) -> Iterator[Store]:
    admin = PostgresAdmin(server.url)
    yield Store(server.url, admin)
    admin.close()
    # A database for each test would cost a second each to write to disk.
    with psycopg.connect(server.url) as connection:
        connection.execute(
            "TRUNCATE offers, experiments, api_keys, decisions, outcomes, uses, held, replays"
        )


@asynccontextmanager
async def journal_at(url: str) -> AsyncGenerator[PostgresJournal]:
    journal = PostgresJournal(PostgresPool(url))
    try:
        yield journal
    finally:
        await journal.close()


def tell_story(url: str, story: Callable[[PostgresJournal], Awaitable[None]]) -> None:
    async def told() -> None:
        async with journal_at(url) as journal:
            await story(journal)

    asyncio.run(told())


def outcome(event_id: str, **changed: Any) -> Outcome:
    return Outcome(
        **{
            "event_id": event_id,
            "customer_id": "c-1",
            "at": AT,
            "channel": "app",
            "kind": "view",
            **changed,
        }
    )


def redemption(event_id: str, customer_id: str, offer_id: str | None) -> Outcome:
    return outcome(event_id, customer_id=customer_id, kind="redeem", offer_id=offer_id)


def decision(decision_id: str, customer_id: str = "c-1") -> DecisionRecord:
    return DecisionRecord(
        decision_id=decision_id,
        customer_id=customer_id,
        at=AT,
        channel="app",
        placements=[Placement("checkout", 1)],
        context=Context(),
        known=False,
        vector=None,
        assignments=[],
        policy=Policy("popular"),
        scores={"o-1": 0.25},
        refusals={"o-2": "expired"},
        slates=[],
        seed=7,
        propensity_valid=False,
        causes=[],
        versions=Versions(1, None, None),
    )


def offer(offer_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "offer_id": offer_id,
        "title": f"Offer {offer_id}",
        "valid_from": "2026-01-01T00:00:00+00:00",
        "valid_to": "2027-01-01T00:00:00+00:00",
        "channels": ["app"],
        "placements": [],
        "stores": [],
        "eligibility": None,
        "customer_cap": 1,
        "priority": 0,
        "exclusive_group": None,
        "scope": ["p-1", "p-2"],
        "reward": 100.0,
        "min_spend": 0,
        "cost": 100,
        "campaign_kind": None,
        **changed,
    }


def design(key: str) -> Experiment:
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5)]
    return Experiment(key=key, salt=key, variants=variants, control="off")


class TestLiveState:
    def test_counts_each_customers_redemptions_by_offer_in_the_order_asked(
        self, store: Store
    ) -> None:
        async def story(journal: PostgresJournal) -> None:
            await journal.tell(
                [
                    redemption("e-1", "c-1", "o-1"),
                    redemption("e-2", "c-1", "o-1"),
                    redemption("e-3", "c-1", "o-2"),
                    redemption("e-4", "c-2", "o-1"),
                ]
            )
            states = await journal.live_states(["c-2", "c-nobody", "c-1", "c-2"])
            assert states == [
                LiveState({"o-1": 1}),
                LiveState({}),
                LiveState({"o-1": 2, "o-2": 1}),
                LiveState({"o-1": 1}),
            ]

        tell_story(store.url, story)

    def test_is_not_moved_by_other_outcomes_or_redemptions_of_no_offer(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            await journal.tell(
                [
                    outcome("e-1", offer_id="o-1"),
                    outcome("e-2", offer_id="o-1", kind="activate"),
                    redemption("e-3", "c-1", None),
                ]
            )
            assert await journal.live_states(["c-1"]) == [LiveState({})]

        tell_story(store.url, story)

    def test_of_nobody_is_an_empty_answer(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            assert await journal.live_states([]) == []

        tell_story(store.url, story)

    def test_knows_ids_by_their_very_characters(self, store: Store) -> None:
        # Composed and decomposed é are two ids, as are two cases; quotes are characters.
        ids = ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "o'hara\"; --", "🛒", " c", "c "]

        async def story(journal: PostgresJournal) -> None:
            await journal.tell([redemption(f"e-{i}", one, one) for i, one in enumerate(ids)])
            assert await journal.live_states(ids) == [LiveState({one: 1}) for one in ids]

        tell_story(store.url, story)

    def test_sees_a_redemption_as_soon_as_it_is_told_elsewhere(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            async with journal_at(store.url) as other:
                for n in range(1, 20):
                    await other.tell([redemption(f"e-{n}", "c-1", "o-1")])
                    assert await journal.live_states(["c-1"]) == [LiveState({"o-1": n})]

        tell_story(store.url, story)


class TestRecord:
    def test_keeps_every_field(self, store: Store) -> None:
        kept = decision("d-1")
        tell_story(store.url, lambda journal: journal.record([packed(kept)]))
        assert records_in(store.url) == {"d-1": kept}

    def test_of_many_is_one_transaction(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            await journal.record([packed(decision(f"d-{i}")) for i in range(200)])
            with pytest.raises(asyncpg.CharacterNotInRepertoireError):
                await journal.record([packed(decision("d-new")), packed(decision("d-\x00"))])

        tell_story(store.url, story)
        assert store.rows("SELECT count(*), count(DISTINCT written_by) FROM decisions") == [
            (200, 1)
        ]

    def test_is_on_disk_when_it_returns(self, tmp_path: Path) -> None:
        # Every process of the server is killed the moment the calls return.
        with EmbeddedPostgres(tmp_path / "pg") as own:
            PostgresAdmin(own.url).close()

            async def story(journal: PostgresJournal) -> None:
                for n in range(2):
                    await journal.record([packed(decision(f"d-{n}"))])
                    await journal.tell([outcome(f"e-{n}")])
                    kill_server(own)
                    await asyncio.to_thread(own.revive)

            tell_story(own.url, story)
            with psycopg.connect(own.url) as connection:
                decided = connection.execute("SELECT decision_id FROM decisions ORDER BY 1")
                assert [row[0] for row in decided] == [f"d-{n}" for n in range(2)]
                told = connection.execute("SELECT event_id FROM outcomes ORDER BY 1")
                assert [row[0] for row in told] == [f"e-{n}" for n in range(2)]


class TestTell:
    def test_counts_an_event_told_again_once(self, store: Store) -> None:
        events = [outcome("e-1"), outcome("e-2", kind="redeem", offer_id="o-1")]

        async def story(journal: PostgresJournal) -> None:
            assert await journal.tell(events) == 2
            assert await journal.tell(events) == 0
            assert await journal.tell([*events, outcome("e-3")]) == 1
            assert await journal.live_states(["c-1"]) == [LiveState({"o-1": 1})]

        tell_story(store.url, story)

    def test_takes_an_id_repeated_in_one_batch_once(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            assert await journal.tell([outcome("e-1"), outcome("e-2"), outcome("e-1")]) == 2

        tell_story(store.url, story)

    @pytest.mark.parametrize(
        "changed",
        [
            {"kind": "redeem"},
            {"at": AT + timedelta(microseconds=1)},
            {"customer_id": "c-2"},
            {"offer_id": "o-1"},
            {"value": 0.0},
            {"text": ""},
            {"lines": [BoughtLine("l-1", "p-1", 1, 4.5)]},
        ],
    )
    def test_refuses_an_event_that_changed_and_writes_nothing_of_its_batch(
        self, store: Store, changed: dict[str, Any]
    ) -> None:
        async def story(journal: PostgresJournal) -> None:
            await journal.tell([outcome("e-1")])
            with pytest.raises(EventChanged, match="'e-1'"):
                await journal.tell([outcome("e-0"), outcome("e-1", **changed), outcome("e-2")])

        tell_story(store.url, story)
        assert store.rows("SELECT event_id FROM outcomes") == [("e-1",)]

    def test_refuses_one_id_with_two_contents_in_one_batch(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            with pytest.raises(EventChanged, match="'e-1'"):
                await journal.tell([outcome("e-1"), outcome("e-1", kind="redeem")])

        tell_story(store.url, story)
        assert store.rows("SELECT count(*) FROM outcomes") == [(0,)]

    def test_knows_an_event_whose_time_is_written_in_another_zone(self, store: Store) -> None:
        # The same instant; a client that repeats itself may write it in another offset.
        elsewhere = msgspec.json.decode(
            msgspec.json.encode(outcome("e-1")).replace(
                b"2026-05-04T12:00:00Z", b"2026-05-04T14:00:00+02:00"
            ),
            type=Outcome,
        )
        assert elsewhere.at == AT

        async def story(journal: PostgresJournal) -> None:
            assert await journal.tell([outcome("e-1")]) == 1
            assert await journal.tell([elsewhere]) == 0

        tell_story(store.url, story)

    def test_of_overlapping_batches_at_once_never_deadlocks_and_counts_each_once(
        self, store: Store
    ) -> None:
        ids = [f"e-{i}" for i in range(150)]
        draw = random.Random(5)

        async def story(journal: PostgresJournal) -> None:
            async with journal_at(store.url) as other:
                batches = [draw.sample(ids, 60) for _ in range(60)]
                new = await asyncio.gather(
                    *(
                        writer.tell([outcome(event_id) for event_id in batch])
                        for batch, writer in zip(batches, [journal, other] * 30, strict=True)
                    )
                )
                assert sum(new) == len({event_id for batch in batches for event_id in batch})

        tell_story(store.url, story)
        [(deadlocks,)] = store.rows(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert deadlocks == 0

    def test_of_one_event_with_two_contents_at_once_takes_exactly_one(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            async with journal_at(store.url) as other:
                for n in range(30):
                    told = await asyncio.gather(
                        journal.tell([outcome(f"e-{n}")]),
                        other.tell([outcome(f"e-{n}", kind="redeem")]),
                        return_exceptions=True,
                    )
                    assert {type(one) for one in told} == {int, EventChanged}

        tell_story(store.url, story)


class TestRepeatedRequest:
    def test_is_decided_once_and_gets_the_first_answer(self, store: Store) -> None:
        def answered(name: str, asked: bytes, decision_id: str) -> Answered:
            return Answered(Replay(name, asked), decision(decision_id), f'"{decision_id}"')

        async def story(journal: PostgresJournal) -> None:
            first = [answered("a", b"x", "d-1"), answered("b", b"x", "d-2")]
            assert await journal.record_once(first) == ['"d-1"', '"d-2"']
            again = [
                answered("a", b"x", "d-3"),
                answered("b", b"other", "d-4"),
                answered("c", b"x", "d-5"),
                answered("c", b"x", "d-6"),
                answered("c", b"other", "d-7"),
            ]
            assert await journal.record_once(again) == ['"d-1"', None, '"d-5"', '"d-5"', None]
            assert await journal.record_once([]) == []

        tell_story(store.url, story)
        kept = store.rows("SELECT decision_id FROM decisions ORDER BY 1")
        assert kept == [("d-1",), ("d-2",), ("d-5",)]

    def test_at_once_is_decided_once(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            async with journal_at(store.url) as other:
                for n in range(20):
                    replay = Replay(f"name-{n}", b"x")
                    answers = await asyncio.gather(
                        *(
                            one.record_once([Answered(replay, decision(f"d-{n}-{k}"), f"{k}")])
                            for k, one in enumerate((journal, other))
                        )
                    )
                    assert answers[0] == answers[1]

        tell_story(store.url, story)
        assert store.rows("SELECT count(*) FROM decisions") == [(20,)]

    def test_of_outcomes_is_told_once(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            replay = Replay("batch", b"x")
            assert await journal.tell([outcome("e-1"), outcome("e-2")], replay) == 2
            assert await journal.tell([outcome("e-1"), outcome("e-2")], replay) == 2
            assert await journal.tell([outcome("e-3")], Replay("batch", b"other")) is None
            # What is refused takes no name.
            with pytest.raises(EventChanged):
                await journal.tell([outcome("e-1", kind="redeem")], Replay("bad", b"x"))
            assert await journal.tell([outcome("e-4")], Replay("bad", b"y")) == 1

        tell_story(store.url, story)
        assert store.rows("SELECT event_id FROM outcomes ORDER BY 1") == [
            ("e-1",),
            ("e-2",),
            ("e-4",),
        ]

    def test_is_forgotten_when_it_is_old(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            for name in ("old", "young"):
                await journal.tell([outcome(f"e-{name}")], Replay(name, b"x"))
            with psycopg.connect(store.url) as connection:
                connection.execute(
                    "UPDATE replays SET at = now() - make_interval(hours => %s, secs => %s) "
                    "WHERE replay = %s",
                    (KEPT_HOURS, 1, "old"),
                )
                connection.execute(
                    "UPDATE replays SET at = now() - make_interval(hours => %s, secs => %s) "
                    "WHERE replay = %s",
                    (KEPT_HOURS, -60, "young"),
                )
            assert await journal.forget_names() == 1
            assert await journal.forget_names() == 0

        tell_story(store.url, story)
        assert store.rows("SELECT replay FROM replays") == [("young",)]


class TestSecondCopy:
    def test_comes_back_whole_and_a_second_copy_changes_nothing(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            first = msgspec.structs.replace(decision("d-1"), terms={"o-1": Terms(3, "g", ["home"])})
            await journal.record([packed(first)])
            await journal.record([packed(decision("d-1", "c-9")), packed(decision("d-2"))])
            assert await journal.decision("d-1") == first
            assert await journal.decision("d-2") == decision("d-2")
            assert await journal.decision("d-3") is None

        tell_story(store.url, story)


class TestOutage:
    def test_is_told_as_unavailable_and_passes_when_the_server_is_back(
        self, tmp_path: Path
    ) -> None:
        own = EmbeddedPostgres(tmp_path / "pg")
        own.start()
        try:
            PostgresAdmin(own.url).close()

            async def story(journal: PostgresJournal) -> None:
                await journal.record([packed(decision("d-1"))])
                assert await journal.ready()
                await asyncio.to_thread(own.stop)
                for call in calls(journal):
                    with pytest.raises(StoreUnavailable, match="try again"):
                        await call()
                assert not await journal.ready()
                await asyncio.to_thread(own.start)
                for call in calls(journal):
                    await call()
                assert await journal.ready()

            tell_story(own.url, story)
        finally:
            own.stop()

    def test_that_hangs_ends_for_the_caller_and_leaves_no_connection_behind(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_pool, "PATIENCE_SECONDS", 0.5)

        async def story(journal: PostgresJournal) -> None:
            await asyncio.gather(*(journal.live_states([f"c-{i}"]) for i in range(30)))
            frozen = [psutil.Process(pid) for pid in backends(store)]
            for process in frozen:
                process.suspend()
            try:
                began = time.monotonic()
                ended = await asyncio.gather(
                    *(journal.live_states([f"c-{i}"]) for i in range(30)), return_exceptions=True
                )
                assert {type(one) for one in ended} == {StoreUnavailable}
                # Half a second for a connection and a query each, and as long to cancel it.
                assert time.monotonic() - began < 5
            finally:
                for process in frozen:
                    process.resume()
            await asyncio.gather(*(journal.live_states([f"c-{i}"]) for i in range(30)))

        tell_story(store.url, story)

    def test_of_an_address_where_nobody_listens_is_told_as_unavailable(self) -> None:
        async def story(journal: PostgresJournal) -> None:
            with pytest.raises(StoreUnavailable):
                await journal.keys()

        tell_story("postgresql://postgres@127.0.0.1:1/postgres", story)

    def test_is_not_what_a_value_that_the_database_cannot_hold_is(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            with pytest.raises(asyncpg.CharacterNotInRepertoireError):
                await journal.live_states(["c-\x00"])
            assert await journal.ready()

        tell_story(store.url, story)


class TestConnections:
    def test_given_up_in_the_middle_come_back_to_the_pool(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            draw = random.Random(3)
            for _ in range(15):
                tasks = [
                    asyncio.create_task(journal.tell([outcome(f"e-{draw.random()}")]))
                    for _ in range(30)
                ]
                await asyncio.sleep(draw.random() * 0.01)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            # All of them at once still work, and there are no more than allowed.
            await asyncio.gather(*(journal.live_states([f"c-{i}"]) for i in range(40)))
            assert len(backends(store)) <= 10

        tell_story(store.url, story)

    def test_keep_no_transaction_open(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            await journal.tell([outcome("e-1")])
            with pytest.raises(EventChanged):
                await journal.tell([outcome("e-1", kind="redeem")])
            await journal.read()
            states = store.rows(
                "SELECT DISTINCT state FROM pg_stat_activity WHERE application_name = %s",
                postgres_pool.APPLICATION,
            )
            assert states == [("idle",)]

        tell_story(store.url, story)

    def test_are_opened_again_after_a_close(self, store: Store) -> None:
        async def story(journal: PostgresJournal) -> None:
            assert await journal.ready()
            await journal.close()
            assert await journal.ready()

        tell_story(store.url, story)


class TestKeys:
    def test_are_known_by_hash_with_their_scopes_until_they_are_revoked(self, store: Store) -> None:
        till = store.admin.make_key("till 3", ("decide", "outcomes"))
        app = store.admin.make_key("app", ("decide",))
        first = min(key.number for key in store.admin.keys.all() if key.revoked_at is None)

        async def story(journal: PostgresJournal) -> None:
            assert await journal.keys() == {
                hash_key(till): KeyFacts(
                    "till 3", frozenset({"decide", "outcomes"}), first, hash_key(till).hex()
                ),
                hash_key(app): KeyFacts(
                    "app", frozenset({"decide"}), first + 1, hash_key(app).hex()
                ),
            }
            store.admin.revoke_key(till)
            assert list(await journal.keys()) == [hash_key(app)]

        tell_story(store.url, story)
        assert store.admin.has_keys()
        store.admin.revoke_key(app)
        assert not store.admin.has_keys()

    def test_are_nowhere_kept_in_the_clear(self, store: Store) -> None:
        key = store.admin.make_key("till", ("decide",))
        [(row,)] = store.rows("SELECT api_keys::text FROM api_keys")
        assert "till" in row
        assert key not in row
        assert key.encode().hex() not in row
        # Nor in the server's own log.
        folder = store.rows("SHOW data_directory")[0][0]
        assert key not in (Path(folder) / "log").read_text()


class TestCatalogue:
    def test_moves_with_every_change_and_only_then(self, store: Store) -> None:
        admin = store.admin

        async def story(journal: PostgresJournal) -> None:
            async def moved_by(change: Callable[[], object]) -> int:
                before = await journal.version()
                change()
                return await journal.version() - before

            two = [offer("o-1"), offer("o-2")]
            rates = {"o-1": 0.1, "o-2": 1 / 3}
            assert await moved_by(lambda: admin.publish_offers(two, rates)) == 1
            assert await moved_by(lambda: admin.publish_offers(two, rates)) == 0
            assert await moved_by(lambda: admin.publish_offers(two, {**rates, "o-2": 0.3})) == 1
            assert await moved_by(lambda: admin.publish_offers(two[:1], rates)) == 1
            assert await moved_by(lambda: admin.publish_offers([], {})) == 1
            assert await moved_by(lambda: admin.start_experiment(design("one"), AT)) == 1
            assert await moved_by(lambda: admin.stop_experiment("one", AT)) == 1
            assert await moved_by(admin.touch_catalogue) == 1
            assert await moved_by(lambda: admin.make_key("till", ("decide",))) == 0

        tell_story(store.url, story)

    def test_is_read_whole(self, store: Store) -> None:
        rule = {"feature": "recency_days", "is": "<", "value": 30}
        odd = offer("o-2", title='Käse "für" alle', customer_cap=None, eligibility=rule)
        store.admin.publish_offers([odd, offer("o-1")], {"o-1": 0.125, "o-2": 0.0})
        store.admin.start_experiment(design("over"), AT)
        store.admin.stop_experiment("over", AT)
        store.admin.start_experiment(design("runs"), AT)

        async def story(journal: PostgresJournal) -> None:
            version, offers, experiments, policy = await journal.read()
            assert version == await journal.version()
            assert [one.offer_id for one in offers] == ["o-1", "o-2"]
            first, second = offers
            assert (first.popularity, first.products, first.customer_cap) == (0.125, 2, 1)
            assert first.valid_to == datetime(2027, 1, 1, tzinfo=UTC)
            assert (second.title, second.customer_cap) == ('Käse "für" alle', None)
            assert second.eligibility == rule
            # A stopped experiment assigns nobody.
            assert experiments == [design("runs")]
            # Of the kept policies one serves by default, and moves the catalogue.
            assert policy is None
            store.admin.policies.put("other", {"kind": "random"}, AT)
            store.admin.policies.put("default", {"kind": "popular", "exploration": 0.2}, AT)
            assert (await journal.read())[3] == Policy("popular", 0.2)
            assert await journal.version() == version + 2

        tell_story(store.url, story)

    def test_is_never_seen_half_published(self, store: Store) -> None:
        # Each publication names the same rate for all its offers.
        ids = [f"o-{i}" for i in range(40)]

        def publish(n: int) -> None:
            store.admin.publish_offers([offer(i) for i in ids], dict.fromkeys(ids, n / 50))

        async def story(journal: PostgresJournal) -> None:
            publish(0)
            start = await journal.version()

            async def change() -> None:
                for n in range(1, 25):
                    await asyncio.to_thread(publish, n)

            changing = asyncio.create_task(change())
            seen = set[int]()
            while not changing.done():
                version, offers, _, _ = await journal.read()
                assert {one.popularity for one in offers} == {(version - start) / 50}
                assert len(offers) == len(ids)
                seen.add(version)
            await changing
            assert len(seen) > 1

        tell_story(store.url, story)

    def test_takes_publications_of_two_jobs_one_after_the_other(self, store: Store) -> None:
        async def story(_: PostgresJournal) -> None:
            def publish(n: int) -> bool:
                return store.admin.publish_offers([offer("o-1")], {"o-1": n / 10})

            published = await asyncio.gather(*(asyncio.to_thread(publish, n) for n in range(5)))
            assert all(published)

        tell_story(store.url, story)


def calls(journal: PostgresJournal) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: journal.live_states(["c-1"]),
        lambda: journal.record([packed(decision(f"d-{os.urandom(4).hex()}"))]),
        lambda: journal.tell([outcome("e-1")]),
        journal.version,
        journal.read,
        journal.keys,
    ]


def backends(store: Store) -> list[int]:
    """The processes of the server that serve the journal's connections."""
    return [
        pid
        for (pid,) in store.rows(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s",
            postgres_pool.APPLICATION,
        )
    ]


def kill_server(server: EmbeddedPostgres) -> None:
    postmaster = psutil.Process(int((server.folder / "postmaster.pid").read_text().split()[0]))
    for process in [postmaster, *postmaster.children(recursive=True)]:
        process.send_signal(signal.SIGKILL)

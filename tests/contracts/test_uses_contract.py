"""What the counter of uses promises, asked of PostgreSQL with a real server.

Another adapter of serving.uses.Uses joins by another parameter of the fixture `counter`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from adapters.postgres_uses import PostgresUses
from foundation.errors import KeyReused
from foundation.outcome import Outcome
from foundation.own_id import own_id
from foundation.profile import LiveState
from foundation.replay import Replay
from foundation.uses import Arm, Claim, Claimed, Ended, Held

HOUR = 3600

HELD = "SELECT offer_id, store_id, uses, cost FROM held WHERE uses <> 0 ORDER BY 1, 2"
SUMMED = """
    SELECT offer_id, store, count(*)::bigint, sum(cost)::bigint FROM (
        SELECT offer_id, '' AS store, cost FROM uses WHERE state IN ('reserved', 'redeemed')
        UNION ALL
        SELECT offer_id, store_id, cost FROM uses
        WHERE state IN ('reserved', 'redeemed') AND store_id IS NOT NULL
    ) AS every GROUP BY 1, 2 ORDER BY 1, 2
"""
HELD_BY_ARM = "SELECT offer_id, arm, uses, cost FROM held_by_arm WHERE uses <> 0 ORDER BY 1, 2"
SUMMED_BY_ARM = """
    SELECT offer_id, arm, count(*)::bigint, sum(cost)::bigint FROM uses
    WHERE state IN ('reserved', 'redeemed') AND arm IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Counter:
    """One empty database with offers of our own."""

    url: str
    admin: PostgresAdmin

    def offers(self, **limits: dict[str, Any]) -> None:
        documents = [
            {
                "offer_id": offer_id,
                "cost": 100,
                "total_cap": None,
                "customer_cap": None,
                "budget": None,
                "stock": None,
                "store_stock": None,
                **changed,
            }
            for offer_id, changed in limits.items()
        ]
        self.admin.publish_offers(documents, dict.fromkeys(limits, 0.5))

    def told(self, story: Callable[[PostgresUses, PostgresJournal], Awaitable[None]]) -> None:
        async def run() -> None:
            async with counting(self.url) as (uses, journal):
                await story(uses, journal)

        asyncio.run(run())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM uses GROUP BY state"))


@asynccontextmanager
async def counting(url: str) -> AsyncGenerator[tuple[PostgresUses, PostgresJournal]]:
    pool = PostgresPool(url)
    try:
        yield PostgresUses(pool), PostgresJournal(pool)
    finally:
        await pool.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("uses") / "pg") as running:
        yield running


@pytest.fixture(params=["postgresql"])
def counter(server: EmbeddedPostgres) -> Iterator[Counter]:
    admin = PostgresAdmin(server.url)
    counted = Counter(server.url, admin)
    yield counted
    admin.close()
    # Whatever a test did: what is held is what the uses themselves add up to, in every store.
    assert counted.rows(HELD) == counted.rows(SUMMED)
    assert counted.rows(HELD_BY_ARM) == counted.rows(SUMMED_BY_ARM)
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE offers, outcomes, uses, held, held_by_arm, replays")


def claim(use_id: str, offer_id: str = "o", **changed: Any) -> Claim:
    return Claim(
        **{
            "use_id": use_id,
            "customer_id": f"customer of {use_id}",
            "offer_id": offer_id,
            "channel": "app",
            "redeem": False,
            "lasts_seconds": HOUR,
            **changed,
        }
    )


def use(use_id: str, offer_id: str = "o", **changed: Any) -> Claim:
    return claim(use_id, offer_id, redeem=True, **changed)


def refusals(answers: list[Claimed | None]) -> list[str | None]:
    return [None if answer is None else answer.refused for answer in answers]


def redeemed(event_id: str, customer_id: str, offer_id: str = "o") -> Outcome:
    return Outcome(
        event_id=event_id,
        customer_id=customer_id,
        at=datetime.now(UTC),
        channel="till",
        kind="redeem",
        offer_id=offer_id,
    )


class TestLimits:
    def test_every_limit_refuses_with_a_reason_of_its_own(self, counter: Counter) -> None:
        counter.offers(
            cap={"total_cap": 1},
            budget={"budget": 250},
            stock={"stock": 0},
            hers={"customer_cap": 1},
            free={},
        )

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            answers = await uses.claim(
                [
                    *(use(f"cap-{i}", "cap") for i in range(2)),
                    *(use(f"budget-{i}", "budget") for i in range(3)),
                    use("stock", "stock"),
                    *(use(f"hers-{i}", "hers", customer_id="c") for i in range(2)),
                    use("hers-other", "hers", customer_id="d", used_before=1),
                    *(use(f"free-{i}", "free") for i in range(3)),
                    use("nothing", "no such offer"),
                ]
            )
            assert refusals(answers) == [
                *(None, "cap_reached"),
                # Two of them cost 200 of 250; a third would cost more than is left.
                *(None, None, "budget_spent"),
                "out_of_stock",
                *(None, "customer_cap_reached"),
                "customer_cap_reached",
                *(None, None, None),
                "unknown_offer",
            ]

        counter.told(story)

    def test_a_store_gives_only_its_own_pieces(self, counter: Counter) -> None:
        counter.offers(o={"store_stock": {"north": 1, "south": 2}})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            wanted = ["north", "north", "south", "south", "south", "elsewhere", None]
            answers = await uses.claim(
                [use(str(i), store_id=store_id) for i, store_id in enumerate(wanted)]
            )
            assert [refused is None for refused in refusals(answers)] == [
                *(True, False),
                *(True, True, False),
                *(False, False),
            ]
            assert (await uses.held())["o"].by_store == {"north": 1, "south": 2}

        counter.told(story)

    def test_those_who_claim_at_once_never_pass_a_cap(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 50})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            async with counting(counter.url) as (others, _):
                asked = [
                    store.claim([use(f"{lane}-{i}-{k}") for k in range(5)])
                    for i in range(20)
                    for lane, store in (("a", uses), ("b", others))
                ]
                answers = [one for batch in await asyncio.gather(*asked) for one in batch]
            assert sum(refused is None for refused in refusals(answers)) == 50
            assert set(refusals(answers)) == {None, "cap_reached"}

        counter.told(story)
        assert counter.states() == {"redeemed": 50}
        assert counter.rows("SELECT uses, cost FROM held") == [(50, 5000)]

    def test_transactions_over_several_offers_do_not_wait_in_a_circle(
        self, counter: Counter
    ) -> None:
        names = [f"o-{i}" for i in range(6)]
        counter.offers(**{name: {} for name in names})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            batches = [
                [use(f"{b}-{n}", n) for n in (names if b % 2 else reversed(names))]
                for b in range(30)
            ]
            told = [
                [redeemed(f"told-{b}-{n}", "c", n) for n in (names if b % 2 else reversed(names))]
                for b in range(30)
            ]
            await asyncio.gather(*map(uses.claim, batches), *map(journal.tell, told))

        counter.told(story)
        assert counter.states() == {"redeemed": 360}
        assert set(counter.rows("SELECT uses FROM held")) == {(60,)}


class TestReservations:
    def test_a_reserved_use_holds_its_place_until_it_is_cancelled(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            [kept] = await uses.claim([claim("kept")])
            assert kept is not None
            assert kept.expires_at is not None
            left = kept.expires_at - datetime.now(UTC)
            assert timedelta(minutes=59) < left <= timedelta(hours=1)
            assert refusals(await uses.claim([use("rival")])) == ["cap_reached"]
            assert await uses.cancel("kept") == Ended("released", changed=True)
            assert await uses.cancel("kept") == Ended("released", changed=False)
            assert refusals(await uses.claim([use("rival")])) == [None]

        counter.told(story)

    def test_one_that_is_over_gives_its_place_to_the_next_claim_at_once(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 1, "customer_cap": 1})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("kept", lasts_seconds=0, customer_id="c")])
            assert refusals(await uses.claim([use("next", customer_id="c")])) == [None]

        counter.told(story)
        assert counter.states() == {"released": 1, "redeemed": 1}

    def test_those_that_are_over_are_released_without_any_claim(self, counter: Counter) -> None:
        counter.offers(o={}, p={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("1", lasts_seconds=0), claim("2", "p", lasts_seconds=0)])
            await uses.claim([claim("3", "p")])
            assert await uses.release_expired() == 1
            assert await uses.release_expired() == 0
            assert {name: held.uses for name, held in (await uses.held()).items()} == {
                "o": 0,
                "p": 1,
            }

        counter.told(story)

    def test_one_never_outlasts_its_offer(self, counter: Counter) -> None:
        counter.offers(o={})
        ends = datetime.now(UTC) + timedelta(minutes=5)

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            [kept] = await uses.claim([claim("kept", valid_to=ends)])
            assert kept is not None
            assert kept.expires_at == ends

        counter.told(story)

    def test_a_redemption_commits_it_once_and_is_an_outcome(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c", decision_id="d-1")])
            assert await journal.live_states(["c"]) == [LiveState({}, frozenset({"o"}))]
            wanted = use("u-1", customer_id="c", activation_id="kept", order_id="order-1")
            assert await uses.claim([wanted]) == [Claimed("kept")]
            again = msgspec.structs.replace(wanted, use_id="u-2")
            assert refusals(await uses.claim([again])) == ["already_redeemed"]
            assert await journal.live_states(["c"]) == [LiveState({"o": 1})]

        counter.told(story)
        assert counter.states() == {"redeemed": 1}
        assert counter.rows(
            "SELECT event_id, kind, event ->> 'decision_id', event ->> 'order_id' FROM outcomes"
        ) == [(own_id("redeem", "kept"), "redeem", "d-1", "order-1")]

    def test_nobody_redeems_what_another_has_reserved(self, counter: Counter) -> None:
        counter.offers(o={}, p={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c")])
            answers = await uses.claim(
                [
                    use("1", customer_id="thief", activation_id="kept"),
                    use("2", "p", customer_id="c", activation_id="kept"),
                    use("3", customer_id="c", activation_id="never made"),
                ]
            )
            assert refusals(answers) == ["unknown_activation"] * 3

        counter.told(story)
        assert counter.states() == {"reserved": 1}

    def test_a_redemption_that_names_none_commits_her_oldest(self, counter: Counter) -> None:
        counter.offers(o={"customer_cap": 2})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("over", customer_id="c", lasts_seconds=0)])
            await uses.claim([claim("first", customer_id="c"), claim("another's")])
            await uses.claim([claim("second", customer_id="c")])
            # Also what would not be for her any more: it was kept for her.
            till = use("1", customer_id="c", inapplicable="expired")
            assert await uses.claim([till]) == [Claimed("first")]
            # Two in one transaction, of which one names what the other would have had.
            named = use("2", customer_id="c", activation_id="second")
            answers = await uses.claim([named, use("3", customer_id="c")])
            assert refusals(answers) == [None, "customer_cap_reached"]

        counter.told(story)
        assert counter.states() == {"released": 1, "redeemed": 2, "reserved": 1}

    def test_one_that_was_released_is_redeemed_as_itself_while_some_are_left(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c", arm=arm("a"), store_id="north")])
            await uses.cancel("kept")
            asked = use("1", customer_id="c", activation_id="kept", store_id="south")
            again = msgspec.structs.replace(asked, use_id="2")
            answers = await uses.claim([asked, again, use("rival")])
            assert refusals(answers) == [None, "already_redeemed", "cap_reached"]
            # However its app calls what happened: it is this use.
            assert await journal.tell([redeemed("kept", "c")]) == 0

        counter.told(story)
        assert counter.states() == {"redeemed": 1}
        assert counter.rows("SELECT count(*) FROM outcomes") == [(1,)]

    def test_a_piece_kept_in_one_store_is_not_taken_from_another(self, counter: Counter) -> None:
        counter.offers(o={"store_stock": {"north": 1, "south": 1}})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            hers = {"customer_id": "c", "activation_id": "kept"}
            await uses.claim([claim("kept", customer_id="c", store_id="north")])
            await uses.claim([use("south is empty", store_id="south")])
            asked = use("1", store_id="south", **hers)
            assert refusals(await uses.claim([asked])) == ["out_of_stock"]
            await uses.reverse("south is empty", "reversal")
            assert refusals(await uses.claim([asked])) == [None]
            assert (await uses.held())["o"].by_store == {"north": 0, "south": 1}

        counter.told(story)

    def test_one_redeemed_in_another_store_counts_there(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            for name, customer_id in (("1", "c"), ("2", "d")):
                await uses.claim([claim(name, customer_id=customer_id, store_id="north")])
            asked = use("3", customer_id="c", activation_id="1", store_id="south")
            assert refusals(await uses.claim([asked])) == [None]
            told = msgspec.structs.replace(redeemed("e-1", "d"), store_id="south")
            await journal.tell([told])
            assert (await uses.held())["o"].by_store == {"north": 0, "south": 2}
            await uses.reverse("1", "r")
            assert (await uses.held())["o"].by_store == {"north": 0, "south": 1}

        counter.told(story)

    def test_what_is_not_for_her_is_refused_unless_it_was_kept_for_her(
        self, counter: Counter
    ) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c")])
            await uses.claim([claim("over", customer_id="d", lasts_seconds=0)])
            answers = await uses.claim(
                [
                    use("1", customer_id="c", activation_id="kept", inapplicable="expired"),
                    use("2", customer_id="d", activation_id="over", inapplicable="expired"),
                    use("3", inapplicable="not_eligible"),
                ]
            )
            assert refusals(answers) == [None, "expired", "not_eligible"]

        counter.told(story)


class TestReversals:
    def test_a_return_gives_cap_stock_and_budget_back_once(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 1, "stock": 1, "budget": 100, "customer_cap": 1})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([use("u", customer_id="c")])
            assert refusals(await uses.claim([use("v", customer_id="c")])) == ["cap_reached"]
            assert await uses.reverse("u", "r") == Ended("reversed", changed=True)
            assert await uses.reverse("u", "r") == Ended("reversed", changed=False)
            assert await journal.live_states(["c"]) == [LiveState({})]
            assert refusals(await uses.claim([use("v", customer_id="c")])) == [None]

        counter.told(story)
        assert counter.rows("SELECT uses, cost FROM held") == [(1, 100)]
        assert set(counter.rows("SELECT event_id, kind FROM outcomes")) == {
            ("r", "reverse"),
            (own_id("redeem", "u"), "redeem"),
            (own_id("redeem", "v"), "redeem"),
        }

    def test_what_is_not_redeemed_cannot_be_reversed(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("kept"), use("used")])
            assert await uses.reverse("kept", "r") == Ended("reserved", changed=False)
            assert await uses.cancel("used") == Ended("redeemed", changed=False)
            assert await uses.cancel("nothing") == Ended(None, changed=False)

        counter.told(story)


class TestRepeatedEnds:
    """A cancel or a reverse under a name, as of a till that did not hear the answer."""

    def test_are_answered_as_before_and_change_nothing(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 2})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("kept"), use("used")])
            for _again in range(2):
                assert await uses.cancel("kept", named("a")) == Ended("released", changed=True)
                assert await uses.reverse("used", "r", named("b")) == Ended(
                    "reversed", changed=True
                )
            # Another request finds what the first one did.
            assert await uses.cancel("kept", named("c")) == Ended("released", changed=False)
            assert await uses.cancel("kept", named("c")) == Ended("released", changed=False)

        counter.told(story)
        assert counter.rows("SELECT kind FROM outcomes ORDER BY kind") == [
            ("redeem",),
            ("reverse",),
        ]

    def test_at_once_are_one(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([use("used")])
            told = await asyncio.gather(
                *(uses.reverse("used", "r", named("a")) for _again in range(8))
            )
            assert told == [Ended("reversed", changed=True)] * 8

        counter.told(story)

    def test_of_another_request_are_refused(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("one"), claim("two")])
            await uses.cancel("one", named("a"))
            with pytest.raises(KeyReused):
                await uses.cancel("two", Replay("a", b"another"))

        counter.told(story)
        assert counter.states() == {"released": 1, "reserved": 1}

    def test_that_did_nothing_may_come_again(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            assert await uses.reverse("u", "r", named("a")) == Ended(None, changed=False)
            await uses.claim([claim("u", customer_id="c")])
            assert await uses.reverse("u", "r", named("a")) == Ended("reserved", changed=False)
            await uses.claim([use("-", customer_id="c", activation_id="u")])
            assert await uses.reverse("u", "r", named("a")) == Ended("reversed", changed=True)

        counter.told(story)


def named(name: str) -> Replay:
    return Replay(name, b"asked")


class TestTold:
    def test_a_told_redemption_counts_under_the_cap_though_it_cannot_be_refused(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await journal.tell([redeemed("e-1", "c"), redeemed("e-2", "d")])
            assert (await uses.held())["o"].uses == 2
            assert refusals(await uses.claim([use("late")])) == ["cap_reached"]

        counter.told(story)

    def test_told_twice_counts_once(self, counter: Counter) -> None:
        counter.offers(o={})
        event = redeemed("e-1", "c")

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await journal.tell([event, event])
            await journal.tell([event])
            assert (await uses.held())["o"].uses == 1

        counter.told(story)

    def test_a_told_redemption_commits_what_she_had_activated(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c")])
            await journal.tell([redeemed("e-1", "c")])
            assert (await uses.held())["o"].uses == 1

        counter.told(story)
        assert counter.states() == {"redeemed": 1}


class TestIdsOfOurs:
    """An app calls what it tells by the ids it has: those of activations and redemptions."""

    def test_every_event_told_under_the_id_of_a_use_is_taken_and_the_use_counted_once(
        self, counter: Counter
    ) -> None:
        counter.offers(o={})
        viewed = Outcome("kept", "c", datetime.now(UTC), "app", "activate", offer_id="o")

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c")])
            assert await journal.tell([viewed]) == 1
            asked = use("1", customer_id="c", activation_id="kept")
            assert await uses.claim([asked]) == [Claimed("kept")]
            # The activation is told again, and the redemption by the same id.
            assert await journal.tell([viewed, redeemed("kept", "c")]) == 0
            assert await uses.claim([use("free", customer_id="c")]) == [Claimed("free")]
            assert await journal.tell([redeemed("free", "c"), redeemed("free", "c")]) == 0

        counter.told(story)
        assert counter.states() == {"redeemed": 2}
        assert counter.rows("SELECT kind, count(*) FROM outcomes GROUP BY 1 ORDER BY 1") == [
            ("activate", 1),
            ("redeem", 2),
        ]

    @pytest.mark.parametrize("released", [False, True])
    def test_a_redemption_told_before_it_is_claimed_is_that_of_its_activation(
        self, counter: Counter, released: bool
    ) -> None:
        counter.offers(o={"total_cap": 5})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            older = claim("older", customer_id="c")
            await uses.claim([older])
            await uses.claim([claim("kept", customer_id="c", decision_id="d-1", arm=arm("a"))])
            if released:
                await uses.cancel("kept")
            told = msgspec.structs.replace(redeemed("kept", "c"), store_id="north")
            activated = msgspec.structs.replace(told, kind="activate")
            # At another moment it is told once more, as something else for all the digest knows.
            again = msgspec.structs.replace(told, at=told.at + timedelta(seconds=1))
            assert await journal.tell([activated, told, again]) == 2
            assert await journal.tell([again]) == 0
            asked = use("1", customer_id="c", activation_id="kept")
            assert refusals(await uses.claim([asked])) == ["already_redeemed"]
            assert (await uses.held())["o"] == Held(
                2, 200, {"north": 1}, by_arm={"latte/a": Held(1, 100)}
            )

        counter.told(story)
        assert counter.states() == {"reserved": 1, "redeemed": 1}
        assert counter.rows(
            "SELECT event_id, event ->> 'decision_id' FROM outcomes WHERE kind = 'redeem'"
        ) == [(own_id("redeem", "kept"), "d-1")]

    def test_an_id_that_belongs_to_another_is_only_a_name(self, counter: Counter) -> None:
        counter.offers(o={}, p={})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c"), claim("gone", customer_id="c")])
            await uses.cancel("gone")
            told = [redeemed("kept", "d"), redeemed("gone", "c", "p")]
            assert await journal.tell(told) == 2
            assert await journal.tell(told) == 0
            asked = use("1", customer_id="c", activation_id="kept")
            assert await uses.claim([asked]) == [Claimed("kept")]

        counter.told(story)
        assert counter.states() == {"redeemed": 3, "released": 1}

    def test_what_was_only_told_is_given_back_by_the_id_it_was_told_under(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 2})

        async def story(uses: PostgresUses, journal: PostgresJournal) -> None:
            await uses.claim([claim("kept", customer_id="c")])
            await journal.tell([redeemed("e-1", "c"), redeemed("e-2", "d")])
            for event_id in ("e-1", "e-2"):
                for changed in (True, False):
                    ended = await uses.reverse(event_id, own_id("reverse", event_id))
                    assert ended == Ended("reversed", changed=changed)
            # Under the other of its names it is the same use.
            assert await uses.reverse("kept", "r") == Ended("reversed", changed=False)

        counter.told(story)
        assert counter.states() == {"reversed": 2}
        assert counter.rows("SELECT count(*) FROM outcomes WHERE kind = 'reverse'") == [(2,)]


class TestReplays:
    def test_a_repeated_request_gets_the_same_answer_and_does_nothing(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 1})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            first = use("1", customer_id="c", replay="again")
            refused = use("2", customer_id="d", replay="refused")
            answers = await uses.claim([first, refused])
            assert refusals(answers) == [None, "cap_reached"]
            await uses.reverse("1", "r")
            repeated = [msgspec.structs.replace(one, use_id="new") for one in (first, refused)]
            # Also where it is no longer for her: the answer to the first try may have been lost.
            repeated = [msgspec.structs.replace(o, inapplicable="expired") for o in repeated]
            # Also the refusal: what was answered stays answered, whatever is free by now.
            assert await uses.claim(repeated) == answers

        counter.told(story)

    def test_two_at_once_are_done_once(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            same = [use(str(i), customer_id="c", replay="again") for i in range(20)]
            answers = await asyncio.gather(*(uses.claim([one]) for one in same[:10]))
            together = await uses.claim(same[10:])
            assert len({one and one.use_id for one in [*(a for [a] in answers), *together]}) == 1

        counter.told(story)
        assert counter.states() == {"redeemed": 1}

    def test_another_request_of_the_same_name_is_not_done(self, counter: Counter) -> None:
        counter.offers(o={})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            mine, other = use("1", customer_id="c", replay="n"), use("2", replay="n")
            assert refusals(await uses.claim([mine])) == [None]
            assert await uses.claim([other]) == [None]
            fresh = [use("3", replay="m"), use("4", replay="m"), use("5")]
            answered = await uses.claim(fresh)
            assert [answer is None for answer in answered] == [False, True, False]

        counter.told(story)


def arm(name: str) -> Arm:
    return Arm(f"latte/{name}", {"latte/a": 0.5, "latte/b": 0.5})


class TestArms:
    def test_a_quick_arm_leaves_the_slow_one_its_part(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 10}, money={"budget": 1_000})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            for offer_id, reason in (("o", "cap_reached"), ("money", "budget_spent")):
                quick = await uses.claim(
                    [use(f"{offer_id}-a{n}", offer_id, arm=arm("a")) for n in range(8)]
                )
                assert refusals(quick) == [None] * 5 + [reason] * 3
                slow = await uses.claim(
                    [use(f"{offer_id}-b{n}", offer_id, arm=arm("b")) for n in range(8)]
                )
                assert refusals(slow) == [None] * 5 + [reason] * 3
            assert (await uses.held())["o"].by_arm == {
                "latte/a": Held(5, 500),
                "latte/b": Held(5, 500),
            }

        counter.told(story)

    def test_what_others_used_shortens_both_parts_alike(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 10})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([use(f"before-{n}") for n in range(4)])
            for name in ("a", "b"):
                answers = await uses.claim([use(f"{name}{n}", arm=arm(name)) for n in range(5)])
                assert refusals(answers) == [None] * 3 + ["cap_reached"] * 2

        counter.told(story)

    def test_what_is_given_back_is_the_same_arms_again(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 4})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            kept = [claim(f"a{n}", arm=arm("a"), store_id="s-1") for n in range(2)]
            assert refusals(await uses.claim(kept)) == [None, None]
            assert refusals(await uses.claim([use("a2", arm=arm("a"))])) == ["cap_reached"]
            await uses.cancel("a0")
            # Redeemed in another store than it was kept for, it is still hers of arm a.
            taken = use("x", customer_id="customer of a1", activation_id="a1", store_id="s-2")
            assert refusals(await uses.claim([taken])) == [None]
            assert refusals(await uses.claim([use("a3", arm=arm("a"))])) == [None]
            assert refusals(await uses.claim([use("a4", arm=arm("a"))])) == ["cap_reached"]
            await uses.reverse("a1", "e-1")
            assert refusals(await uses.claim([use("a5", arm=arm("a"))])) == [None]

        counter.told(story)

    def test_a_reservation_that_is_over_is_given_back_to_its_arm(self, counter: Counter) -> None:
        counter.offers(o={"total_cap": 2})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            await uses.claim([claim("a0", arm=arm("a"), lasts_seconds=0)])
            assert await uses.release_expired() == 1
            assert refusals(await uses.claim([use("a1", arm=arm("a"))])) == [None]

        counter.told(story)

    def test_a_repeated_request_is_the_same_whatever_arm_it_was_given(
        self, counter: Counter
    ) -> None:
        counter.offers(o={"total_cap": 2})

        async def story(uses: PostgresUses, _: PostgresJournal) -> None:
            first = await uses.claim([use("u-1", replay="k", arm=arm("a"), customer_id="c")])
            again = await uses.claim([use("u-2", replay="k", customer_id="c")])
            assert first == again

        counter.told(story)

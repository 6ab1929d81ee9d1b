"""Is a decision answered, and nothing lost or counted twice, whatever happens to its database?

Real servers, stopped and frozen, under a service in this process; see test_kill.py for killed
processes.
"""

import asyncio
import json
import resource
import shutil
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import uvicorn

from adapters.file_write_ahead import ROOM, FileWriteAhead
from adapters.last_refusals import LastKnownRefusals
from adapters.lmdb_profiles import POINTER
from foundation.clock import FixedClock
from foundation.decision import encode
from foundation.outcome import Outcome
from foundation.own_id import own_id
from foundation.packed_decision import PackedDecision, packed, unpacked
from foundation.spooled import Rejected
from regulars.wiring import quiet_logs
from serving import spooling
from serving.ahead import PAUSE_SECONDS
from serving.api import create_app
from serving.degraded import PLACE_CAUSES, REFUSALS_CAUSE, UNCOUNTED_CAUSE
from serving.ids import new_id
from serving.messages import RedemptionRequest
from serving.spooling import SPOOL_SECONDS
from tests.faults.shop import (
    CUSTOMERS,
    NO_ROOM,
    Shop,
    Till,
    event,
    many,
    offers_of,
    open_shop,
    publish,
    within,
)
from tests.kept_decisions import record_of, records_in

SPOOLED, UNRECORDED = PLACE_CAUSES["spool"], PLACE_CAUSES["nowhere"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
def shop(opened: Shop, tmp_path: Path) -> Shop:
    """The shop, with nothing spooled or remembered yet."""
    (tmp_path / "snapshots").symlink_to(opened.folder / "snapshots")
    return Shop(tmp_path, opened.server, opened.key)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), timeout=120))  # pyright: ignore[reportArgumentType]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk refuses more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestDatabase:
    @pytest.mark.parametrize("room", [ROOM, NO_ROOM])
    def test_that_is_stopped_leaves_decisions_without_scarce_offers_that_arrive_later(
        self, shop: Shop, room: int
    ) -> None:
        # Where write-ahead files have no room left they wait in the spool.
        waits_there = {UNCOUNTED_CAUSE} if room == ROOM else {UNCOUNTED_CAUSE, SPOOLED}
        guard = "live_state" if room == ROOM else "record"

        async def story() -> None:
            async with shop.till(room=room) as till:
                before = await till.decide()
                assert offers_of(before) == ["capped", "once", "plain"]
                assert not {UNCOUNTED_CAUSE, SPOOLED} & set(before["causes"])
                async with shop.stopped():
                    answers = await many(60, lambda n: till.decide(CUSTOMERS[n % 20]))
                    assert {tuple(offers_of(answer)) for answer in answers} == {("plain",)}
                    for answer in answers:
                        assert answer["degraded"]
                        assert {UNCOUNTED_CAUSE, SPOOLED} & set(answer["causes"]) == waits_there
                    told = await till.tell(event(f"stopped-{room}"), event(f"down-{room}"))
                    assert told.json() == {"accepted": 0, "repeated": 0, "spooled": 2}
                    # A cap holds: what cannot be counted is not given.
                    claim = {"customer_id": "c-1", "offer_id": "capped", "channel": "app"}
                    assert (await till.post("/v1/activations", claim)).status_code == 503
                    figures = (await till.client.get("/metrics")).text
                    assert f'regulars_breaker_open{{guards="{guard}"}} 1.0' in figures
                    cause = "live_state" if room == ROOM else "spooled"
                    assert f'regulars_degraded_total{{cause="{cause}"}}' in figures
                    ready = await till.client.get("/health/ready")
                    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
                assert await within(30, lambda: shop.has(till))
                assert set(till.statuses) == {200}
                # All is as it was, a breath later.
                await asyncio.sleep(1.1)
                assert offers_of(await till.decide()) == ["capped", "once", "plain"]
            assert not list((shop.folder / "home/spool").iterdir())

        run(story)

    @pytest.mark.parametrize("room", [ROOM, NO_ROOM])
    def test_that_hangs_keeps_nobody_waiting_and_takes_each_record_once(
        self, shop: Shop, room: int
    ) -> None:
        async def story() -> None:
            async with shop.till(deadline=0.25, room=room) as till:
                await till.decide()
                with shop.frozen():
                    began = time.monotonic()
                    for _ in range(12):
                        await many(20, lambda n: till.decide(CUSTOMERS[n]))
                    took = time.monotonic() - began
                    began = time.monotonic()
                    told = await till.tell(event(f"frozen-{room}"))
                    assert told.json()["spooled"] == 1
                    # Within the second that a client waits.
                    assert time.monotonic() - began < 1
                # At most a deadline each until the breaker opens, and next to nothing then.
                assert took < 12 * 0.25 + 3
                # What was under way when it froze is written twice, and there once.
                assert await within(40, lambda: shop.has(till))
                assert set(till.statuses) == {200}
                assert len(set(till.decided)) == 241

        run(story)

    def test_that_is_stopped_closes_no_channel_but_those_refused_before(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as till, shop.till() as other:
                await till.consent("c-1", app=False)
                await till.consent("c-2", app=False)
                await till.consent("c-2", app=True)
                assert offers_of(await till.decide("c-1")) == []
                # What another process was told is known a breath later, too.
                await asyncio.sleep(1)
                async with shop.stopped():
                    for one in (till, other):
                        assert offers_of(await one.decide("c-1")) == []
                        assert offers_of(await one.decide("c-1", channel="till")) == ["plain"]
                        assert offers_of(await one.decide("c-2")) == ["plain"]
                assert await within(30, lambda: shop.has(till, other))

        run(story)
        shop.change("DELETE FROM consents")

    def test_that_is_away_at_the_start_opens_no_channel_that_was_refused(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as till:
                for name in ("c-1", "c-3"):
                    await till.consent(name, app=False)
                await till.consent("c-2", app=False)
                await till.consent("c-2", app=True)
                await till.client.delete("/v1/customers/c-3")
                # Who was erased is forgotten on the disk, too, and leaves no gap to the others.
                kept = LastKnownRefusals(shop.folder / "home")
                assert await within(
                    10,
                    lambda: (
                        [c in kept.read().get("app", ()) for c in ("c-1", "c-2", "c-3")]
                        == [True, False, False]
                    ),
                )
                assert set(kept.read()) == {"app", "store", "till", "web"}
            async with shop.stopped(), shop.till() as again:
                assert offers_of(await again.decide("c-1")) == []
                assert offers_of(await again.decide("c-1", channel="till")) == ["plain"]
                answer = await again.decide("c-2")
                assert offers_of(answer) == ["plain"]
                assert REFUSALS_CAUSE not in answer["causes"]
            # Answered since on another machine: what the disk says stands in no longer.
            shop.change("UPDATE consents SET granted = true")
            async with shop.till() as back:
                assert offers_of(await back.decide("c-1")) == ["capped", "once", "plain"]
                async with shop.stopped():
                    assert offers_of(await back.decide("c-1")) == ["plain"]

        run(story)
        shop.change("DELETE FROM consents")
        shop.change("DELETE FROM erasures")

    @pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"half")])
    def test_that_is_away_at_the_start_shows_nothing_where_nobody_knows_who_refused(
        self, shop: Shop, damage: Callable[[Path], object]
    ) -> None:
        async def story() -> None:
            async with shop.till() as till:
                await till.decide()
            damage(shop.folder / "home/refusals")
            async with shop.till() as till:
                # The database knows.
                assert REFUSALS_CAUSE not in (await till.decide())["causes"]
            damage(shop.folder / "home/refusals")
            # The server comes back before the service goes.
            async with AsyncExitStack() as stack:
                outage = await stack.enter_async_context(AsyncExitStack())
                await outage.enter_async_context(shop.stopped())
                again = await stack.enter_async_context(shop.till())
                answer = await again.decide()
                assert offers_of(answer) == []
                assert {UNCOUNTED_CAUSE, REFUSALS_CAUSE} <= set(answer["causes"])
                ready = await again.client.get("/health/ready")
                assert REFUSALS_CAUSE in ready.json()["causes"]
                figures = (await again.client.get("/metrics")).text
                assert 'regulars_degraded_total{cause="refusals"}' in figures
                # Where we go to her nothing is shown anyway, and for another reason.
                letter = await again.decide(channel="email")
                assert REFUSALS_CAUSE not in letter["causes"]
                await outage.aclose()
                assert await within(30, lambda: again.service._refusals.all_known)
                async with shop.stopped():
                    assert offers_of(await again.decide()) == ["plain"]

        run(story)

    def test_that_hangs_lets_nobody_be_contacted_and_keeps_no_mailer_waiting(
        self, shop: Shop
    ) -> None:
        async def story() -> None:
            async with shop.till(deadline=0.25) as till:
                with shop.frozen():
                    began = time.monotonic()
                    for _ in range(12):
                        answers = await many(
                            20, lambda n: till.decide(CUSTOMERS[n], channel="email")
                        )
                        assert {tuple(offers_of(answer)) for answer in answers} == {()}
                    took = time.monotonic() - began
                    figures = (await till.client.get("/metrics")).text
                    assert 'regulars_breaker_open{guards="contact_state"} 1.0' in figures
                assert took < 12 * 0.25 + 3
                assert await within(40, lambda: shop.has(till))
                assert set(till.statuses) == {200}

        run(story)

    @pytest.mark.parametrize("everywhere", [False, True])
    def test_that_comes_back_is_not_told_again_of_who_was_forgotten(
        self, shop: Shop, everywhere: bool
    ) -> None:
        async def story() -> None:
            async with shop.till() as till:
                async with shop.stopped():
                    for n, name in enumerate(("c-3", "c-4")):
                        await till.decide(name, key=f"asks-{n}")
                        await till.tell(event(f"told-{n}", "survey", customer_id=name, text="I"))
                    # Before the database is back and takes it.
                    spool = list((shop.folder / "home/spool").glob("*.spool"))
                    held = [file.read_bytes() for file in spool]
                assert await within(30, lambda: shop.has(till))
                await till.client.delete("/v1/customers/c-3")
                if everywhere:
                    # The night has carried it out: her name is nowhere any more.
                    await shop.forgotten("c-3")
                    assert shop.rows("SELECT count(*) FROM erasures") == [(0,)]
                # As if it had waited until now.
                shop.change("DELETE FROM decisions")
                shop.change("DELETE FROM outcomes")
                shop.change("DELETE FROM replays")
            for file, content in zip(spool, held, strict=True):
                file.write_bytes(content)
            async with shop.till() as again:
                assert await within(30, lambda: shop.has(till))
                hers = await again.client.get("/v1/customers/c-3")
                # No snapshot without her is published here, as the night does.
                assert hers.status_code == (200 if everywhere else 404)
            records = records_in(shop.server.url).values()
            decided = [(f"{one.customer_id} {encode(one).decode()}",) for one in records]
            told = shop.rows("SELECT customer_id || event::text FROM outcomes")
            for rows in (decided, told):
                (others,), (hers,) = sorted(rows)
                assert hers.startswith("erased-")
                assert "c-3" not in hers
                assert others.startswith("c-4")
            assert shop.rows(
                "SELECT count(*) FROM replays WHERE answer::text LIKE '%\"c-3\"%'"
            ) == [(0,)]

        run(story)

    def test_that_takes_no_more_writes_is_left_alone_while_it_is_read(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till(room=NO_ROOM) as till:
                with shop.read_only():
                    answers = await many(30, lambda n: till.decide(CUSTOMERS[n % 20]))
                    for answer in answers:
                        assert offers_of(answer) == ["capped", "once", "plain"]
                        assert SPOOLED in answer["causes"]
                        assert UNCOUNTED_CAUSE not in answer["causes"]
                assert await within(30, lambda: shop.has(till))
                assert set(till.statuses) == {200}

        run(story)

    def test_that_is_away_at_the_start_is_answered_for_by_what_was_last_known(
        self, shop: Shop
    ) -> None:
        async def story() -> None:
            async with shop.till() as till:
                await till.decide()
            async with shop.stopped():
                async with shop.till() as again:
                    answer = await again.decide()
                    assert offers_of(answer) == ["plain"]
                    # A key that is younger than what was last known is not called unknown.
                    headers = {"Authorization": "Bearer rgl_young"}
                    young = await again.client.post("/v1/decisions", json={}, headers=headers)
                    assert young.status_code == 503
                # A machine that never knew a catalogue says so.
                async with shop.till(home="new") as stranger:
                    refused = await stranger.client.post("/v1/decisions", json={})
                    assert refused.status_code == 503
                    assert refused.headers["retry-after"] == "1"
                    assert (await stranger.client.get("/health/ready")).status_code == 503
            # What the first left behind is passed on by the next.
            async with shop.till():
                assert await within(30, lambda: shop.has(again))

        run(story)


@pytest.fixture
def logs_as_served() -> Iterator[None]:
    """Log lines go where those of a worker go: to a file on the same disk, say."""
    quiet_logs()
    yield
    structlog.reset_defaults()


class TestDisk:
    def test_that_is_full_too_leaves_answers_that_say_they_are_not_recorded(
        self, shop: Shop, logs_as_served: None
    ) -> None:
        async def story() -> None:
            async with shop.till() as till, shop.stopped():
                await till.decide()
                with largest_file(100):
                    answer = await till.decide()
                    assert answer["decision_id"] is None
                    assert UNRECORDED in answer["causes"]
                    assert offers_of(answer) == ["plain"]
                    refused = await till.tell(event("lost"))
                    assert refused.status_code == 503
                    assert refused.json()["code"] == "store_unavailable"
                # There is room again.
                assert (await till.decide())["decision_id"] is not None
                assert set(till.statuses) == {200}
            async with shop.till():
                assert await within(30, lambda: shop.has(till))
            assert len(till.decided) == 2
            assert "lost" not in shop.kept()[1]

        run(story)

    def test_that_hangs_keeps_nobody_waiting_and_the_database_takes_over(self, shop: Shop) -> None:
        goes_on = asyncio.Event()

        class Hanging(FileWriteAhead):
            async def keep(self, decisions: Sequence[PackedDecision]) -> None:
                await goes_on.wait()
                await super().keep(decisions)

        async def story() -> None:
            async with shop.till(files=Hanging) as till:
                goes_on.set()
                await till.decide()
                assert await within(5, lambda: shop.has(till))
                goes_on.clear()
                try:
                    for _ in range(3):
                        began = time.monotonic()
                        answers = await many(30, lambda n: till.decide(CUSTOMERS[n % 20]))
                        # Not as long as the spool would wait for a disk.
                        assert time.monotonic() - began < SPOOL_SECONDS
                        for answer in answers:
                            assert not {SPOOLED, UNRECORDED} & set(answer["causes"])
                        # They are there already, and nowhere else.
                        assert await within(5, lambda: shop.has(till))
                        await asyncio.sleep(PAUSE_SECONDS / 2)
                    ready = await till.client.get("/health/ready")
                    assert ready.status_code == 200
                finally:
                    goes_on.set()
                assert set(till.statuses) == {200}
            assert len(till.decided) == 91
            assert shop.has(till)
            assert not list((shop.folder / "home/spool").iterdir())

        run(story)


class TestRepeatedRequest:
    def test_gets_its_answer_again_from_every_worker_and_decides_once(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as one, shop.till() as other:
                first = await one.decide("c-2", "tap-1", explain=True)
                assert await one.decide("c-2", "tap-1", explain=True) == first
                assert await other.decide("c-2", "tap-1", explain=True) == first
                at_once = await many(
                    16, lambda n: (one, other)[n % 2].decide("c-3", "tap-2", explain=n < 99)
                )
                assert len({json.dumps(answer) for answer in at_once}) == 1
                changed = await other.decide("c-2", "tap-1")
                assert (changed["status"], changed["code"]) == (409, "idempotency_key_reused")
                # Another key of the same body, and no key at all, are requests of their own.
                assert len({(await one.decide("c-2", key))["decision_id"] for key in "ab"}) == 2
                ids = {first["decision_id"], at_once[0]["decision_id"]}
            assert {i for i in shop.kept()[0] if i in ids} == ids
            assert shop.has(one, other)

        run(story)

    def test_with_outcomes_gets_its_answer_again(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as one, shop.till() as other:
                events = [event("keyed-1"), event("keyed-2")]
                first = await one.tell(*events, key="batch-1")
                assert first.json() == {"accepted": 2, "repeated": 0, "spooled": 0}
                assert (await other.tell(*events, key="batch-1")).json() == first.json()
                assert (await other.tell(*events)).json()["repeated"] == 2
                changed = await other.tell(event("keyed-3"), key="batch-1")
                assert changed.status_code == 409
                assert "keyed-3" not in shop.kept()[1]

        run(story)

    def test_is_one_decision_also_while_the_database_is_away(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as one, shop.till() as other:
                async with shop.stopped():
                    first = await one.decide("c-4", "tap-9")
                    again = await other.decide("c-4", "tap-9")
                    assert again["decision_id"] == first["decision_id"]
                    assert again["placements"] == first["placements"]
                    await one.tell(event("away-1"), key="batch-9")
                    await other.tell(event("away-1"), key="batch-9")
                assert await within(30, lambda: shop.has(one, other))
                # And afterwards: the answer of the outage stands.
                assert (await one.decide("c-4", "tap-9"))["decision_id"] == first["decision_id"]

        run(story)

    def test_whose_name_is_old_is_a_new_one(self, shop: Shop) -> None:
        async def story() -> None:
            async with shop.till() as till:
                first = await till.decide("c-5", "old")
                shop.change("UPDATE replays SET at = now() - interval '73 hours'")
                young = await till.decide("c-5", "young")
                await till.service._forget_old()
                assert shop.rows("SELECT answer ->> 'decision_id' FROM replays") == [
                    (young["decision_id"],)
                ]
            async with shop.till(clock=Shifted(hours=73)) as later:
                again = await later.decide("c-5", "old")
                assert again["decision_id"] != first["decision_id"]
                assert shop.has(till, later)

        run(story)


class Shifted:
    """A clock that can be set."""

    def __init__(self, hours: float = 0) -> None:
        self.shift = timedelta(hours=hours)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift


def test_a_clock_that_jumps_back_and_forth_disturbs_no_decision(shop: Shop) -> None:
    async def story() -> None:
        clock = Shifted()
        async with shop.till(clock=clock) as till:
            for hours in (0, 5, -48, 300, -1):
                clock.shift = timedelta(hours=hours)
                answers = await many(10, lambda n: till.decide(CUSTOMERS[n]))
                for answer in answers:
                    assert not {UNCOUNTED_CAUSE, SPOOLED} & set(answer["causes"])
            assert set(till.statuses) == {200}
            assert len(set(till.decided)) == 50
            assert await within(30, lambda: shop.has(till))

    run(story)


def test_outcomes_told_twice_and_out_of_order_count_once_also_through_an_outage(
    shop: Shop,
) -> None:
    async def story() -> None:
        redeem = event("order-redeem", "redeem", offer_id="once", customer_id="c-7")
        view = event("order-view", customer_id="c-7")
        async with shop.till() as one, shop.till() as other:
            async with shop.stopped():
                # The use before the look, each from two tills, and one of them twice.
                for till in (one, other, one):
                    await till.tell(redeem)
                    await till.tell(view)
                # A contradiction that nobody can see now.
                await one.tell(event("order-odd", customer_id="c-7"))
                await other.tell(event("order-odd", "dismiss", customer_id="c-7"))
            assert await within(30, lambda: shop.has(one, other))
            assert await within(30, lambda: not list(shop.folder.glob("home/spool/*.spool")))
            used = shop.rows("SELECT count(*) FROM uses WHERE customer_id = 'c-7'")
            assert used == [(1,)]
            assert "once" not in offers_of(await one.decide("c-7"))
            assert len(shop.rows("SELECT FROM outcomes WHERE event_id = 'order-odd'")) == 1
        [line] = (shop.folder / "home/spool/rejected.jsonl").read_text().splitlines()
        rejected = json.loads(line)
        assert rejected["outcome"]["event_id"] == "order-odd"
        assert "told before with other content" in rejected["reason"]

    run(story)


def test_who_is_forgotten_is_forgotten_in_what_was_put_aside_on_every_node(
    shop: Shop, tmp_path: Path
) -> None:
    other_home = tmp_path / "other"
    (other_home / "home/spool").mkdir(parents=True)
    (other_home / "snapshots").symlink_to(shop.folder / "snapshots")
    node = Shop(other_home, shop.server, shop.key)
    files = [one.folder / "home/spool/rejected.jsonl" for one in (shop, node)]

    async def story() -> None:
        async with shop.till() as till:
            await till.tell(event("aside-1", "survey", customer_id="c-12", text="I am Ana"))
            async with shop.stopped():
                for name in ("c-12", "c-13"):
                    # Contradicts what was told before, or what the other told.
                    await till.tell(event("aside-1", customer_id=name))
            assert await within(30, lambda: files[0].exists())
            await till.client.delete("/v1/customers/c-12")
            assert await within(30, lambda: '"c-12"' not in files[0].read_text())
            # A node that was away meanwhile, and begins when the night has carried it out.
            files[1].write_bytes(
                msgspec.json.encode(
                    Rejected(Outcome("e-1", "c-12", datetime.now(UTC), "app", "view"), "odd")
                )
                + b"\n"
            )
            await shop.forgotten("c-12")
            async with node.till():
                assert await within(30, lambda: '"c-12"' not in files[1].read_text())
        for file in files:
            told = [json.loads(line)["outcome"] for line in file.read_text().splitlines()]
            hers = [one for one in told if one["customer_id"].startswith("erased-")]
            assert [one["event_id"] for one in hers] == [told[0]["event_id"]]
        assert '"c-13"' in files[0].read_text()

    run(story)


def test_what_an_app_tells_by_the_ids_of_its_uses_is_taken_and_counted_once(shop: Shop) -> None:
    async def story() -> None:
        hers = {"customer_id": "c-8", "offer_id": "capped"}
        claimed = {**hers, "channel": "app"}
        before = shop.rows("SELECT uses FROM held WHERE offer_id = 'capped' AND store_id = ''")
        async with shop.till() as till:
            kept = (await till.post("/v1/activations", claimed)).json()["activation_id"]
            assert (await till.tell(event(kept, "activate", **hers))).json()["accepted"] == 1
            # What our own event of the reversal was called before.
            await till.tell(event(f"{kept}-reverse", **hers))
            used = await till.post("/v1/redemptions", {**claimed, "activation_id": kept})
            assert used.json() == {"redemption_id": kept, "refused": None}
            told = await till.tell(event(kept, "redeem", **hers))
            assert told.json() == {"accepted": 0, "repeated": 1, "spooled": 0}
            back = await till.post(f"/v1/redemptions/{kept}/reverse", None)
            assert back.json() == {"state": "reversed", "changed": True}
            # One that was cancelled, and redeemed all the same while nobody could know of it.
            gone = (await till.post("/v1/activations", claimed)).json()["activation_id"]
            await till.post(f"/v1/activations/{gone}/cancel", None)
            async with shop.stopped():
                told = await till.tell(event(gone, "redeem", **hers), event("after gone"))
                assert told.json()["spooled"] == 2
            assert await within(30, lambda: not list(shop.folder.glob("home/spool/*.spool")))
            assert "after gone" in shop.kept()[1]
            # No caller's event has an id of ours.
            refused = await till.tell(event(own_id("redeem", "x")))
            assert refused.status_code == 422
            assert "the service's own" in refused.json()["detail"]
            # Of any length: the one told, and ours of its reversal.
            await till.tell(event("e" * 200, "redeem", **hers))
            back = await till.post(f"/v1/redemptions/{'e' * 200}/reverse", None)
            assert back.json() == {"state": "reversed", "changed": True}
        assert not (shop.folder / "home/spool/rejected.jsonl").exists()
        assert shop.rows("SELECT state FROM uses WHERE customer_id = 'c-8' ORDER BY made_at") == [
            ("reversed",),
            ("redeemed",),
            ("reversed",),
        ]
        after = shop.rows("SELECT uses FROM held WHERE offer_id = 'capped' AND store_id = ''")
        assert after == [(sum(uses for (uses,) in before) + 1,)]
        assert shop.rows("SELECT max(length(event_id)) FROM outcomes WHERE kind = 'reverse'") < [
            (200,)
        ]

    run(story)


def test_an_outcome_that_can_never_be_told_is_put_aside_and_the_rest_arrives(shop: Shop) -> None:
    async def story() -> None:
        async with shop.till() as till:
            shop.change("ALTER TABLE outcomes ADD CONSTRAINT odd CHECK (event_id <> 'odd-3')")
            async with shop.stopped():
                for n in range(6):
                    key = None if n % 2 else f"odd {n}"
                    await till.tell(event(f"odd-{n}"), event(f"even-{n}"), key=key)
            till.told.remove("odd-3")
            assert await within(30, lambda: shop.has(till))
            assert await within(30, lambda: not list(shop.folder.glob("home/spool/*.spool")))
            figures = (await till.client.get("/metrics")).text
            assert "regulars_spool_rejected_total" in figures
        [line] = (shop.folder / "home/spool/rejected.jsonl").read_text().splitlines()
        rejected = json.loads(line)
        assert rejected["outcome"]["event_id"] == "odd-3"
        assert rejected["reason"] == "PostgreSQL refuses it (CheckViolationError)"

    try:
        run(story)
    finally:
        shop.change("ALTER TABLE outcomes DROP CONSTRAINT odd")


def test_what_a_database_out_of_order_does_not_take_waits_and_readiness_tells_how_long(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "WAITS_LONG_SECONDS", 1.0)

    async def story() -> None:
        async with shop.till() as till:
            shop.change("ALTER TABLE uses RENAME TO uses_away")
            try:
                async with shop.stopped():
                    await till.tell(event("wait-1", "redeem", offer_id="plain"), event("wait-2"))
                assert await within(30, lambda: till.service._spooling.cause is not None)
                await asyncio.sleep(1)
                ready = (await till.client.get("/health/ready")).json()
                assert ready["status"] == "degraded"
                [cause] = [cause for cause in ready["causes"] if "on disk has waited" in cause]
                figures = (await till.client.get("/metrics")).text
                [line] = [f for f in figures.splitlines() if "spool_waits_seconds " in f][-1:]
                assert float(line.split()[1]) >= 1
            finally:
                shop.change("ALTER TABLE uses_away RENAME TO uses")
            assert await within(30, lambda: shop.has(till))
            assert await within(30, lambda: till.service._spooling.cause is None)
            ready = (await till.client.get("/health/ready")).json()
            assert cause not in ready["causes"]
        assert not (shop.folder / "home/spool/rejected.jsonl").exists()

    run(story)


def test_a_claim_that_fails_for_a_reason_of_its_own_fails_alone(shop: Shop) -> None:
    async def story() -> None:
        asked = [RedemptionRequest(f"alone-{n}", "plain", "till") for n in range(40)]
        async with shop.till() as till:
            claims = till.service.claims
            answers = await asyncio.gather(
                *(claims.redeem(one, None) for one in asked), return_exceptions=True
            )
            failed = [n for n, one in enumerate(answers) if isinstance(one, Exception)]
            assert [type(answers[n]).__name__ for n in failed] == ["CheckViolationError"]
            assert failed == [17]
        used = shop.rows("SELECT count(*), count(DISTINCT customer_id) FROM uses "
                         "WHERE customer_id LIKE 'alone-%'")  # fmt: skip
        assert used == [(39, 39)]

    shop.change("ALTER TABLE uses ADD CONSTRAINT alone CHECK (customer_id <> 'alone-17')")
    try:
        run(story)
    finally:
        shop.change("ALTER TABLE uses DROP CONSTRAINT alone")


@pytest.mark.slow
def test_more_than_can_be_answered_soon_is_told_to_come_again(shop: Shop) -> None:
    async def story() -> None:
        async with shop.till(deadline=1.0) as till:
            with shop.frozen():
                await many(1500, lambda n: till.decide(CUSTOMERS[n % 20]))
            assert set(till.statuses) == {200, 429}
            assert till.statuses.count(429) >= 1500 - 2 * 512 - 256
            assert await within(60, lambda: shop.has(till))

    run(story)


def test_a_decision_replays_from_its_record(shop: Shop) -> None:
    async def story() -> None:
        async with shop.till() as till:
            first = await till.decide("c-6")
            response = await till.post(f"/v1/decisions/{first['decision_id']}/replay", {})
            assert response.status_code == 200
            again = response.json()
            assert again["same"]
            shown = [[o["offer_id"] for o in p["offers"]] for p in first["placements"]]
            assert [[o["offer_id"] for o in p["offers"]] for p in again["placements"]] == shown
            assert again["versions"] == first["versions"]
            for unknown in ("nothing", "%00"):
                missing = await till.post(f"/v1/decisions/{unknown}/replay", {})
                assert missing.status_code == 404
                assert missing.json()["code"] == "unknown_decision"
                assert "old ones are in the lake alone" in missing.json()["detail"]

    run(story)


def test_a_decision_replays_at_once_from_every_worker(shop: Shop) -> None:
    async def story() -> None:
        async with shop.till() as one, shop.till() as other:
            for n in range(5):
                decided = (await one.decide(CUSTOMERS[n]))["decision_id"]
                response = await other.post(f"/v1/decisions/{decided}/replay", {})
                assert (response.status_code, response.json()["same"]) == (200, True)

    run(story)


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=365 * 5000)])
def test_an_id_of_the_future_keeps_nobody_waiting(shop: Shop, ahead: timedelta) -> None:
    async def story() -> None:
        async with shop.till() as till:
            unknown = new_id(FixedClock(datetime.now(UTC) + ahead))
            async with asyncio.timeout(10):
                missing = await till.post(f"/v1/decisions/{unknown}/replay", {})
            assert missing.status_code == 404

    run(story)


def changed_json(kept: bytes, **changed: Any) -> bytes:
    """Return a decision as an earlier version kept it, changed."""
    return encode(msgspec.json.decode(encode(unpacked("d", kept))) | changed)


@pytest.mark.parametrize(
    "changed",
    [
        # Of another version, damaged, and such as can be read but not drawn from.
        lambda kept: kept[: len(kept) // 2],
        lambda kept: b"no decision",  # noqa: ARG005
        lambda kept: b"{}",  # noqa: ARG005
        lambda kept: changed_json(kept, placements={"checkout": 3}),
        lambda kept: changed_json(kept, policy={"kind": "newest"}),
        lambda kept: changed_json(
            kept,
            policy={
                "kind": "thompson",
                "posteriors": {"none": {"family": "beta", "first": 1, "second": 1}},
            },
        ),
    ],
)
def test_a_decision_whose_record_cannot_be_read_is_a_problem_that_says_so(
    shop: Shop, changed: Callable[[bytes], bytes]
) -> None:
    async def story() -> None:
        async with shop.till() as till:
            decision_id = (await till.decide("c-7"))["decision_id"]
            kept = packed(await asyncio.to_thread(record_of, shop.server.url, decision_id)).packed
            shop.change(
                f"UPDATE decisions SET packed = '\\x{changed(kept).hex()}' "  # noqa: S608
                f"WHERE decision_id = '{decision_id}'"
            )
            refused = await till.post(f"/v1/decisions/{decision_id}/replay", {})
            assert refused.status_code == 409
            assert refused.json()["code"] == "unreadable_decision"
            assert refused.json()["field"] == "decision_id"
            told = f"the record of decision '{decision_id}' cannot be read"
            assert refused.json()["detail"].startswith(told)
            # The next one is as good as ever.
            other = (await till.decide("c-7"))["decision_id"]
            assert (await till.post(f"/v1/decisions/{other}/replay", {})).json()["same"]

    try:
        run(story)
    finally:
        shop.change("DELETE FROM decisions WHERE customer_id = 'c-7'")


def test_slow_clients_keep_nobody_else_waiting(shop: Shop) -> None:
    async def story() -> None:
        async with shop.till() as till, listening(till) as port:
            body = json.dumps(
                {"customer_id": "c-1", "channel": "app", "placements": [{"name": "checkout"}]}
            ).encode()
            head = (
                f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.key}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            ).encode()
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            for _, writer in slow:
                writer.write(head + body[:5])
                await writer.drain()
            began = time.monotonic()
            await many(40, lambda n: till.decide(CUSTOMERS[n % 20]))
            assert time.monotonic() - began < 5
            assert set(till.statuses) == {200}
            # Half of them leave, the others come to their end and are answered.
            for _, writer in slow[::2]:
                writer.close()
            for _, writer in slow[1::2]:
                writer.write(body[5:])
            for reader, writer in slow[1::2]:
                answer = await asyncio.wait_for(reader.read(), 20)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                writer.close()

    run(story)


@asynccontextmanager
async def listening(till: Till) -> AsyncGenerator[int]:
    """A till's service on a port of its own."""
    app = create_app(till.service)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        yield int(listener.getsockname()[1])
        server.should_exit = True
        await serving


def test_a_snapshot_that_is_half_written_does_not_come_in(shop: Shop) -> None:
    async def story() -> None:
        # A folder of its own, which others do not read, and one that nobody does.
        snapshots, beside = shop.folder / "snapshots", shop.folder / "beside"
        whole = snapshots.resolve()
        snapshots.unlink()
        for folder in (snapshots, beside):
            shutil.copytree(whole, folder)
        async with shop.till() as till:
            live = (await till.decide())["versions"]["snapshot"]
            facts = publish(beside, "newer")
            # Cut while it was copied from another machine, say.
            data = beside / facts.version / "data.mdb"
            with data.open("r+b") as file:
                file.truncate(data.stat().st_size // 2)
            (beside / facts.version).rename(snapshots / facts.version)
            (beside / POINTER).rename(snapshots / POINTER)
            await asyncio.sleep(1.2)
            answer = await till.decide("c-1")
            assert answer["versions"]["snapshot"] == live
            again = publish(snapshots, "newest")

            async def newest_is_live() -> bool:
                return (await till.decide())["versions"]["snapshot"] == again.version

            async with asyncio.timeout(20):
                while not await newest_is_live():
                    await asyncio.sleep(0.1)
            assert set(till.statuses) == {200}

    run(story)

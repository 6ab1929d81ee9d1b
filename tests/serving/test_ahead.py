"""Ahead: answered when on disk, in the database soon after, and never lost in between."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import uvloop

from adapters.file_write_ahead import FileWriteAhead
from foundation.clock import FixedClock
from foundation.errors import SpoolUnavailable, StoreUnavailable
from foundation.packed_decision import PackedDecision, packed, unpacked
from foundation.pseudonym import Former
from serving import ahead as ahead_module
from serving.ahead import FAILURES, PAUSE_SECONDS, Ahead
from serving.ids import made_after, new_id
from tests.contracts.test_journal_contract import decision

ROOM = 200_000


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk of a busy machine is taken for one that hangs."""
    monkeypatch.setattr(ahead_module, "SLOW_SECONDS", 5.0)


class Database:
    """Takes decisions unless it is away, and knows who was forgotten."""

    def __init__(self, forgotten: Collection[str] = ()) -> None:
        self.took: list[PackedDecision] = []
        self.away = False
        self._forgotten = forgotten

    async def record(self, decisions: Sequence[PackedDecision]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        known = {one.decision_id for one in self.took}
        self.took += [one for one in decisions if one.decision_id not in known]

    async def former(self, customer_ids: Sequence[str]) -> dict[str, Former]:
        return {one: Former("erased-1", None) for one in customer_ids if one in self._forgotten}

    @property
    def ids(self) -> list[str]:
        return [one.decision_id for one in self.took]


class Disk(FileWriteAhead):
    """Counts what it writes at once, and is slow or full when told so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROOM)
        self.groups: list[int] = []
        self.full = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def keep(self, decisions: Sequence[PackedDecision]) -> None:
        await self.goes_on.wait()
        if self.full:
            raise SpoolUnavailable("full")
        self.groups.append(len(decisions))
        await super().keep(decisions)


def kept(n: int) -> PackedDecision:
    return packed(decision(f"d-{n}", f"c-{n}"))


def run(
    folder: Path,
    database: Database,
    story: Callable[[Ahead, Disk], Awaitable[None]],
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    async def told() -> None:
        disk = Disk(folder)
        ahead = Ahead(disk, database, database)  # pyright: ignore[reportArgumentType]
        await ahead.open()
        await story(ahead, disk)
        await ahead.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(told(), 30))


def test_those_of_one_turn_share_one_write_and_reach_the_database_together(tmp_path: Path) -> None:
    database = Database()

    async def story(ahead: Ahead, disk: Disk) -> None:
        assert all(await asyncio.gather(*(ahead.keep(kept(n)) for n in range(300))))
        assert disk.groups == [300]
        assert database.ids == []
        assert ahead.waits_seconds() > 0
        await ahead.pass_on()
        assert database.ids == [f"d-{n}" for n in range(300)]
        assert ahead.waits_seconds() == 0

    run(tmp_path, database, story)


def test_a_database_that_is_away_gets_all_of_it_once_when_it_is_back(tmp_path: Path) -> None:
    database = Database()

    async def story(ahead: Ahead, _disk: Disk) -> None:
        database.away = True
        for n in range(5):
            assert await ahead.keep(kept(n))
            with pytest.raises(StoreUnavailable):
                await ahead.pass_on()
        assert ahead.waits_seconds() > 0
        database.away = False
        await ahead.settle()
        assert sorted(database.ids) == [f"d-{n}" for n in range(5)]
        assert ahead.waits_seconds() == 0

    run(tmp_path, database, story)


def test_what_waits_when_a_service_stops_without_a_database_is_passed_on_by_the_next(
    tmp_path: Path,
) -> None:
    database = Database()

    async def stopped(ahead: Ahead, _disk: Disk) -> None:
        assert await ahead.keep(kept(1))
        database.away = True

    async def started(ahead: Ahead, _disk: Disk) -> None:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await ahead.pass_on_left()
            # It says so, whoever kept it.
            assert ahead.waits_seconds() > 0
        database.away = False
        for _ in range(2):
            await ahead.pass_on_left()
        assert database.ids == ["d-1"]
        assert ahead.waits_seconds() == 0

    run(tmp_path, database, stopped)
    assert database.ids == []
    run(tmp_path, database, started)
    assert list(tmp_path.iterdir()) == []


def test_one_file_that_cannot_be_passed_on_does_not_keep_back_the_others(tmp_path: Path) -> None:
    class Choosy(Database):
        async def record(self, decisions: Sequence[PackedDecision]) -> None:
            if self.away or any(one.decision_id == "d-1" for one in decisions):
                raise StoreUnavailable("away") if self.away else ValueError("odd")
            await super().record(decisions)

    database = Choosy()

    def left(n: int) -> Callable[[Ahead, Disk], Awaitable[None]]:
        async def story(ahead: Ahead, _disk: Disk) -> None:
            database.away = True
            assert await ahead.keep(kept(n))

        return story

    async def next_one(ahead: Ahead, _disk: Disk) -> None:
        database.away = False
        for _ in range(2):
            with pytest.raises(ValueError, match="odd"):
                await ahead.pass_on_left()
        assert sorted(database.ids) == ["d-2", "d-3"]

    for n in (1, 2, 3):
        run(tmp_path, database, left(n))
    run(tmp_path, database, next_one)


def test_a_file_of_another_version_does_not_keep_back_the_others(tmp_path: Path) -> None:
    database = Database()

    async def stopped(ahead: Ahead, _disk: Disk) -> None:
        assert await ahead.keep(kept(1))
        database.away = True

    async def started(ahead: Ahead, _disk: Disk) -> None:
        database.away = False
        with pytest.raises(SpoolUnavailable, match="another version"):
            await ahead.pass_on_left()
        assert database.ids == ["d-1"]

    run(tmp_path, database, stopped)
    (tmp_path / "0.ahead").write_bytes(b"regulars ahead 2\n")
    run(tmp_path, database, started)
    assert [path.name for path in tmp_path.iterdir()] == ["0.ahead"]


def test_a_service_that_stops_while_it_passes_on_leaves_nothing(tmp_path: Path) -> None:
    class Slow(Database):
        async def record(self, decisions: Sequence[PackedDecision]) -> None:
            await asyncio.sleep(0.05)
            await super().record(decisions)

    database = Slow()

    async def story(ahead: Ahead, _disk: Disk) -> None:
        assert await ahead.keep(kept(1))
        passing = asyncio.create_task(ahead.pass_on())
        await asyncio.sleep(0.01)
        assert await ahead.keep(kept(2))
        passing.cancel()

    run(tmp_path, database, story)
    assert sorted(database.ids) == ["d-1", "d-2"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async def story(ahead: Ahead, disk: Disk) -> None:
        disk.full = True
        for _ in range(FAILURES):
            assert not await ahead.keep(kept(1))
        disk.full = False
        # Nobody asks it meanwhile.
        assert not await ahead.keep(kept(2))
        await asyncio.sleep(PAUSE_SECONDS + 0.1)
        assert await ahead.keep(kept(3))
        assert disk.groups == [1]

    run(tmp_path, Database(), story)


def test_nobody_waits_for_a_disk_that_hangs_and_nothing_is_lost_or_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "SLOW_SECONDS", 0.5)
    database = Database()

    async def story(ahead: Ahead, disk: Disk) -> None:
        disk.goes_on.clear()
        began = time.monotonic()
        hung = [asyncio.create_task(ahead.keep(kept(n))) for n in (1, 2)]
        await asyncio.sleep(0.01)
        # It waits for the next write, which does not come either.
        hung.append(asyncio.create_task(ahead.keep(kept(3))))
        assert await asyncio.gather(*hung) == [False] * 3
        assert time.monotonic() - began < 5
        # As the service does with whatever could not be written ahead.
        await database.record([kept(n) for n in (1, 2, 3)])
        passing = asyncio.create_task(ahead.pass_on())
        await asyncio.sleep(PAUSE_SECONDS + 0.1)
        assert not await ahead.keep(kept(4))

        disk.goes_on.set()
        await passing
        # A stall that is over is over.
        await asyncio.sleep(0.1)
        assert await ahead.keep(kept(6))
        await ahead.settle()
        assert disk.groups == [2, 1]
        assert database.ids == ["d-1", "d-2", "d-3", "d-6"]
        assert ahead.waits_seconds() == 0

    run(tmp_path, database, story)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_that_was_held_up_itself_takes_no_disk_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    monkeypatch.setattr(ahead_module, "SLOW_SECONDS", 0.05)

    async def story(ahead: Ahead, _disk: Disk) -> None:
        for n in range(5):
            keeping = [asyncio.create_task(ahead.keep(kept(n)))]
            # Until it is being written.
            while not ahead.waits_seconds():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.3)
            assert await asyncio.gather(*keeping) == [True]
            await ahead.settle()

    run(tmp_path, Database(), story, loop)


def test_what_is_kept_while_the_disk_is_busy_shares_the_next_write(tmp_path: Path) -> None:
    database = Database()

    async def story(ahead: Ahead, disk: Disk) -> None:
        disk.goes_on.clear()
        keeping = [asyncio.create_task(ahead.keep(kept(0)))]
        await asyncio.sleep(0.005)
        for n in range(1, 5):
            keeping.append(asyncio.create_task(ahead.keep(kept(n))))
            await asyncio.sleep(0.001)
        disk.goes_on.set()
        assert await asyncio.gather(*keeping) == [True] * 5
        assert disk.groups == [1, 4]
        await ahead.settle()
        assert database.ids == [f"d-{n}" for n in range(5)]

    run(tmp_path, database, story)


def test_a_fault_of_a_group_reaches_everyone_in_it_and_nobody_else(tmp_path: Path) -> None:
    async def story(ahead: Ahead, disk: Disk) -> None:
        odd = msgspec.structs.replace(kept(2), customer_id="\ud800")
        found = await asyncio.gather(ahead.keep(kept(1)), ahead.keep(odd), return_exceptions=True)
        assert [type(one) for one in found] == [UnicodeEncodeError] * 2
        assert await ahead.keep(kept(3))

    run(tmp_path, Database(), story)


def test_who_was_forgotten_meanwhile_is_not_brought_back(tmp_path: Path) -> None:
    database = Database(forgotten=["c-1"])

    async def story(ahead: Ahead, _disk: Disk) -> None:
        for n in (1, 2):
            assert await ahead.keep(kept(n))
        await ahead.pass_on()
        assert [one.customer_id for one in database.took] == ["erased-1", "c-2"]
        records = [unpacked(one.decision_id, one.packed) for one in database.took]
        assert [one.customer_id for one in records] == ["erased-1", "c-2"]

    run(tmp_path, database, story)


def test_the_time_of_an_id_is_when_it_was_made() -> None:
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    made = new_id(FixedClock(noon))
    assert made_after(made, noon.replace(hour=11))
    assert not made_after(made, noon.replace(hour=13))
    assert not made_after("no id of ours", noon)

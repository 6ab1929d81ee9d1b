"""What a spool promises, asked of files: what is kept is on disk, and passed on once, whoever died.

Another adapter of serving.spool.Spool joins by another parameter of the fixture `folder`.
"""

import asyncio
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import file_spool
from adapters.file_spool import MAGIC, FileSpool
from foundation.errors import SpoolUnavailable, StoreUnavailable
from foundation.outcome import Outcome
from foundation.pseudonym import Former
from foundation.spooled import Rejected, Spooled

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


def telling(name: str) -> Spooled:
    return Spooled(outcomes=[Outcome(name, "c-1", AT, "app", "view")])


def names(entries: Sequence[Spooled]) -> list[str]:
    return [outcome.event_id for entry in entries for outcome in entry.outcomes]


class Database:
    """Takes what is passed on, unless told not to."""

    def __init__(self, after: int | None = None, error: Exception | None = None) -> None:
        self.took: list[str] = []
        self._after = after
        self._error = error or StoreUnavailable("away")

    async def __call__(self, entries: Sequence[Spooled]) -> None:
        if self._after is not None and len(self.took) >= self._after:
            raise self._error
        self.took += names(entries)


def passed_on(folder: Path, database: Database | None = None) -> list[str]:
    """What another process, or the same one later, passes on."""
    database = database or Database()

    async def story() -> None:
        spool = FileSpool(folder)
        try:
            await spool.pass_on(database)
        finally:
            await spool.close()

    asyncio.run(story())
    return database.took


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), timeout=30))  # pyright: ignore[reportArgumentType]


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk refuses more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_kept_is_passed_on_once_in_its_order_and_then_gone(folder: Path) -> None:
    async def story() -> None:
        spool, database = FileSpool(folder), Database()
        for batch in range(3):
            await spool.keep([telling(f"e-{batch}-{n}") for n in range(300)])
        assert await spool.pass_on(database) == 900
        assert database.took == [f"e-{batch}-{n}" for batch in range(3) for n in range(300)]
        assert await spool.pass_on(database) == 0
        await spool.keep([telling("later")])
        assert await spool.pass_on(database) == 1
        await spool.close()

    run(story)
    assert files(folder) == []


def test_how_long_it_waits_is_that_of_the_oldest_whoever_kept_it(folder: Path) -> None:
    async def story() -> None:
        spool, other = FileSpool(folder), FileSpool(folder)
        assert await spool.waits_seconds() == 0
        await other.keep([telling("e-1")])
        await asyncio.sleep(0.3)
        await spool.keep([telling("e-2")])
        assert 0.3 <= await spool.waits_seconds() < 10
        for one in (other, spool):
            assert await one.pass_on(Database()) == 1
        assert await spool.waits_seconds() == 0
        await other.close()
        await spool.close()

    run(story)


def test_a_database_that_is_away_leaves_it_where_it_is(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.keep([telling("e-1")])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await spool.pass_on(Database(after=0))
        # However often it is tried, there are no more files for it.
        for n in range(2, 8):
            await spool.keep([telling(f"e-{n}")])
            with pytest.raises(StoreUnavailable):
                await spool.pass_on(Database(after=0))
        assert len(files(folder)) <= 2
        database = Database()
        assert await spool.pass_on(database) == 7
        assert sorted(database.took) == [f"e-{n}" for n in range(1, 8)]
        await spool.close()

    run(story)


def test_one_file_that_cannot_be_passed_on_does_not_keep_back_the_others(folder: Path) -> None:
    class Choosy(Database):
        async def __call__(self, entries: Sequence[Spooled]) -> None:
            if "bad" in names(entries):
                raise ValueError("bad")
            self.took += names(entries)

    async def story() -> None:
        spool, database = FileSpool(folder), Choosy()
        for name in ("e-1", "bad", "e-2"):
            await spool.keep([telling(name)])
            spool._seal()
        with pytest.raises(ValueError, match="bad"):
            await spool.pass_on(database)
        assert sorted(database.took) == ["e-1", "e-2"]
        await spool.close()

    run(story)
    assert passed_on(folder) == ["bad"]


def test_a_file_of_a_process_that_lives_is_its_own(folder: Path) -> None:
    async def story() -> None:
        first, second, database = FileSpool(folder), FileSpool(folder), Database()
        await first.keep([telling("e-1")])
        await second.keep([telling("e-2")])
        assert await second.pass_on(database) == 1
        assert database.took == ["e-2"]
        await first.close()
        assert await second.pass_on(database) == 1
        assert database.took == ["e-2", "e-1"]

    run(story)


def test_a_killed_process_leaves_its_file_to_the_next(folder: Path) -> None:
    # It says what it was told is kept, and is killed in the middle of the next.
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from adapters.file_spool import FileSpool
        from tests.contracts.test_spool_contract import telling

        async def keep():
            spool, n = FileSpool(Path({str(folder)!r})), 0
            while True:
                await spool.keep([telling(f"e-{{n}}-{{k}}") for k in range(40)])
                print(n, flush=True)
                n += 1

        asyncio.run(keep())
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = 20 + len(process.stdout.readlines())
    process.wait()

    took = passed_on(folder)
    kept = [f"e-{n}-{k}" for n in range(acknowledged) for k in range(40)]
    assert took[: len(kept)] == kept
    # The one that was under way may have arrived, too.
    assert len(took) <= len(kept) + 40
    assert files(folder) == []


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 400), st.sampled_from(["cut", "zeros"]))
def test_a_torn_tail_costs_only_what_was_torn(
    tmp_path_factory: pytest.TempPathFactory, lost: int, how: str
) -> None:
    folder = tmp_path_factory.mktemp("torn") / "spool"

    async def story() -> None:
        spool = FileSpool(folder)
        for n in range(8):
            await spool.keep([telling(f"e-{n}")])
        await spool.close()

    run(story)
    [path] = folder.glob("*.spool")
    whole = path.read_bytes()
    frame = (len(whole) - len(MAGIC)) // 8
    keep = max(len(whole) - lost, len(MAGIC))
    path.write_bytes(whole[:keep] + (b"\0" * (len(whole) - keep) if how == "zeros" else b""))
    left = (keep - len(MAGIC)) // frame
    took = passed_on(folder)
    assert took[:left] == [f"e-{n}" for n in range(left)]
    # An entry whose last bytes were zeros anyway may still be whole; none is invented.
    assert took == [f"e-{n}" for n in range(len(took))]
    assert len(took) <= left + (how == "zeros")


def test_a_damaged_entry_is_put_aside_with_all_behind_it(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        for n in range(4):
            await spool.keep([telling(f"e-{n}")])
        await spool.close()

    run(story)
    [path] = folder.glob("*.spool")
    told = bytearray(path.read_bytes())
    told[len(MAGIC) + (len(told) - len(MAGIC)) // 2 + 30] ^= 0xFF
    path.write_bytes(told)
    assert passed_on(folder) == ["e-0", "e-1"]
    assert files(folder) == [".damaged"]
    assert path.with_suffix(".damaged").read_bytes() == told


def test_a_full_disk_is_told_and_leaves_no_half_entry(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.keep([telling("e-1")])
        [path] = folder.glob("*.spool")
        before = path.read_bytes()
        with largest_file(len(before) + 20):
            for _ in range(3):
                with pytest.raises(SpoolUnavailable, match="make room there"):
                    await spool.keep([telling("lost")])
        assert path.read_bytes() == before
        # There is room again.
        await spool.keep([telling("e-2")])
        database = Database()
        await spool.pass_on(database)
        assert database.took == ["e-1", "e-2"]

    run(story)


def test_a_disk_without_room_for_a_file_is_told(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        with largest_file(5), pytest.raises(SpoolUnavailable):
            await spool.keep([telling("lost")])
        assert files(folder) == []
        await spool.keep([telling("e-1")])
        await spool.close()

    run(story)
    assert passed_on(folder) == ["e-1"]


def test_a_long_outage_is_many_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_spool, "LARGEST_FILE", 1000)

    async def story() -> None:
        spool = FileSpool(folder)
        for n in range(30):
            await spool.keep([telling(f"e-{n}")])
        assert len(files(folder)) > 3
        await spool.close()

    run(story)
    assert sorted(passed_on(folder)) == sorted(f"e-{n}" for n in range(30))


def test_what_cannot_be_told_is_put_aside_whole(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.keep([telling("e-1")])
        for n in range(2):
            await spool.reject([Rejected(telling(f"bad-{n}").outcomes[0], "told before")])
        await spool.close()

    run(story)
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    assert [("bad-0" in line, "bad-1" in line) for line in lines] == [(True, False), (False, True)]
    assert all("told before" in line for line in lines)


def bad(name: str, customer_id: str = "c-1", at: datetime = AT) -> Rejected:
    outcome = Outcome(name, customer_id, at, "app", "survey", text="I am Ana")
    return Rejected(outcome, f"event {name!r} was told before")


def put_aside(folder: Path) -> list[Rejected]:
    lines = (folder / "rejected.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Rejected) for line in lines]


def test_who_is_forgotten_is_forgotten_in_what_was_put_aside(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        assert await spool.rejected_customers() == set()
        later = bad("e-9", at=AT + timedelta(days=2))
        await spool.reject([bad("c-1:visit"), bad("e-2", "c-2"), bad("e-3", "1029"), later])
        before = (folder / "rejected.jsonl").read_bytes().splitlines()
        assert await spool.rejected_customers() == {"c-1", "c-2", "1029"}

        former = {
            "c-1": Former("erased-a", AT + timedelta(days=1)),
            "1029": Former("erased-b", None),
        }
        assert await spool.forget_rejected(former) == 2

        hers, other, third, new = put_aside(folder)
        assert hers.outcome == Outcome("erased-a:visit", "erased-a", AT, "app", "survey")
        assert hers.reason == "event 'erased-a:visit' was told before"
        assert (third.outcome.customer_id, third.outcome.event_id) == ("erased-b", "e-3")
        # Somebody of her id after she was forgotten is somebody new.
        assert new == later
        assert (folder / "rejected.jsonl").read_bytes().splitlines()[1] == before[1]
        assert other == bad("e-2", "c-2")
        assert await spool.forget_rejected(former) == 0
        assert (folder / "rejected.jsonl").stat().st_mode & 0o777 == 0o600
        await spool.close()

    run(story)


def test_a_line_that_cannot_be_read_goes_where_it_names_who_is_forgotten(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.reject([bad("e-1", "c-2")])
        with (folder / "rejected.jsonl").open("a") as file:
            file.write('{"outcome":{"customer_id":"c-3","\\x"}\n')
            # Half of one, and another behind it; then one that a power cut left.
            file.write('{"outcome":{"customer_id":"c-1","at":"20{"outcome":{"event_id":"e-2"}}\n')
            file.write('{"outcome":{"customer_id":"c-1","event')
        with (folder / "rejected.jsonl").open("ab") as file:
            # In the middle of a character.
            file.write("é".encode()[:1])
        await spool.reject([bad("e-4", "c-2")])
        assert await spool.rejected_customers() == {"c-1", "c-2", "c-3"}
        assert await spool.forget_rejected({"c-1": Former("erased-a", None)}) == 1
        await spool.close()

    run(story)
    first, unread, last = (folder / "rejected.jsonl").read_text().splitlines()
    assert ("e-1" in first, "c-3" in unread, "e-4" in last) == (True, True, True)


def test_a_disk_that_is_full_leaves_no_half_line(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.reject([bad("e-1")])
        room = (folder / "rejected.jsonl").stat().st_size + 20
        with largest_file(room), pytest.raises(SpoolUnavailable):
            await spool.reject([bad("e-2")])
        await spool.reject([bad("e-2")])
        await spool.close()

    run(story)
    assert put_aside(folder) == [bad("e-1"), bad("e-2")]


def test_no_line_is_lost_that_is_put_aside_while_others_are_rewritten(folder: Path) -> None:
    # Two processes put aside, and forget each other's customers all the while, and are killed.
    program = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from adapters.file_spool import FileSpool
        from foundation.pseudonym import Former
        from tests.contracts.test_spool_contract import bad

        async def story(who):
            spool, n = FileSpool(Path({str(folder)!r})), 0
            while True:
                await spool.reject([bad(f"{{who}}-{{n}}", f"c-{{who}}-{{n}}")])
                print(n, flush=True)
                n += 1
                names = await spool.rejected_customers() - {{"erased"}}
                await spool.forget_rejected({{one: Former("erased", None) for one in names}})

        asyncio.run(story(sys.argv[1]))
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, who],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )
        for who in ("a", "b")
    ]
    acknowledged: list[int] = []
    for process in processes:
        assert process.stdout is not None
        for _ in range(150):
            process.stdout.readline()
    for process in processes:
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        acknowledged.append(150 + len(process.stdout.readlines()))
        process.wait()

    async def forget() -> None:
        spool = FileSpool(folder)
        former = dict.fromkeys(await spool.rejected_customers(), Former("erased", None))
        await spool.forget_rejected(former)
        await spool.close()

    run(forget)
    # Nothing half-rewritten is left.
    assert files(folder) == [".jsonl"]
    told = [one.outcome.event_id for one in put_aside(folder)]
    assert len(told) == len(set(told))
    kept = {f"{w}-{n}" for w, count in zip("ab", acknowledged, strict=True) for n in range(count)}
    assert kept <= set(told)
    assert len(told) <= len(kept) + 2


def test_nobody_else_may_read_it(folder: Path) -> None:
    async def story() -> None:
        spool = FileSpool(folder)
        await spool.keep([telling("e-1")])
        [path] = folder.glob("*.spool")
        assert [one.stat().st_mode & 0o777 for one in (folder, path)] == [0o700, 0o600]

    run(story)

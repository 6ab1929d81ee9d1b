"""What write-ahead promises, asked of files: what is kept is on disk, and passed on, whoever died.

Another adapter of serving.write_ahead.WriteAhead joins by a parameter of the fixture `files`.
"""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.file_write_ahead import MAGIC, FileWriteAhead
from foundation.errors import SpoolUnavailable
from foundation.packed_decision import PackedDecision
from serving.write_ahead import Waiting, WriteAhead

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ROOM = 4_000


class Asked:
    """Write-ahead files, asked from outside an event loop."""

    def __init__(self, files: WriteAhead) -> None:
        self._files = files
        self._runner = asyncio.Runner()

    def open(self) -> None:
        self._runner.run(self._files.open())

    def keep(self, decisions: Sequence[PackedDecision]) -> None:
        self._runner.run(self._files.keep(decisions))

    def waiting(self) -> Waiting | None:
        return self._runner.run(self._files.waiting())

    def left(self) -> tuple[Sequence[Waiting], Sequence[Exception]]:
        return self._runner.run(self._files.left())

    def forget(self, waiting: Waiting) -> None:
        self._runner.run(waiting.forget())

    def close(self) -> None:
        self._runner.run(self._files.close())
        self._runner.close()


def asked(folder: Path, room: int = ROOM) -> Asked:
    return Asked(FileWriteAhead(folder, room))


def decided(decision_id: str) -> PackedDecision:
    return PackedDecision(decision_id, "c-secret", AT, f"all of {decision_id}".encode())


def several(first: int, count: int) -> list[PackedDecision]:
    return [decided(f"d-{n:03}") for n in range(first, first + count)]


def passed_on(files: Asked) -> Sequence[PackedDecision]:
    """Take what waits, as the database takes it all."""
    waiting = files.waiting()
    if waiting is None:
        return []
    took = list(waiting.decisions)
    files.forget(waiting)
    return took


def left_behind(folder: Path) -> Sequence[PackedDecision]:
    """Take what processes left that ended, as another process does."""
    files, took = asked(folder), list[PackedDecision]()
    left, faults = files.left()
    assert faults == []
    for waiting in left:
        took += waiting.decisions
        files.forget(waiting)
    files.close()
    return took


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def files(folder: Path) -> Iterator[Asked]:
    found = asked(folder)
    found.open()
    yield found
    found.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk refuses more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_kept_waits_in_its_order_until_it_is_forgotten(files: Asked) -> None:
    assert files.waiting() is None
    for first in (0, 5):
        files.keep(several(first, 5))
    for _ in range(2):
        waiting = files.waiting()
        assert waiting is not None
        assert list(waiting.decisions) == several(0, 10)
    assert passed_on(files) == several(0, 10)
    assert passed_on(files) == []


def test_what_is_kept_meanwhile_waits_for_the_next_time(files: Asked) -> None:
    files.keep(several(0, 5))
    waiting = files.waiting()
    assert waiting is not None
    files.keep(several(5, 5))
    assert list(waiting.decisions) == several(0, 5)
    files.forget(waiting)
    assert passed_on(files) == several(5, 5)


def test_what_is_being_kept_waits_too(folder: Path) -> None:
    async def story() -> None:
        files = FileWriteAhead(folder, ROOM)
        await files.open()
        for n in range(10):
            _, waiting = await asyncio.gather(files.keep(several(n, 1)), files.waiting())
            assert waiting is not None
            assert list(waiting.decisions) == several(n, 1)
            await waiting.forget()
        await files.close()

    asyncio.run(story())


def test_what_is_forgotten_and_not_waited_for_takes_nothing_with_it(folder: Path) -> None:
    async def story() -> None:
        files = FileWriteAhead(folder, ROOM)
        await files.open()
        for n in range(0, 40, 2):
            await files.keep(several(n, 1))
            waiting = await files.waiting()
            assert waiting is not None
            forgetting = asyncio.create_task(waiting.forget())
            await asyncio.sleep(0)
            forgetting.cancel()
            # It goes on waiting, and is forgotten again.
            assert await files.waiting() is waiting
            await waiting.forget()
            await files.keep(several(n + 1, 1))
            on_disk = b"".join(path.read_bytes() for path in folder.iterdir())
            assert f"d-{n:03}".encode() not in on_disk
            assert f"d-{n + 1:03}".encode() in on_disk
            kept = await files.waiting()
            assert kept is not None
            await kept.forget()
        await files.close()

    asyncio.run(story())


def test_room_is_used_again_and_again(files: Asked, folder: Path) -> None:
    for round_ in range(20):
        files.keep(several(10 * round_, 10))
        assert passed_on(files) == several(10 * round_, 10)
    assert [path.stat().st_size for path in folder.iterdir()] == [ROOM, ROOM]


def test_nobody_is_named_in_what_was_passed_on(files: Asked, folder: Path) -> None:
    files.keep(several(0, 10))
    assert any(b"c-secret" in path.read_bytes() for path in folder.iterdir())
    passed_on(files)
    assert not any(b"c-secret" in path.read_bytes() for path in folder.iterdir())


def test_nobody_is_named_in_what_the_disk_took_half(files: Asked, folder: Path) -> None:
    files.keep(several(0, 5))
    with largest_file(500), pytest.raises(SpoolUnavailable):
        files.keep(several(5, 10))
    assert passed_on(files) == several(0, 5)
    assert not any(b"c-secret" in path.read_bytes() for path in folder.iterdir())


def test_what_finds_no_room_is_refused_and_loses_nothing(files: Asked) -> None:
    kept = 0
    refused = ""
    while not refused:
        try:
            files.keep(several(kept, 5))
            kept += 5
        except SpoolUnavailable as error:
            refused = str(error)
    assert "no room is left" in refused
    # Both files are full.
    assert kept > ROOM // 100
    took = [*passed_on(files), *passed_on(files)]
    assert took == several(0, kept)
    files.keep(several(0, 1))


def test_a_group_larger_than_all_room_is_refused(files: Asked) -> None:
    with pytest.raises(SpoolUnavailable, match="no room is left"):
        files.keep(several(0, 200))
    files.keep(several(0, 1))
    assert passed_on(files) == several(0, 1)


def test_nothing_is_kept_before_there_is_room(folder: Path) -> None:
    files = asked(folder)
    assert files.waiting() is None
    with pytest.raises(SpoolUnavailable):
        files.keep(several(0, 1))
    with largest_file(ROOM // 2), pytest.raises(SpoolUnavailable):
        files.open()
    assert names(folder) == []
    files.open()
    files.keep(several(0, 1))
    files.close()
    assert left_behind(folder) == several(0, 1)


def test_a_process_that_ends_leaves_what_waits_to_the_next(folder: Path) -> None:
    files = asked(folder)
    files.open()
    files.keep(several(0, 5))
    assert files.waiting() is not None
    files.keep(several(5, 5))
    # It lives: nobody takes what is its own to pass on.
    assert left_behind(folder) == []
    files.close()
    took = left_behind(folder)
    assert sorted(took, key=lambda one: one.decision_id) == several(0, 10)
    assert names(folder) == []


def test_room_of_a_killed_process_in_which_nothing_waits_is_free_at_once(folder: Path) -> None:
    files = asked(folder)
    files.open()
    (folder / "0.ahead").write_bytes(MAGIC + bytes(ROOM))
    # Killed before it had a file of its own, and one who has it in a moment.
    draft, young = folder / "0.draft", folder / "1.draft"
    for path in (draft, young):
        path.write_bytes(MAGIC)
    os.utime(draft, (0, 0))
    assert files.left() == ([], [])
    files.close()
    assert [path.name for path in folder.iterdir()] == ["1.draft"]


def test_one_that_has_nothing_left_leaves_no_file(folder: Path) -> None:
    files = asked(folder)
    files.open()
    files.keep(several(0, 5))
    passed_on(files)
    files.close()
    assert names(folder) == []


def test_a_killed_process_loses_nothing_that_it_acknowledged(folder: Path) -> None:
    # It says what it was told is kept, passes some of it on, and is killed in the middle.
    program = textwrap.dedent(f"""
        from pathlib import Path
        from tests.contracts.test_write_ahead_contract import asked, several, passed_on

        files, n = asked(Path({str(folder)!r}), 100_000), 0
        files.open()
        while True:
            files.keep(several(4 * n, 4))
            print("kept", n, flush=True)
            n += 1
            if n % 7 == 0:
                for one in passed_on(files):
                    print("passed", one.decision_id, flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()

    kept = [int(line.split()[1]) for line in told if line.startswith("kept")]
    passed = {line.split()[1] for line in told if line.startswith("passed")}
    acknowledged = {one.decision_id for n in kept for one in several(4 * n, 4)}
    left = {one.decision_id for one in left_behind(folder)}
    assert acknowledged <= passed | left
    # What was passed on whole does not come again: the database would take it once anyway.
    assert len(left) <= 4 * 14


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_damage_costs_only_what_is_behind_it_and_is_put_aside(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "spool"
    files = asked(folder)
    files.open()
    for n in range(8):
        files.keep(several(n, 1))
    files.close()
    [path] = folder.glob("*.ahead")
    before = path.read_bytes()
    place = len(MAGIC) + at
    told = before[:place] + noise + before[place + len(noise) :]
    path.write_bytes(told)
    took = left_behind(folder)
    frame = len(before.rstrip(b"\0")) - len(MAGIC)
    untouched = min(at // (frame // 8), 8)
    assert took[:untouched] == several(0, untouched)
    # None is invented, and what was not read is kept, but for what only looks like the end.
    assert all(one in several(0, 8) for one in took)
    if names(folder):
        assert names(folder) == [".damaged"]
        aside = path.with_suffix(".damaged").read_bytes()
        passed = len(MAGIC) + len(took) * (frame // 8)
        assert aside[passed:] == told[passed:]
        # Nobody is named there for longer of whom all was passed on.
        assert not aside[len(MAGIC) : passed].strip(b"\0")


@pytest.mark.parametrize(
    "odd",
    [
        # Of a newer version, or damaged; an entry that a newer one would read; another one's file.
        b"regulars ahead 2\n" + b"something else" * 9,
        b"",
        MAGIC + bytes.fromhex("04000000") + crc32(b"\x93abc").to_bytes(4, "little") + b"\x93abc",
        None,
    ],
    ids=["another version", "nothing", "another entry", "not to be opened"],
)
def test_what_cannot_be_read_is_told_and_left_as_it_is_and_keeps_back_nothing(
    folder: Path, odd: bytes | None
) -> None:
    files = asked(folder)
    files.open()
    files.keep(several(0, 2))
    files.close()
    # The first to be looked at.
    path = folder / "0.ahead"
    path.mkdir() if odd is None else path.write_bytes(odd)

    found = asked(folder)
    for _ in range(3):
        left, faults = found.left()
        assert [one for waiting in left for one in waiting.decisions] == several(0, 2)
        (fault,) = faults
        assert "0.ahead" in str(fault)
    # Who can read it may have it.
    for waiting in left:
        found.forget(waiting)
    if odd is not None:
        assert path.read_bytes() == odd
        path.write_bytes(MAGIC)
        assert left_behind(folder) == []
        assert names(folder) == []
    found.close()


def test_nobody_else_may_read_it(files: Asked, folder: Path) -> None:
    files.keep(several(0, 1))
    modes = {one.stat().st_mode & 0o777 for one in folder.iterdir()}
    assert (folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})

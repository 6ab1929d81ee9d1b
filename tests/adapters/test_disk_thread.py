"""Are bytes on disk when they are said to be, and does the loop go on while the disk is busy?"""

import asyncio
import os
import resource
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from adapters.disk_thread import DiskThread


def run(path: Path, story: Callable[[DiskThread, int], Awaitable[None]]) -> None:
    async def told() -> None:
        disk, descriptor = DiskThread(), os.open(path, os.O_RDWR | os.O_CREAT)
        await story(disk, descriptor)
        await disk.close()
        os.close(descriptor)

    asyncio.run(asyncio.wait_for(told(), 60))


def test_bytes_are_written_where_they_belong_and_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def story(disk: DiskThread, descriptor: int) -> None:
        pieces = {100: b"", 20: b"x" * 70_000, 0: b"begin", 5: os.urandom(15), 2: b"GIN"}
        waiting = [disk.write(descriptor, data, place) for place, data in pieces.items()]
        await asyncio.gather(*waiting)
        told = path.read_bytes()
        assert told == b"beGIN" + pieces[5] + pieces[20]

    run(path, story)


def test_what_the_disk_refuses_fails_with_its_reason_and_the_next_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"

    async def story(disk: DiskThread, descriptor: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            # The first thousand of it are written, and not said to be.
            with pytest.raises(OSError, match="File too large"):
                await disk.write(descriptor, b"a" * 1500, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(OSError, match="Bad file descriptor"):
            await disk.write(10_000, b"a", 0)
        await disk.write(descriptor, b"b", 0)
        assert path.read_bytes()[:2] == b"ba"

    run(path, story)


def test_the_loop_goes_on_while_the_disk_is_busy(tmp_path: Path) -> None:
    async def story(disk: DiskThread, descriptor: int) -> None:
        turns = 0
        writing = disk.write(descriptor, bytes(300_000_000), 0)
        began = time.monotonic()
        while not writing.done():
            await asyncio.sleep(0.001)
            turns += 1
        took = time.monotonic() - began
        # A loop that waited would have had one or two turns.
        assert took > 0.05
        assert turns > 10

    run(tmp_path / "file", story)


def test_who_hears_no_answer_any_more_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def story(disk: DiskThread, descriptor: int) -> None:
        disk.write(descriptor, b"first", 0).cancel()
        await disk.write(descriptor, b"second", 5)
        assert path.read_bytes() == b"firstsecond"

    run(path, story)


def test_signals_are_left_to_the_loop(tmp_path: Path) -> None:
    async def story(disk: DiskThread, descriptor: int) -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        thread = next(one for one in threading.enumerate() if one.name == "disk")
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        blocked = next(line for line in status.splitlines() if line.startswith("SigBlk"))
        assert int(blocked.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(heard.wait(), 10)
        await disk.write(descriptor, b"still there", 0)

    run(tmp_path / "file", story)

"""Write-ahead files: room that is written over again and again, so that a group costs one write.

A process has two, whose room was written once before. A disk then takes a group without keeping
books on a file that grows, in half of the time. While one is passed on the other is written; what
was passed on is overwritten with zeros, so that nobody is named there for longer. Both are held by
locks that the kernel gives back when their process ends, however it ends.
"""

import asyncio
import fcntl
import os
import struct
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from adapters.disk_thread import DiskThread
from adapters.durable import sync_folder
from adapters.orphans import adopted
from foundation.errors import SpoolUnavailable
from foundation.packed_decision import PackedDecision

MAGIC = b"regulars ahead 1\n"
# Room of one file, in bytes: some thousand decisions.
ROOM = 8_000_000
# A file that was not made by then never will be: its process was killed.
MADE_SECONDS = 60.0
# Length of an entry and CRC-32 of its bytes; a length of 0 is the end.
_FRAME = struct.Struct("<II")
# Customers are in it: nobody else's business.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PackedDecision)


@dataclass
class _File:
    """A file of this process.

    `end` is where its entries end, `torn` how much behind that may be of a group it did not take.
    """

    path: Path
    descriptor: int
    disk: DiskThread
    end: int = len(MAGIC)
    torn: int = 0
    decisions: list[PackedDecision] = field(default_factory=list[PackedDecision])

    async def forget(self) -> None:
        zeros = bytes(self.end + self.torn - len(MAGIC))
        # Not synced: what a power cut brings back the database takes only once.
        await self.disk.write(self.descriptor, zeros, len(MAGIC), sync=False)
        self.end, self.torn, self.decisions = len(MAGIC), 0, []


@dataclass
class _Left:
    """A file whose process ended; `end` is where its entries end."""

    path: Path
    descriptor: int
    decisions: list[PackedDecision]
    end: int
    whole: bool
    forgotten: bool = False

    async def forget(self) -> None:
        await asyncio.to_thread(self.drop)

    def drop(self) -> None:
        self.forgotten = True
        if self.whole:
            self.path.unlink()
        else:
            self.path.rename(self.path.with_suffix(".damaged"))
            os.pwrite(self.descriptor, bytes(self.end - len(MAGIC)), len(MAGIC))
        sync_folder(self.path.parent)
        os.close(self.descriptor)


class FileWriteAhead:
    """See serving.write_ahead.WriteAhead."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        self._folder = folder
        self._room = room
        self._log = structlog.get_logger("ahead")
        self._open: _File | None = None
        self._other: _File | None = None
        # Held until they are forgotten, however often the database does not take them.
        self._left: dict[Path, _Left] = {}
        self._disk: DiskThread | None = None
        # Files do not take turns while one is written.
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        self._disk = self._disk or DiskThread()
        await asyncio.to_thread(self._make_room, self._disk)

    def _make_room(self, disk: DiskThread) -> None:
        try:
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._other = self._other or self._made(disk)
            self._open = self._open or self._made(disk)
        except OSError as error:
            raise self._refused(error.strerror) from error

    async def keep(self, decisions: Sequence[PackedDecision]) -> None:
        frames = b"".join([_framed(_encoder.encode(decision)) for decision in decisions])
        async with self._writing:
            await self._keep(frames, decisions)

    async def _keep(self, frames: bytes, decisions: Sequence[PackedDecision]) -> None:
        if self._open is not None and self._open.end + len(frames) > self._room:
            self._turn()
        file = self._open
        if file is None or file.end + len(frames) > self._room:
            raise self._refused("no room is left until the database takes what waits")
        try:
            await file.disk.write(file.descriptor, frames, file.end)
        except OSError as error:
            file.torn = len(frames)
            self._give_up(file)
            raise self._refused(error.strerror) from error
        file.end += len(frames)
        file.decisions += decisions

    async def waiting(self) -> _File | None:
        async with self._writing:
            if self._other is None or not self._other.decisions:
                self._turn()
        return self._other if self._other is not None and self._other.decisions else None

    async def left(self) -> tuple[list[_Left], list[SpoolUnavailable]]:
        return await asyncio.to_thread(self._find_left)

    def _find_left(self) -> tuple[list[_Left], list[SpoolUnavailable]]:
        faults: list[SpoolUnavailable] = []
        self._left = {path: one for path, one in self._left.items() if not one.forgotten}
        own = {one.path for one in (self._open, self._other) if one is not None}
        for path in sorted(self._folder.glob("*.ahead")):
            if path not in own and path not in self._left:
                try:
                    left = self._claimed(path)
                    if left is not None and left.whole and not left.decisions:
                        left.drop()
                    elif left is not None:
                        self._left[path] = left
                except (OSError, msgspec.MsgspecError) as error:
                    faults.append(SpoolUnavailable(f"write-ahead file {path}: {error}"))
        self._drop_drafts()
        return list(self._left.values()), faults

    async def close(self) -> None:
        async with self._writing:
            if self._disk is not None:
                await self._disk.close()
            self._disk = None
            await asyncio.to_thread(self._give_back)

    def _give_back(self) -> None:
        for file in (self._open, self._other):
            if file is not None:
                if not file.decisions:
                    file.path.unlink(missing_ok=True)
                os.close(file.descriptor)
        for left in self._left.values():
            if not left.forgotten:
                os.close(left.descriptor)
        self._open, self._other, self._left = None, None, {}

    def _turn(self) -> None:
        """Let what was written wait, and write into the other file, if that is free."""
        if self._open is not None and self._other is not None and not self._other.decisions:
            self._open, self._other = self._other, self._open

    def _made(self, disk: DiskThread) -> _File:
        name = uuid.uuid4().hex
        # Under another name until it is locked: nobody is to take it for a dead process's.
        draft, path = self._folder / f"{name}.draft", self._folder / f"{name}.ahead"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Written, not only reserved: the first write into room that is reserved costs more.
            room = memoryview(MAGIC + bytes(self._room - len(MAGIC)))
            while room:
                room = room[os.write(descriptor, room) :]
            os.fsync(descriptor)
            draft.rename(path)
            sync_folder(self._folder)
        except OSError:
            draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return _File(path, descriptor, disk)

    def _drop_drafts(self) -> None:
        # Named in hexadecimals; other drafts here are somebody else's.
        for draft in self._folder.glob("[0-9a-f]*.draft"):
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > MADE_SECONDS:
                    draft.unlink()

    def _give_up(self, file: _File) -> None:
        """Write no more into a file that did not take a group, until what it took is passed on.

        What of the group it took all the same was not acknowledged, and does no harm.
        """
        self._open = None
        if not file.decisions:
            file.path.unlink(missing_ok=True)
            os.close(file.descriptor)
        elif self._other is None or not self._other.decisions:
            spare, self._other = self._other, file
            self._open = spare
        else:
            # Unlocked it is passed on like a dead process's.
            os.close(file.descriptor)

    def _claimed(self, path: Path) -> _Left | None:
        """Return a file whose process ended; None while it lives, or another one has it."""
        descriptor = adopted(path)
        if descriptor is None:
            return None
        try:
            return self._read_left(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _read_left(self, path: Path, descriptor: int) -> _Left:
        told = path.read_bytes()
        if not told.startswith(MAGIC):
            raise OSError("another version wrote it, which can read it, or it is damaged")
        decisions, end = _read(told)
        # Behind a zero is at most what was passed on before.
        whole = not told[end : end + _FRAME.size].strip(b"\0")
        if not whole:
            # Half a group that a power cut left was never acknowledged; it is kept to be looked at.
            self._log.error("write-ahead file damaged", file=path.name, at=end)
        return _Left(path, descriptor, decisions, end, whole)

    def _refused(self, reason: str | None) -> SpoolUnavailable:
        return SpoolUnavailable(f"write-ahead files in {self._folder}: {reason}")


def _framed(told: bytes) -> bytes:
    return _FRAME.pack(len(told), zlib.crc32(told)) + told


def _read(told: bytes) -> tuple[list[PackedDecision], int]:
    """Return the entries of a file, and where they end."""
    decisions: list[PackedDecision] = []
    place = len(MAGIC)
    while place + _FRAME.size <= len(told):
        length, checksum = _FRAME.unpack_from(told, place)
        entry = told[place + _FRAME.size : place + _FRAME.size + length]
        if not length or len(entry) < length or zlib.crc32(entry) != checksum:
            break
        decisions.append(_decoder.decode(entry))
        place += _FRAME.size + length
    return decisions, place

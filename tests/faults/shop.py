"""A small shop with a database of its own that can be stopped, frozen and started again.

Three offers: `plain` may be used without end, `capped` so often in all, `once` once by each.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import psycopg

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.file_spool import FileSpool
from adapters.file_write_ahead import ROOM, FileWriteAhead
from adapters.last_known import LastKnownCatalogue, LastKnownKeys
from adapters.last_refusals import LastKnownRefusals
from adapters.lmdb_profiles import LmdbProfiles, publish_snapshot
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_contacts import PostgresContacts
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from adapters.postgres_uses import PostgresUses
from foundation.access import SCOPES
from foundation.clock import Clock, SystemClock
from foundation.contact_policy import DEFAULT_CONTACT_POLICY
from foundation.decision import Policy
from foundation.profile import Profile, SnapshotFacts
from serving.api import create_app
from serving.parts import Parts
from serving.service import DecisionService

LIMITED = {"capped": {"total_cap": 1000}, "once": {"customer_cap": 1}}
CUSTOMERS = [f"c-{n}" for n in range(20)]


NO_ROOM = 100


@dataclass
class Till:
    """A caller of one process of the service; keeps what was acknowledged."""

    service: DecisionService
    client: httpx.AsyncClient
    statuses: list[int] = field(default_factory=list[int])
    decided: list[str] = field(default_factory=list[str])
    told: list[str] = field(default_factory=list[str])

    async def decide(self, customer_id: str = "c-1", key: str | None = None, **more: Any) -> Any:
        asked = {
            "customer_id": customer_id,
            "channel": "app",
            "placements": [{"name": "checkout", "limit": 3}],
            **more,
        }
        response = await self.post("/v1/decisions", asked, key)
        self.statuses.append(response.status_code)
        answer = response.json()
        if response.status_code == 200 and answer["decision_id"] is not None:
            self.decided.append(answer["decision_id"])
        return answer

    async def consent(self, customer_id: str, **consents: bool) -> None:
        path = f"/v1/customers/{customer_id}/consents"
        response = await self.client.put(path, json={"consents": consents, "source": "app"})
        assert response.status_code == 200, response.text

    async def tell(self, *events: dict[str, Any], key: str | None = None) -> httpx.Response:
        response = await self.post("/v1/outcomes", {"events": list(events)}, key)
        if response.status_code == 200:
            self.told += [one["event_id"] for one in events]
        return response

    async def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(path, json=body, headers=headers)


def event(event_id: str, kind: str = "view", **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    shared = {"event_id": event_id, "customer_id": "c-1", "at": at, "channel": "app"}
    return {**shared, "kind": kind, **more}


def offers_of(answer: Any) -> list[str]:
    return sorted(o["offer_id"] for p in answer["placements"] for o in p["offers"])


@dataclass
class Shop:
    folder: Path
    server: EmbeddedPostgres
    key: str

    @contextlib.asynccontextmanager
    async def till(
        self,
        deadline: float = 2.0,
        clock: Clock | None = None,
        home: str = "home",
        room: int = ROOM,
        files: type[FileWriteAhead] = FileWriteAhead,
    ) -> AsyncGenerator[Till]:
        """One process of the service, and who calls it.

        Args:
            room: Bytes of its write-ahead files; in NO_ROOM no decision fits.
            files: Where it writes ahead.
        """
        pool = PostgresPool(self.server.url)
        journal = PostgresJournal(pool)
        service = DecisionService(
            Parts(
                clock=clock or SystemClock(),
                catalogue=LastKnownCatalogue(self.folder / home, journal),
                journal=journal,
                uses=PostgresUses(pool),
                contact_counter=PostgresContacts(pool, DEFAULT_CONTACT_POLICY),
                customers=PostgresCustomers(pool),
                kept_refusals=LastKnownRefusals(self.folder / home),
                activation_seconds=60,
                ahead=files(self.folder / home / "spool", room),
                spool=FileSpool(self.folder / home / "spool"),
                deadline_seconds=deadline,
                keys=LastKnownKeys(self.folder / home, journal),
                profiles=LmdbProfiles(self.folder / "snapshots"),
                champion=lambda: None,
                uplift=lambda: None,
                policy=Policy("random", 1.0),
                time_zone="America/New_York",
            )
        )
        transport = httpx.ASGITransport(create_app(service))
        headers = {"Authorization": f"Bearer {self.key}"}
        await service.start()
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://x", headers=headers, timeout=60
            ) as client:
                yield Till(service, client)
        finally:
            await service.stop()

    async def forgotten(self, customer_id: str) -> None:
        """Do to the database what a night does that has forgotten somebody everywhere else."""
        pool = PostgresPool(self.server.url)
        await PostgresCustomers(pool).forgotten([customer_id])
        await pool.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def change(self, statement: str) -> None:
        with psycopg.connect(self.server.url) as connection:
            connection.execute(statement.encode())

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """The database takes no writes, as a standby does."""

        def set_to(value: str) -> None:
            with psycopg.connect(self.server.url, autocommit=True) as connection:
                connection.execute(
                    f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode()
                )
                connection.execute(b"SELECT pg_reload_conf()")

        set_to("on")
        try:
            yield
        finally:
            # A session may say for itself that it writes.
            with psycopg.connect(
                self.server.url, autocommit=True, options="-c default_transaction_read_only=off"
            ) as connection:
                connection.execute(b"ALTER SYSTEM RESET default_transaction_read_only")
                connection.execute(b"SELECT pg_reload_conf()")

    def kept(self) -> tuple[list[str], list[str]]:
        """Ids of the decisions and of the outcomes in the database."""
        decisions = self.rows("SELECT decision_id FROM decisions")
        return [i for (i,) in decisions], [i for (i,) in self.rows("SELECT event_id FROM outcomes")]

    def has(self, *tills: Till) -> bool:
        """Whether all that was acknowledged is there, and each once."""
        decisions, outcomes = self.kept()
        assert len(set(decisions)) == len(decisions)
        assert len(set(outcomes)) == len(outcomes)
        return all(
            set(till.decided) <= set(decisions) and set(till.told) <= set(outcomes)
            for till in tills
        )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The database hangs: connections stay open, and nothing is said on them."""
        pid = int((self.server.folder / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.resume()

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncGenerator[None]:
        """The database is not there."""
        await asyncio.to_thread(self.server.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)


def publish(folder: Path, feature_hash: str) -> SnapshotFacts:
    """Publish a snapshot of all customers."""
    return publish_snapshot(
        folder,
        [Profile(i, None, None, np.array([1.0]), {}) for i in CUSTOMERS],
        as_of=datetime.now(UTC),
        names=("orders_30d",),
        feature_hash=feature_hash,
    )


@contextlib.contextmanager
def open_shop(folder: Path) -> Iterator[Shop]:
    publish(folder / "snapshots", "91bc")
    with EmbeddedPostgres(folder / "postgres") as server:
        admin = PostgresAdmin(server.url)
        documents = [_document("plain"), *(_document(i, **more) for i, more in LIMITED.items())]
        admin.publish_offers(documents, dict.fromkeys(("plain", *LIMITED), 0.1))
        key = admin.make_key("till", SCOPES)
        admin.close()
        yield Shop(folder, server, key)


def _document(offer_id: str, **limits: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "offer_id": offer_id,
        "title": offer_id,
        "valid_from": (now - timedelta(days=30)).isoformat(),
        "valid_to": (now + timedelta(days=400)).isoformat(),
        "channels": [],
        "placements": [],
        "stores": [],
        "eligibility": None,
        "customer_cap": None,
        "priority": 0,
        "exclusive_group": None,
        "scope": [],
        "reward": 100.0,
        "min_spend": 0,
        "cost": 100,
        "campaign_kind": None,
        "lever": None,
        **limits,
    }


async def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(holds):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def many(count: int, ask: Callable[[int], Awaitable[Any]]) -> Sequence[Any]:
    return await asyncio.gather(*(ask(n) for n in range(count)))

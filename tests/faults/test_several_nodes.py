"""Several nodes, one deployment: two services on two ports, one database, one Redis.

Each is a worker process with a home of its own, as on a machine of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from adapters import redis_profiles
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from foundation.access import SCOPES
from regulars.wiring import House
from serving.degraded import UNREAD_CAUSE
from tests.collector import Collector, attributes, collecting
from tests.redis_servers import RedisServer, redis_server

pytestmark = pytest.mark.slow

WORKER = (
    f"{sys.executable} -m uvicorn regulars.wiring:api --factory --log-level warning --no-access-log"
).split()
CHECKOUT = {"channel": "app", "placements": [{"name": "checkout", "limit": 3}]}
SCARCE, CAP = "live-coffee", 7


@dataclass
class Nodes:
    """Two nodes, and what they share."""

    urls: tuple[str, str]
    key: str
    database: str
    redis: RedisServer
    collector: Collector
    logs: list[Path]
    house: House

    def ask(self, node: int, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        method = "GET" if body is None else "POST"
        url = f"{self.urls[node]}{path}"
        return httpx.request(method, url, json=body, headers=headers, timeout=20, trust_env=False)

    def decide(self, node: int, customer_id: str, **more: Any) -> dict[str, Any]:
        answer = self.ask(node, "/v1/decisions", {"customer_id": customer_id, **CHECKOUT, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def publish(self) -> str:
        """Publish the small deployment's snapshot to Redis; return its version."""
        store = self.house.profiles()
        facts = store.facts()
        assert facts is not None
        return redis_profiles.publish_snapshot(
            self.redis.url,
            store.sample(facts.customers),
            as_of=facts.as_of,
            names=facts.names,
            feature_hash=facts.feature_hash,
            living=facts.living,
            attributes=facts.attributes,
            counts=facts.counts,
            offers=facts.offers,
            explanation=facts.explanation,
        ).version


@pytest.fixture(scope="module")
def nodes(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with small_house.database() as theirs, psycopg.connect(theirs) as connection:
        offers = connection.execute("SELECT document, popularity FROM offers").fetchall()
    documents = [d | {"total_cap": CAP} if d["offer_id"] == SCARCE else d for d, _ in offers]
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(folder / "pg"))
        admin = PostgresAdmin(server.url)
        admin.publish_offers(documents, {d["offer_id"]: p for d, p in offers})
        key = admin.make_key("tills", SCOPES)
        admin.close()
        redis = stack.enter_context(redis_server())
        collector = stack.enter_context(collecting())
        shared = {
            "REGULARS_DATABASE_URL": server.url,
            "REGULARS_REDIS_URL": redis.url,
            "REGULARS_MLFLOW_TRACKING_URI": small_house.settings.mlflow_uri,
            # Chance would make two equal nodes differ, and so would one that is late.
            "REGULARS_DEADLINE_MS": "2000",
            "REGULARS_EXPLORATION": "1e-12",
        }
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        homes = [folder / "node-1", folder / "node-2"]
        found = Nodes(
            ("", ""), key, server.url, redis, collector, [home / "log" for home in homes],
            small_house,
        )  # fmt: skip
        found.publish()
        # Only the first one is traced.
        first = stack.enter_context(node(homes[0], shared | traced))
        second = stack.enter_context(node(homes[1], shared))
        found.urls = (first, second)
        for number in (0, 1):
            ready = lambda n=number: answers(found, n)  # noqa: E731
            assert within(180, ready), found.logs[number].read_text()
        yield found


@contextmanager
def node(home: Path, settings: Mapping[str, str]) -> Iterator[str]:
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*WORKER, "--port", str(port)],
            env={**os.environ, "REGULARS_HOME": str(home), "OMP_NUM_THREADS": "1", **settings},
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def answers(nodes: Nodes, number: int) -> bool:
    """Whether a node decides with its model."""
    try:
        return not nodes.decide(number, "c-0001", dry_run=True)["degraded"]
    except (httpx.TransportError, AssertionError):
        return False


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_two_nodes_decide_the_same(nodes: Nodes) -> None:
    assert not (Path(nodes.logs[0]).parent / "snapshots").exists()
    for number in range(20):
        asked = {"explain": True, "context": {"basket": [basket_line(number)]}}
        first, second = (nodes.decide(n, f"c-{number:04}", **asked) for n in (0, 1))
        assert first.pop("decision_id") != second.pop("decision_id")
        assert first == second
        assert not first["degraded"]


def basket_line(number: int) -> dict[str, Any]:
    return {"product_id": f"coffee-{number % 8}", "quantity": 1, "amount": 4.5}


def test_both_nodes_take_over_a_newer_snapshot_by_themselves(nodes: Nodes) -> None:
    version = nodes.publish()

    def both() -> bool:
        told = [nodes.decide(n, "c-0001", dry_run=True)["versions"] for n in (0, 1)]
        return all(one["snapshot"] == version for one in told)

    assert within(20, both)


def test_two_nodes_count_a_scarce_offer_together(nodes: Nodes) -> None:
    def activate(number: int) -> dict[str, Any]:
        asked = {"customer_id": f"c-{number:04}", "offer_id": SCARCE, "channel": "app"}
        return nodes.ask(number % 2, "/v1/activations", asked).json()

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(activate, range(40)))

    granted = [one for one in told if one.get("refused") is None]
    assert len(granted) == CAP
    assert {one["refused"] for one in told if one.get("refused")} == {"cap_reached"}
    # Both nodes stop showing it, and show what is left of it.
    for number in (0, 1):

        def refused(n: int = number) -> bool:
            told = nodes.decide(n, "c-0300", explain=True, dry_run=True)["considered"]
            return {"offer_id": SCARCE, "verdict": "cap_reached", "score": None} in told

        assert within(20, refused)
        figures = nodes.ask(number, "/metrics").text
        assert f'regulars_uses_held{{offer_id="{SCARCE}"}} {CAP}.0' in figures
    # What one node granted, the other one takes back, and both may give it again.
    kept = granted[0]["activation_id"]
    assert nodes.ask(1, f"/v1/activations/{kept}/cancel", {}).status_code == 200
    assert activate(100).get("refused") is None
    assert activate(101)["refused"] == "cap_reached"


def test_a_step_of_every_sixteenth_decision_is_timed(nodes: Nodes) -> None:
    for _ in range(32):
        nodes.decide(1, "c-0002")
    figures = nodes.ask(1, "/metrics").text
    for step in ("profile", "state", "eligibility", "score", "slate", "answer", "record"):
        assert f'regulars_step_seconds_count{{step="{step}"}}' in figures
    assert 'regulars_candidate_offers_count{kind="eligible"}' in figures
    assert 'regulars_uses_total{kind="activation",result="granted"}' in figures


def test_a_traced_node_tells_each_step_under_the_callers_trace_and_names_nobody(
    nodes: Nodes,
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "Authorization": f"Bearer {nodes.key}",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
    }
    told = httpx.post(
        f"{nodes.urls[0]}/v1/decisions",
        json={"customer_id": "c-0007", **CHECKOUT},
        headers=headers,
        trust_env=False,
    ).json()

    def mine() -> list[Any]:
        return [
            span
            for span in nodes.collector.named("POST /v1/decisions")
            if span.trace_id.hex() == trace
        ]

    assert within(20, lambda: len(mine()) == 1 and len(nodes.collector.children(mine()[0])) == 7)
    (request,) = mine()
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    said = attributes(request)
    assert said["regulars.decision_id"] == told["decision_id"]
    assert (said["http.route"], said["http.response.status_code"]) == ("/v1/decisions", 200)
    steps = sorted(nodes.collector.children(request), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in steps] == [
        "profile", "state", "eligibility", "score", "slate", "answer", "record",
    ]  # fmt: skip
    for span in steps:
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= request.end_time_unix_nano
    everything = " ".join(str(span) for span in nodes.collector.spans)
    assert "c-0007" not in everything
    assert nodes.key not in everything
    assert not nodes.collector.named("GET /health/ready")


def test_without_redis_nodes_answer_say_why_and_come_back(nodes: Nodes) -> None:
    nodes.redis.hang()
    try:
        started = time.monotonic()
        told = [nodes.decide(n, "c-0003") for n in (0, 1)]
        assert time.monotonic() - started < 10
    finally:
        nodes.redis.go_on()
    for one in told:
        assert one["degraded"]
        assert UNREAD_CAUSE in one["causes"]
        assert one["placements"][0]["fallback"]
    assert within(30, lambda: answers(nodes, 0) and answers(nodes, 1))
    lines = [json.loads(line) for line in nodes.logs[0].read_text().splitlines() if "{" in line]
    degraded = [line for line in lines if line["event"] == "degraded"]
    assert told[0]["decision_id"] in {line["decision_id"] for line in degraded}
    assert "c-0003" not in nodes.logs[0].read_text()


@pytest.mark.slow
def test_a_node_that_starts_without_redis_answers_and_finds_it_later(
    nodes: Nodes, tmp_path: Path
) -> None:
    with redis_server() as empty:
        empty.kill()
        settings = {
            "REGULARS_DATABASE_URL": nodes.database,
            "REGULARS_REDIS_URL": empty.url,
            "REGULARS_MLFLOW_TRACKING_URI": nodes.house.settings.mlflow_uri,
        }
        with node(tmp_path / "late", settings) as url:
            late = Nodes(
                (url, url), nodes.key, nodes.database, empty, nodes.collector,
                [tmp_path / "late" / "log"], nodes.house,
            )  # fmt: skip

            def said() -> bool:
                try:
                    causes = late.decide(0, "c-0001")["causes"]
                except (httpx.TransportError, AssertionError):
                    return False
                return any("could be read: Redis" in cause for cause in causes)

            assert within(120, said), late.logs[0].read_text()
            empty.start()
            late.publish()
            assert within(60, lambda: answers(late, 0)), late.logs[0].read_text()

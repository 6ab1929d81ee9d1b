"""How much of a bare endpoint's speed is left when every answer is a durable, explained decision?

A real service (two workers, embedded PostgreSQL, keys, metrics, an experiment) decides for 50,000
customers among 100 offers by a model of 100 trees. Beside it, in the same run and on the same
server, a FastAPI endpoint takes the same body through pydantic and answers JSON of the same size.
The two take turns, so that a busy machine slows both alike; wrk asks where it is installed, an own
generator otherwise, and the own one at a steady rate. `mlflow models serve` of the same model
is shown beside; it neither looks anybody up nor keeps anything.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np
import pandas as pd

from benchmarks.callers import bare, wrk
from benchmarks.callers.load import Answers, closed_loop, open_loop, post
from benchmarks.run import Bar
from experiments.design import Experiment, Variant
from foundation.access import SCOPES
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.features import definitions
from foundation.profile import Explanation, Profile
from foundation.settings import Settings
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.exposures import TrainingFrame
from recommender.offer_features import offer_feature_names
from recommender.reasons import topics
from recommender.response import train_response
from recommender.response_model import ResponseModel
from regulars.progress import Progress
from regulars.serve import running
from regulars.wiring import House
from serving import turns

HOST = "127.0.0.1"
CONNECTIONS = (8, 32, 64)
FEATURES, TREES, WORKERS = 40, 100, 2
FEATURE_HASH = "benchmark"
BODIES = 5_000
# What a steady rate may have under way; more would wait in the caller, and is timed there.
OPEN_CONNECTIONS = 256
RATIO_BAR, P99_BAR_MS, P99_BAR_TIMES, EXPLAIN_BAR = 0.5, 10.0, 4.0, 0.15
# An answer without the database or in place of a late one is none that counts here.
DEGRADED_BAR = 0.01
PATIENCE_SECONDS = 120.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--offers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of all loads in turn; medians count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-mlflow", action="store_true", help="leave 'mlflow models serve' out")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return throughputs and latencies of the service and of the bare endpoint."""
    progress = Progress()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regulars-bench-")))
        house = House(Settings(home=folder, database_url=None))
        url = stack.enter_context(house.database())
        with progress.step("prepare"):
            key, version = _furnish(house, url, options)
        up = stack.enter_context(running(house, url, _free_port(), WORKERS, console=False))
        port = int(up.url.rsplit(":", 1)[1])
        answer = _decided(up.url, key, _body(0, options.customers))
        bare_port = stack.enter_context(_bare(answer))
        bodies = _bodies(options)
        explained = [body[:-1] + b', "explain": true}' for body in bodies]
        ours = [post("/v1/decisions", port, key, body) for body in bodies]
        theirs = [post("/v1/decisions", bare_port, key, body) for body in bodies]
        seconds = options.seconds
        best: dict[str, dict[int, list[float]]] = {"ours": {}, "bare": {}}
        explain_ratios: list[float] = []
        with progress.step("throughput"):
            for _ in range(options.rounds):
                for connections in CONNECTIONS:
                    for name, at in (("ours", port), ("bare", bare_port)):
                        found = _closed(at, key, bodies, connections, seconds)
                        best[name].setdefault(connections, []).append(found.throughput)
        throughput, bare_throughput = (
            {n: float(np.median(found)) for n, found in best[name].items()}
            for name in ("ours", "bare")
        )
        busiest = max(throughput, key=lambda n: throughput[n])
        with progress.step("explain"):
            for _ in range(options.rounds):
                plain = _closed(port, key, bodies, busiest, seconds).throughput
                told = _closed(port, key, explained, busiest, seconds).throughput
                explain_ratios.append(plain / told - 1)
        rate = max(throughput.values()) / 2
        tails: dict[str, list[Answers]] = {"ours": [], "bare": []}
        with progress.step("latency"):
            for _ in range(options.rounds):
                for name, at, requests in (("ours", port, ours), ("bare", bare_port, theirs)):
                    found = _good(open_loop(at, requests, rate, OPEN_CONNECTIONS, seconds))
                    tails[name].append(found)
        degraded = _degraded(up.url)
        mlflow_throughput = None
        if not options.no_mlflow:
            with progress.step("mlflow models serve"):
                mlflow_throughput = _mlflow(house, version, options)
    ratios = [
        max(best["ours"][n][i] for n in CONNECTIONS) / max(best["bare"][n][i] for n in CONNECTIONS)
        for i in range(options.rounds)
    ]
    return {
        "throughput": max(throughput.values()),
        "bare_throughput": max(bare_throughput.values()),
        "throughput_ratio": float(np.median(ratios)),
        "throughput_by_connections": throughput,
        "bare_throughput_by_connections": bare_throughput,
        "rate": rate,
        "p50_ms": _median(tails["ours"], 0.50),
        "p99_ms": _median(tails["ours"], 0.99),
        "bare_p50_ms": _median(tails["bare"], 0.50),
        "bare_p99_ms": _median(tails["bare"], 0.99),
        "explain_ratio": float(np.median(explain_ratios)),
        "mlflow_throughput": mlflow_throughput,
        "degraded_share": degraded,
        "generator": "wrk" if wrk.there_is_wrk() else "own",
        "answer_bytes": len(answer),
        "customers": options.customers,
        "offers": options.offers,
        "features": FEATURES,
        "trees": TREES,
        "workers": WORKERS,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold the figures to their bars."""
    ratio, p99, explain = (figures[n] for n in ("throughput_ratio", "p99_ms", "explain_ratio"))
    degraded = figures["degraded_share"]
    longest = max(P99_BAR_MS, P99_BAR_TIMES * figures["bare_p99_ms"])
    return [
        Bar("throughput_ratio", ratio, f"at least {RATIO_BAR}", ratio >= RATIO_BAR),
        Bar("p99_ms", p99, f"at most {longest:.1f}", p99 <= longest),
        Bar("explain_ratio", explain, f"at most {EXPLAIN_BAR}", explain <= EXPLAIN_BAR),
        Bar("degraded_share", degraded, f"at most {DEGRADED_BAR}", degraded <= DEGRADED_BAR),
    ]


def _median(found: list[Answers], share: float) -> float:
    return float(np.median([one.percentile_ms(share) for one in found]))


def _closed(port: int, key: str, bodies: list[bytes], connections: int, seconds: float) -> Answers:
    """Return what came back from connections that are always busy; wrk asks where there is one."""
    path = "/v1/decisions"
    if wrk.there_is_wrk():
        url = f"http://{HOST}:{port}{path}"
        return _good(wrk.closed_loop(url, key, bodies, connections, seconds))
    requests = [post(path, port, key, body) for body in bodies]
    return _good(closed_loop(port, requests, connections, seconds))


def _degraded(url: str) -> float:
    """Return the share of decisions so far that were answered degraded."""
    counted = {"regulars_decisions_total": 0.0, "regulars_degraded_total": 0.0}
    for line in httpx.get(f"{url}/metrics", trust_env=False).text.splitlines():
        name = line.partition("{")[0]
        if name in counted:
            counted[name] += float(line.rpartition(" ")[2])
    return counted["regulars_degraded_total"] / counted["regulars_decisions_total"]


def _good(found: Answers) -> Answers:
    if found.other or not found.good:
        raise RuntimeError(f"not every request was answered: {found.other or 'none'}")
    return found


def _furnish(house: House, url: str, options: argparse.Namespace) -> tuple[str, int]:
    """Publish customers, offers, an experiment and a model; return a key and its version."""
    draw = np.random.default_rng(options.seed)
    names = tuple(feature.name for feature in definitions())[:FEATURES]
    offer_ids = [f"o-{n}" for n in range(options.offers)]
    model = _model(house, draw, names)
    keys = tuple(topic.key for topic in topics(names))
    house.publish_snapshot(
        _profiles(draw, options, len(keys)),
        as_of=datetime.now(UTC),
        names=names,
        feature_hash=FEATURE_HASH,
        offers=offer_ids,
        explanation=Explanation(f"response@{model}", keys, tuple("" for _ in offer_ids)),
    )
    with house.admin(url) as admin:
        admin.publish_offers(
            [_offer(offer_id, n) for n, offer_id in enumerate(offer_ids)],
            dict.fromkeys(offer_ids, 0.1),
        )
        design = Experiment(
            key="fewer-offers",
            salt="fewer-offers",
            variants=[
                Variant("control", 0.5),
                Variant("fewer", 0.5, offers=offer_ids[: len(offer_ids) - 10]),
            ],
            control="control",
        )
        admin.start_experiment(design, datetime.now(UTC))
        return admin.make_key("benchmark", SCOPES), model


def _model(house: House, draw: np.random.Generator, names: tuple[str, ...]) -> int:
    """Register a champion of so many trees; return its version."""
    inputs = (*names, *offer_feature_names(["A", "B"]), *AFFINITY_NAMES, *CONTEXT_NAMES)
    n = 20_000
    matrix = _drawn(draw, (n, len(inputs)))
    signal = np.nan_to_num(np.log1p(matrix)) @ draw.normal(0, 0.3, len(inputs))
    outcome = (draw.random(n) < 1 / (1 + np.exp(signal.mean() - signal + 2))).astype(int)
    few = 2_000
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = pd.Series(start + pd.to_timedelta(np.sort(draw.integers(0, 100, few)), unit="D"))
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{i}" for i in range(few)],
            "offer_id": "o-0",
            "at": at,
            "ends": at + timedelta(days=5),
            "outcome": outcome[:few],
            "propensity": np.nan,
            "source": "history",
            "bought_before": True,
        }
    )
    frame = TrainingFrame(rows, matrix[:few], inputs, 4, start + timedelta(days=200), 2)
    report = train_response(frame, FEATURE_HASH, seed=0)
    trees = lightgbm.train(
        {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 2, "seed": 0},
        lightgbm.Dataset(matrix, outcome.astype(float)),
        num_boost_round=TREES,
    )
    model = ResponseModel("lightgbm", trees, inputs, FEATURE_HASH, {})
    report = replace(report, models=dict(report.models) | {"lightgbm": model})
    version = house.models.register(report, "benchmark")["lightgbm"]
    house.models.crown(version)
    return version


def _profiles(
    draw: np.random.Generator, options: argparse.Namespace, codes: int
) -> Iterator[Profile]:
    for n in range(options.customers):
        yield Profile(
            customer_id=f"c-{n}",
            household_id=None,
            time_zone="Europe/Vienna",
            vector=_drawn(draw, (FEATURES,)),
            segments={"rfm": "Loyal", "lifecycle": "active"},
            affinity=_drawn(draw, (options.offers, len(AFFINITY_NAMES))).astype(np.float32),
            reasons=draw.integers(0, codes + 1, (options.offers, 3)).astype(np.uint8),
        )


def _drawn(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return heavy-tailed figures, one in ten unknown."""
    found = draw.lognormal(2, 1.5, shape)
    found[draw.random(shape) < 0.1] = np.nan
    return found


def _offer(offer_id: str, n: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "offer_id": offer_id,
        "title": f"{n} off your coffee",
        "valid_from": (now - timedelta(days=1)).isoformat(),
        "valid_to": (now + timedelta(days=30)).isoformat(),
        "channels": ["app", "till"] if n % 2 else [],
        "placements": [],
        "stores": [],
        "scope": [],
        # A quarter of the offers is for some customers only.
        "eligibility": {"feature": "recency_days", "is": "<", "value": 30} if n % 4 == 0 else None,
        "total_cap": 1_000_000 if n % 5 == 0 else None,
        "customer_cap": 1,
        "budget": None,
        "stock": None,
        "store_stock": None,
        "priority": n % 3,
        "exclusive_group": None,
        "reward": 100.0 + n,
        "min_spend": 0,
        "cost": 100,
        "campaign_kind": "AB"[n % 2],
    }


def _bodies(options: argparse.Namespace) -> list[bytes]:
    draw = np.random.default_rng(options.seed + 1)
    return [
        json.dumps(_body(n, options.customers)).encode()
        for n in draw.integers(0, options.customers, BODIES).tolist()
    ]


def _body(n: int, customers: int) -> dict[str, Any]:
    return {
        "customer_id": f"c-{n % customers}",
        "channel": "app",
        "placements": [{"name": "checkout", "limit": 3}],
        "context": {
            "store_id": "s-1",
            "basket": [
                {"product_id": f"p-{n % 97}", "quantity": 1, "amount": 4.5},
                {"product_id": f"p-{n % 89}", "quantity": 2, "amount": 3.2},
            ],
        },
    }


def _decided(address: str, key: str, body: dict[str, Any]) -> str:
    """Return an answer of the service, once every worker decides with the model."""
    deadline, good = time.monotonic() + PATIENCE_SECONDS, 0
    headers = {"Authorization": f"Bearer {key}"}
    while True:
        with suppress(httpx.TransportError):
            response = httpx.post(
                f"{address}/v1/decisions", json=body, headers=headers, trust_env=False
            )
            sound = response.status_code == 200 and not response.json()["degraded"]
            good = good + 1 if sound else 0
            if good >= 10 * WORKERS:
                return response.text
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not decide: {response.text}")
        time.sleep(0.02)


@contextmanager
def _bare(answer: str) -> Generator[int]:
    """Run the bare endpoint in as many processes; yields its port."""
    with socket.create_server((HOST, 0), backlog=2048) as listener, ExitStack() as stack:
        descriptor = listener.fileno()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        turns.lay_out(folder / "connections", WORKERS)
        for place in range(WORKERS):
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.callers.bare",
                    str(descriptor),
                    str(folder / "connections"),
                    str(place),
                ],
                env={**os.environ, bare.ANSWER: answer},
                pass_fds=(descriptor,),
            )
            stack.callback(_end, process)
        port = int(listener.getsockname()[1])
        _answers(port, answer)
        yield port


def _answers(port: int, answer: str) -> None:
    """Wait until every process of the bare endpoint is sure to answer."""
    deadline, good = time.monotonic() + PATIENCE_SECONDS, 0
    while good < 10 * WORKERS:
        if time.monotonic() > deadline:
            raise RuntimeError("the bare endpoint does not answer")
        with suppress(httpx.TransportError):
            url = f"http://{HOST}:{port}/v1/decisions"
            response = httpx.post(url, json=_body(0, 1), trust_env=False, timeout=2)
            good = good + 1 if len(response.text) == len(answer) else 0
        time.sleep(0.05)


def _mlflow(house: House, version: int, options: argparse.Namespace) -> float:
    """Return the throughput of `mlflow models serve`, one offer scored a request."""
    port = _free_port()
    names = house.models.load("champion")
    if names is None:
        raise RuntimeError("the champion is gone")
    row = [1.0] * len(names.names)
    body = json.dumps(
        {"dataframe_split": {"columns": list(names.names), "data": [row] * options.offers}}
    )
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/response/{version}",
            "-h", HOST, "-p", str(port), "-w", str(WORKERS), "--env-manager", "local",
        ],
        env={**os.environ, "MLFLOW_TRACKING_URI": house.settings.mlflow_uri},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://{HOST}:{port}/ping", trust_env=False).status_code == 200:
                    break
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError("'mlflow models serve' does not start")
            time.sleep(0.2)
        request = post("/invocations", port, "", body.encode())
        return _good(closed_loop(port, [request], 8, options.seconds)).throughput
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

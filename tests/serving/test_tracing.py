"""Spans as a collector gets them, and that a request never waits for one."""

import time

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from adapters import otlp_traces
from regulars import wiring
from serving.steps import EVERY, Steps
from serving.tracing import Traced, Traces, with_trace
from tests.collector import attributes, collecting
from tests.serving.test_steps import record


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return monkeypatch


def app_of(traces: Traces) -> FastAPI:
    """A small service: one route whose path holds a customer's id, and one that fails."""
    app = FastAPI()
    steps = Steps(traces)

    @app.get("/v1/customers/{customer_id}")
    async def customer(customer_id: str) -> dict[str, str]:
        watch = steps.watch()
        assert watch is not None
        assert watch.traced
        watch.lap("profile")
        watch.lap("state")
        steps.told(watch, record())
        return with_trace(None, "info", {})

    @app.get("/v1/broken/{customer_id}")
    async def broken(customer_id: str) -> None:
        raise RuntimeError(f"no luck with {customer_id}")

    @app.get("/health/live")
    async def live() -> None: ...

    app.add_middleware(Traced, traces=traces, direct=("/v1/decisions",))
    return app


def test_a_span_names_the_route_and_its_steps_and_no_customer(quick: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        quick.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        traces = wiring.traces()
        assert traces is not None
        with TestClient(app_of(traces), raise_server_exceptions=False) as client:
            told = client.get("/v1/customers/c-secret").json()
            assert client.get("/v1/broken/c-secret").status_code == 500
            client.get("/health/live")
        deadline = time.monotonic() + 10
        while len(collector.spans) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        (request,) = collector.named("GET /v1/customers/{customer_id}")
        (failed,) = collector.named("GET /v1/broken/{customer_id}")
        assert [span.name for span in collector.children(request)] == ["profile", "state"]
        assert len(collector.spans) == 4
    assert told == {"trace_id": request.trace_id.hex()}
    said = attributes(request)
    assert said["http.response.status_code"] == 200
    assert (said["regulars.decision_id"], said["regulars.eligible"]) == ("d-1", 2)
    assert attributes(failed)["http.route"] == "/v1/broken/{customer_id}"
    assert failed.status.code == 2
    assert "c-secret" not in str(collector.spans)


def test_without_the_variable_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert wiring.traces() is None
    steps = Steps(None)
    assert [steps.watch() is not None for _ in range(EVERY)].count(True) == 1


def test_a_collector_that_is_away_delays_no_request_and_no_end(quick: pytest.MonkeyPatch) -> None:
    # Nobody listens there.
    quick.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracer = otlp_traces.open_traces()
    started = time.monotonic()
    with TestClient(app_of(Traces(tracer))) as client:
        for _ in range(20):
            assert client.get("/v1/customers/c-1").status_code == 200
    time.sleep(0.2)
    ended = time.monotonic()
    assert ended - started < 5
    # As the process does at its end.
    tracer.span_processor.shutdown()  # type: ignore[attr-defined]
    assert time.monotonic() - ended < 2 * otlp_traces.SECONDS + 1

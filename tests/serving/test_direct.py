"""Does an endpoint by itself answer whatever comes as it does by ASGI? A real server."""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx
import msgspec
import pytest
from fastapi import Response
from opentelemetry.trace import get_tracer
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from serving.api import Api
from serving.connection import MODERATE_BODY, Server, config
from serving.direct import Direct
from serving.problems import Problem
from serving.tracing import Traced, Traces
from serving.wire import LARGEST_BODY, Call, json_answer, read
from tests.serving.test_connection import answer as heard_to_the_end
from tests.serving.test_connection import connected, listening

PATH = "/direct"
last: ContextVar[str | None] = ContextVar("last", default=None)


async def _endpoint(call: Call) -> Response:
    """Tell of a request what came; its body says what shall happen first."""
    short = isinstance(call.body, bytes)
    asked = await read(call, dict[str, msgspec.Raw])
    before = last.get()
    last.set("somebody")
    if "fail" in asked:
        raise RuntimeError("no luck")
    if "refuse" in asked:
        raise Problem(429, "overloaded", "too much", retry_after=7)
    if "wait" in asked:
        await asyncio.sleep(msgspec.json.decode(asked["wait"], type=float))
    told = {"named": call.header(b"x-name"), "before": before, "short": short}
    return json_answer(told | {"filled": "x" * 5_000_000} if "fill" in asked else told)


def application() -> Api:
    app = Api()
    app.direct = {PATH: Direct(PATH, _endpoint)}

    @app.get("/other")
    async def other() -> str:
        return "by FastAPI"

    return app


@contextmanager
def served(grace: int = 30, proxies: tuple[str, ...] = ()) -> Generator[tuple[int, Server]]:
    listened = config(application(), list(proxies), timeout_graceful_shutdown=grace)
    with listening(listened) as up:
        yield up


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    with served() as (port, _):
        yield port


def request(content: str = "{}", *headers: str, close: bool = False, http: str = "1.1") -> bytes:
    lines = [f"POST {PATH} HTTP/{http}", "Host: x", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, *["Connection: close"] * close, "", content]).encode()


def parts(heard: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of each answer in what was heard."""
    found = list[tuple[int, bytes, bytes]]()
    while heard:
        head, _, rest = heard.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head)
        length = 0 if size is None else int(size[1])
        found.append((int(head[9:12]), head, rest[:length]))
        heard = rest[length:]
    return found


def asked_of(port: int, *pieces: bytes) -> list[tuple[int, bytes, bytes]]:
    """What is answered to pieces that are sent one after another."""
    with connected(port) as asking:
        for piece in pieces:
            asking.sendall(piece)
            time.sleep(0.05)
        return parts(heard_to_the_end(asking))


def counted(status: int) -> float:
    labels = {"path": PATH, "status": str(status)}
    return REGISTRY.get_sample_value("regulars_request_seconds_count", labels) or 0.0


def test_a_usual_request_goes_the_short_way_and_the_next_knows_nothing_of_it(port: int) -> None:
    before = counted(200)
    with connected(port) as asking:
        for n in range(3):
            asking.sendall(request("{}", f"X-Name: {n}"))
            ((status, head, told),) = parts(asking.recv(10_000))
            assert status == 200
            assert json.loads(told) == {"named": str(n), "before": None, "short": True}
            names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
            assert names == [b"date", b"content-length", b"content-type"]
    assert counted(200) - before == 3


def test_a_body_in_pieces_goes_it_too(port: int) -> None:
    sent = request('{"a": 1}', close=True)
    ((status, head, told),) = asked_of(port, sent[:20], sent[20:-8], sent[-8:-3], sent[-3:])
    assert (status, json.loads(told)["short"]) == (200, True)
    assert b"\r\nconnection: close" in head


@pytest.mark.parametrize(
    "pieces",
    [
        [request(close=True).replace(PATH.encode(), PATH.encode() + b"?a=b")],
        [request(http="1.0")],
        [request(" " * MODERATE_BODY + "{}", close=True)],
        [
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\n".encode(),
            b"1\r\n{\r\n",
            b"1\r\n}\r\n0\r\n\r\n",
        ],
    ],
    ids=["a query", "HTTP/1.0", "a large body", "chunks"],
)
def test_what_is_not_usual_is_answered_by_asgi(port: int, pieces: list[bytes]) -> None:
    ((status, head, told),) = asked_of(port, *pieces)
    assert (status, json.loads(told)["short"]) == (200, False)
    assert b"\r\nconnection: close" in head


def test_who_waits_to_be_told_to_go_on_is_told(port: int) -> None:
    head, _, content = request("{}", "Expect: 100-continue", close=True).partition(b"\r\n\r\n")
    with connected(port) as asking:
        asking.sendall(head + b"\r\n\r\n")
        assert asking.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        asking.sendall(content)
        assert heard_to_the_end(asking).startswith(b"HTTP/1.1 200 ")


def test_answers_come_in_the_order_of_what_was_asked(port: int) -> None:
    slow, quick = request('{"wait": 0.3}', "X-Name: slow"), request("{}", "X-Name: quick")
    other = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
    last = request("{}", "X-Name: last", close=True)
    heard = asked_of(port, slow + quick + other, quick + slow, last)
    named = [told if b"FastAPI" in told else json.loads(told)["named"] for _, _, told in heard]
    assert named == ["slow", "quick", b'"by FastAPI"', "quick", "slow", "last"]
    assert [b"connection: close" in head for _, head, _ in heard] == [False] * 5 + [True]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(port: int) -> None:
    sent = request("{}").replace(b"Length: 2", b"Length: %d" % (LARGEST_BODY + 1))
    with connected(port) as asking:
        asking.sendall(sent)
        ((status, head, told),) = parts(asking.recv(10_000))
    assert (status, json.loads(told)["code"]) == (413, "too_large")
    assert b"application/problem+json" in head


def test_refusals_and_faults_are_problems_that_are_counted(port: int) -> None:
    statuses = (400, 422, 429, 500)
    before = [counted(status) for status in statuses]
    with capture_logs() as log:
        heard = [
            *asked_of(port, request("{", close=True)),
            *asked_of(port, request("7", close=True)),
            *asked_of(port, request('{"refuse": 1}', close=True)),
            *asked_of(port, request('{"fail": 1}', close=True)),
        ]
    assert [status for status, _, _ in heard] == list(statuses)
    codes = ["not_json", "invalid_request", "overloaded", "fault"]
    assert [json.loads(told)["code"] for _, _, told in heard] == codes
    assert all(b"content-type: application/problem+json" in head for _, head, _ in heard)
    assert b"retry-after: 7" in heard[2][1]
    assert [counted(s) - b for s, b in zip(statuses, before, strict=True)] == [1, 1, 1, 1]
    ((event, path, fault),) = [(line["event"], line["path"], line["exc_info"]) for line in log]
    assert (event, path, str(fault)) == ("fault", PATH, "no luck")


@pytest.mark.parametrize("query", ["", "?by=asgi"])
def test_who_hangs_up_is_counted_and_no_fault(
    port: int, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = counted(400), counted(200)
    with capture_logs() as log:
        for sent in (request()[:-1], request('{"wait": 0.2}')):
            with connected(port) as asking:
                asking.sendall(sent.replace(PATH.encode(), f"{PATH}{query}".encode()))
        time.sleep(0.5)
    assert (counted(400) - before[0], counted(200) - before[1]) == (1, 1)
    assert log == []
    assert caplog.records == []


def test_who_reads_slowly_gets_all_of_every_answer(port: int) -> None:
    with connected(port) as asking:
        for _ in range(4):
            asking.sendall(request('{"fill": 1}'))
            time.sleep(0.2)
        asking.sendall(request(close=True))
        heard = parts(heard_to_the_end(asking))
    assert [len(told) > 5_000_000 for _, _, told in heard] == [True] * 4 + [False]


def test_a_server_that_stops_answers_what_it_was_asked() -> None:
    with served() as (port, server), connected(port) as whole, connected(port) as half:
        whole.sendall(request('{"wait": 0.5}'))
        half.sendall(request()[:-1])
        time.sleep(0.2)
        server.should_exit = True
        time.sleep(0.2)
        half.sendall(request()[-1:])
        for asking in (half, whole):
            ((status, head, _),) = parts(heard_to_the_end(asking))
            assert status == 200
            assert b"\r\nconnection: close" in head


def test_a_server_that_stops_hangs_up_on_who_waits_longer_than_it() -> None:
    before = counted(499)
    with served(grace=1) as (port, server), connected(port) as asking:
        asking.sendall(request('{"wait": 20}'))
        time.sleep(0.2)
        server.should_exit = True
        assert heard_to_the_end(asking) == b""
    assert counted(499) - before == 1


def test_behind_a_proxy_it_is_the_same() -> None:
    with served(proxies=("127.0.0.1",)) as (port, _):
        sent = request("{}", "X-Forwarded-For: 10.1.2.3", close=True)
        ((status, _, told),) = asked_of(port, sent)
    assert (status, json.loads(told)["short"]) == (200, True)


def test_what_is_traced_is_answered_by_asgi() -> None:
    app = application()
    app.direct = {PATH: Traced(app.direct[PATH], Traces(get_tracer("test")), {PATH})}
    with listening(config(app, [])) as (port, _):
        ((status, _, told),) = asked_of(port, request(close=True))
    assert (status, json.loads(told)["short"]) == (200, False)


async def _within(app: Api) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.post(PATH, json={}, headers={"X-Name": "within"})


def test_without_our_connections_the_application_answers_the_same() -> None:
    before = counted(200)
    response = asyncio.run(_within(application()))
    assert response.json() == {"named": "within", "before": None, "short": False}
    assert counted(200) - before == 1


def test_many_callers_at_once_get_their_own(port: int) -> None:
    told = dict[str, str]()

    def ask(name: str) -> None:
        ((_, _, body),) = asked_of(port, request('{"wait": 0.1}', f"X-Name: {name}", close=True))
        told[name] = json.loads(body)["named"]

    threads = [threading.Thread(target=ask, args=(str(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {str(n): str(n) for n in range(20)}

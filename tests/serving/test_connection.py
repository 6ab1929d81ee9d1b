"""How long may a caller take, and how much may it send before it is heard? A real server."""

import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import msgspec
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from serving import connection
from serving.api import Api
from serving.connection import LARGEST_HEADERS, Server, config
from serving.direct import Direct
from serving.wire import LARGEST_BODY, Call, json_answer, read

PATIENCE = 1.5
KEPT = 5


@contextmanager
def listening(listened: uvicorn.Config) -> Generator[tuple[int, Server]]:
    """A server and its port, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listened)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


def by_asgi() -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def echo(request: Request) -> int:
        return len(await request.body())

    return app


def direct() -> FastAPI:
    async def echo(call: Call) -> Response:
        return json_answer(len(await read(call, msgspec.Raw)))

    app = Api()
    app.direct = {"/": Direct("/", echo)}
    return app


@pytest.fixture(params=[by_asgi, direct])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", PATIENCE)
    app = request.param()

    @app.get("/large")
    async def large() -> str:
        return "x" * 50_000_000

    with listening(config(app, [], KEPT)) as (port, _):
        yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def answer(asked: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    heard = b""
    while True:
        try:
            piece = asked.recv(65_536)
        except ConnectionResetError:
            return heard
        if not piece:
            return heard
        heard += piece


def body(asked: socket.socket) -> bytes:
    """The body of one answer, in however many pieces it comes."""
    heard = b""
    while not heard.partition(b"\r\n\r\n")[2]:
        heard += asked.recv(1000)
    return heard.partition(b"\r\n\r\n")[2]


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"


def test_a_sound_request_is_answered_and_the_next_on_the_same_connection(port: int) -> None:
    with connected(port) as asked:
        for _ in range(3):
            asked.sendall(HEAD + b"\r\n1234")
            assert body(asked) == b"4"
        # Two at once, as a pipelining caller sends them.
        asked.sendall((HEAD + b"\r\n1234") * 2)
        time.sleep(0.3)
        assert asked.recv(1000).count(b"200 OK") == 2


def test_between_requests_a_connection_is_kept_for_longer_than_a_request_may_take(
    port: int,
) -> None:
    with connected(port) as asked:
        for pause in (PATIENCE + 1.2, 0):
            asked.sendall(HEAD + b"\r\n1234")
            assert body(asked) == b"4"
            time.sleep(pause)
        began = time.monotonic()
        assert answer(asked) == b""
        assert KEPT - 0.5 < time.monotonic() - began < KEPT + 5


def test_blank_lines_keep_no_connection(port: int) -> None:
    with connected(port) as asked:
        # Here the answer comes before all of the request is there.
        asked.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        heard = 0
        while heard < 50_000_000:
            heard += len(asked.recv(1_000_000))
        asked.sendall(b"1234")
        began = time.monotonic()
        asked.settimeout(0.2)
        while time.monotonic() - began < KEPT + 10:
            try:
                asked.sendall(b"\r\n")
                if asked.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert KEPT - 0.5 < time.monotonic() - began < KEPT + 5


def test_balancers_and_callers_hang_up_first() -> None:
    # By default Amazon's balancers and nginx keep a connection for 60 s, httpx for 5.
    assert config(FastAPI(), []).timeout_keep_alive > 60


@pytest.mark.parametrize(
    "begun",
    [b"", b"P", HEAD, HEAD + b"X-Long: a", HEAD + b"\r\n123"],
    ids=["nothing", "a letter", "some headers", "half a header", "half a body"],
)
def test_who_never_ends_a_request_is_hung_up_on(port: int, begun: bytes) -> None:
    with connected(port) as asked:
        began = time.monotonic()
        asked.sendall(begun)
        answer(asked)
        assert PATIENCE < time.monotonic() - began < PATIENCE + 5


def test_a_byte_now_and_then_buys_no_time(port: int) -> None:
    with connected(port) as asked:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012
            asked.sendall(HEAD + b"X-Slow: ")
            while time.monotonic() - began < PATIENCE + 10:
                asked.sendall(b"a")
                time.sleep(0.1)
        assert time.monotonic() - began < PATIENCE + 5


def test_who_does_not_read_the_answer_is_hung_up_on(port: int) -> None:
    with connected(port) as asked:
        asked.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(PATIENCE + 5)
        assert len(answer(asked)) < 50_000_000


@pytest.mark.parametrize("ended", [True, False])
def test_headers_too_large_are_a_problem(port: int, ended: bool) -> None:
    sent = HEAD + b"X-Large: " + b"a" * LARGEST_HEADERS + (b"\r\n\r\n1234" if ended else b"")
    with connected(port) as asked:
        asked.sendall(sent)
        heard = answer(asked)
    assert heard.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in heard
    assert b'"code":"headers_too_large"' in heard
    assert b"connection: close" in heard.lower()


def test_headers_just_small_enough_and_bodies_of_any_size_are_taken(port: int) -> None:
    with connected(port) as asked:
        asked.sendall(HEAD + b"X-Large: " + b"a" * (LARGEST_HEADERS - 100) + b"\r\n\r\n1234")
        assert body(asked) == b"4"
        asked.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LARGEST_BODY
            + b"1" * LARGEST_BODY
        )
        assert body(asked) == str(LARGEST_BODY).encode()


def test_an_endless_address_is_refused_too(port: int) -> None:
    with connected(port) as asked:
        asked.sendall(b"GET /" + b"a" * (2 * LARGEST_HEADERS))
        assert answer(asked).startswith(b"HTTP/1.1 431 ")


def test_no_server_is_named(port: int) -> None:
    with connected(port) as asked:
        asked.sendall(HEAD + b"Connection: close\r\n\r\n1234")
        assert b"\r\nserver:" not in answer(asked).lower()

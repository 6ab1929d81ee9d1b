"""A connection: how large a request's headers may be, and how long a caller may take to send it.

uvicorn bounds neither: a caller could send headers for ever, or one byte an hour of a request.

It is also the short way to an endpoint by itself (serving.direct), where ASGI would cost twice as
much. Only what is as usual goes it: one request after another, each with a body of a known and
moderate size. Everything else uvicorn knows how to answer.
"""

import asyncio
import gc
import socket
from typing import Any

import uvicorn
from fastapi import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from foundation.settings import KEPT_SECONDS
from serving.direct import Direct
from serving.problems import Problem
from serving.turns import Door, Turns
from serving.wire import Call

LARGEST_HEADERS = 32_768
# From the connection, or a request's first byte, to its last; also to read an answer.
PATIENCE_SECONDS = 15.0
# A larger body goes by ASGI, which pauses a caller who sends faster than it is read.
MODERATE_BODY = 65_536
# The collector looks for circles after so many new objects; it has found hardly any.
GARBAGE = 50_000
# The server ticks ten times a second.
TICKS_A_SWEEP = 10


def _too_large() -> Problem:
    detail = f"address and headers may have at most {LARGEST_HEADERS} bytes together"
    return Problem(431, "headers_too_large", detail)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = _too_large().response()
    response.headers["connection"] = "close"
    await response(scope, receive, send)


async def _gone() -> Message:
    return {"type": "http.disconnect"}


class Answering:
    """A request on the short way; uvicorn reads of it what it reads of its own."""

    # Set when more of the body is there, for which nobody waits here.
    message_event = asyncio.Event()

    def __init__(self, way: Direct, keep_alive: bool) -> None:
        self.way = way
        self.body = b""
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False


class Connection(HttpToolsProtocol):
    """One caller's connection; `due` is until when the caller has time to do the next thing.

    That is to send a request or the rest of one, or to read the answer; None while an answer is
    ours to give.
    """

    # The request that came last: an Answering, or uvicorn's own.
    cycle: Any
    parser: Any
    due: float | None = None
    _header_bytes: int | None = None
    # The request on the short way whose body is being read.
    _reading: Answering | None = None

    def __init__(self, config: uvicorn.Config, *more: Any, **named: Any) -> None:
        super().__init__(config, *more, **named)
        self._ways = _ways(config)

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self.due = self.loop.time() + PATIENCE_SECONDS

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_bytes is not None:
            # Counted here too: what has no end yet is told to nobody else.
            self._header_bytes += len(data)
            if self._header_bytes > LARGEST_HEADERS:
                self._header_bytes = None
                self._refuse_at_once()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.due = self.loop.time() + PATIENCE_SECONDS
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._header_bytes = None
        size, length = len(self.url), b""
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"content-length":
                length = value
        way = self._ways.get(self.url)
        if size > LARGEST_HEADERS:
            self.app = _refuse
        elif way is not None and length and int(length) <= MODERATE_BODY and self._usual():
            self.cycle = self._reading = Answering(way, self.parser.should_keep_alive())
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._reading is None:
            super().on_body(body)
        else:
            self._reading.body += body

    def on_message_complete(self) -> None:
        # An answer may be given before all of the request is there.
        given = self.cycle is not None and self.cycle.response_complete
        self.due = self._next_due() if given else None
        if self._reading is None:
            super().on_message_complete()
        else:
            self._begin(self._reading, self._reading.body)

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self.due = self._next_due()
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        self.due = None
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._reading is not None:
            # Nobody hears the answer, but it is counted.
            self._begin(self._reading, _gone)

    def sweep(self, now: float) -> None:
        """Hang up on a caller who takes too long."""
        if self.due is not None and now > self.due:
            self.transport.abort()

    def _next_due(self) -> float:
        unread = self.transport.get_write_buffer_size() > 0
        return self.loop.time() + (PATIENCE_SECONDS if unread else self.timeout_keep_alive)

    def _usual(self) -> bool:
        """Whether uvicorn is not needed for the request whose headers are read."""
        return (
            self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            # The answer before it is given.
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _begin(self, answering: Answering, body: bytes | Receive) -> None:
        self._reading = None
        call = Call(answering.way.path, self.headers, body)
        task = self.loop.create_task(self._answer(answering, call))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, answering: Answering, call: Call) -> None:
        try:
            response = await answering.way.answer(call)
            if self.flow.write_paused:
                await self.flow.drain()
            if answering.disconnected or self.transport.is_closing():
                return
            self.transport.write(self._wired(response, answering.keep_alive))
            answering.response_complete = True
        finally:
            # Whoever waits for an answer that will not come shall know.
            if not (answering.response_complete and answering.keep_alive):
                self.transport.close()
        self.on_response_complete()

    def _wired(self, response: Response, keep_alive: bool) -> bytes:
        """Return a whole answer as it goes over the wire: each write costs as much as all of it."""
        pieces = [STATUS_LINE[response.status_code]]
        for name, value in (*self.server_state.default_headers, *response.raw_headers):
            pieces += (name, b": ", value, b"\r\n")
        pieces += (b"\r\n" if keep_alive else b"connection: close\r\n\r\n", bytes(response.body))
        return b"".join(pieces)

    def _refuse_at_once(self) -> None:
        response = _too_large().response()
        head = [b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"]
        head += [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()


def _ways(config: uvicorn.Config) -> dict[bytes, Direct]:
    """Return the endpoints of an application that need no ASGI, by address."""
    app = config.loaded_app
    if isinstance(app, ProxyHeadersMiddleware):
        # None of them asks who calls.
        app = app.app
    if config.limit_concurrency is not None or config.root_path:
        return {}
    ways = getattr(app, "direct", {})
    return {path.encode(): way for path, way in ways.items() if isinstance(way, Direct)}


class Server(uvicorn.Server):
    """uvicorn's server, which looks now and then at how long its callers take.

    Args:
        turns: Whose turn it is to take the next connection; without, this server is alone.
    """

    def __init__(self, config: uvicorn.Config, turns: Turns | None = None) -> None:
        super().__init__(config)
        self._turns = turns or Turns()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=None if sockets is None else [])
        if sockets is not None:
            self.servers = [self._door(listener) for listener in sockets]  # pyright: ignore[reportAttributeAccessIssue]
        # What is loaded by now stays. To look through its half a million objects again, as the
        # collector otherwise does now and then, stopped every request for most of a second.
        gc.collect()
        gc.freeze()
        # What a request makes is gone when it is answered, by counting references alone.
        gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])

    def _door(self, listener: socket.socket) -> Door:
        def protocol() -> Connection:
            return Connection(self.config, self.server_state, self.lifespan.state)

        state = self.server_state
        # Whoever bound it may leave that to us, as to uvicorn; a second time is as once.
        listener.listen(self.config.backlog)
        return Door(listener, protocol, lambda: len(state.connections), self._turns)

    async def on_tick(self, counter: int) -> bool:
        self._turns.tell(len(self.server_state.connections))
        if counter % TICKS_A_SWEEP == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.sweep(connection.loop.time())
        return await super().on_tick(counter)


def config(
    app: object, proxies: list[str], kept_seconds: int = KEPT_SECONDS, **more: object
) -> uvicorn.Config:
    """Return how all our servers listen: whose forwarded addresses they believe, and no names.

    Args:
        app: The application, or its name with `factory=True`.
        proxies: Addresses and networks of proxies that are trusted to say who calls, and how.
        kept_seconds: How long a connection stays open from an answer to the next request. Whoever
            hangs up first may lose a request that is on its way, so let that be the caller.
    """
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        http=Connection,
        log_level="warning",
        access_log=False,
        # Who calls and whether encrypted would otherwise be whatever a caller on this machine says.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        server_header=False,
        timeout_keep_alive=kept_seconds,
        **more,  # pyright: ignore[reportArgumentType]
    )

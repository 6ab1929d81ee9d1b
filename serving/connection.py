"""A connection: how large a request's headers may be, and how long a caller may take to send it.

uvicorn bounds neither: a caller could send headers for ever, or one byte an hour of a request.
"""

import gc
import socket

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.problems import Problem
from serving.turns import Door, Turns

LARGEST_HEADERS = 32_768
# From the connection, or the last answer, to the last byte of the next request.
PATIENCE_SECONDS = 15.0
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


class Connection(HttpToolsProtocol):
    """One caller's connection; `owes_since` is when the rest of a request began to be waited for.

    None while an answer is ours to give.
    """

    owes_since: float | None = None
    _header_bytes: int | None = None

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self.owes_since = self.loop.time()

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
        self.owes_since = self.loop.time()
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._header_bytes = None
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LARGEST_HEADERS:
            self.app = _refuse
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.owes_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self.owes_since = self.loop.time()
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        self.owes_since = None
        super().handle_websocket_upgrade()

    def sweep(self, now: float) -> None:
        """Hang up on a caller who takes too long, also to read the answer before."""
        if self.owes_since is not None and now - self.owes_since > PATIENCE_SECONDS:
            self.transport.abort()

    def _refuse_at_once(self) -> None:
        response = _too_large().response()
        head = [b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"]
        head += [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()


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


def config(app: object, proxies: list[str], **more: object) -> uvicorn.Config:
    """Return how all our servers listen: whose forwarded addresses they believe, and no names.

    Args:
        app: The application, or its name with `factory=True`.
        proxies: Addresses and networks of proxies that are trusted to say who calls, and how.
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
        **more,  # pyright: ignore[reportArgumentType]
    )

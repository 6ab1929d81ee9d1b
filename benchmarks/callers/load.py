"""Load on a service over HTTP: as fast as it answers, or at a steady rate whatever it answers.

Connections are kept alive and carry one request at a time. At a steady rate latency counts from
the instant a request was meant to be sent: a service that stalls is charged for all who wait
(Tene 2013, coordinated omission).
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import uvloop

WARM_UP_SECONDS = 1.0


@dataclass
class Answers:
    """What came back: good answers, seconds to each where known, and others by status."""

    seconds: list[float] = field(default_factory=list[float])
    lasted: float = 0.0
    other: dict[int, int] = field(default_factory=dict[int, int])
    good: int = 0

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return self.good / self.lasted

    def percentile_ms(self, share: float) -> float:
        """Return the time that a share of good answers took at most, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def post(path: str, port: int, key: str, body: bytes) -> bytes:
    """Return a whole request as it goes over the wire."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Answers:
    """Keep so many connections busy; each sends its next request when it has its answer."""
    return uvloop.run(_closed(port, requests, connections, seconds))


def open_loop(
    port: int, requests: Sequence[bytes], rate: float, connections: int, seconds: float
) -> Answers:
    """Send at Poisson times of a rate a second; what finds no free connection waits for one."""
    return uvloop.run(_open(port, requests, rate, connections, seconds))


CLOSED = 0  # the status of a request whose connection ended before its answer


class _Connection(asyncio.Protocol):
    """One request at a time; `answered(self, status)` is called with each whole answer.

    A connection that ends under a request answers it with `CLOSED`; one that ended between
    requests, as a service does with those long idle, is not `open`.
    """

    def __init__(self, answered: Callable[["_Connection", int], None]) -> None:
        self._answered = answered
        self._read = bytearray()
        self._whole = 0
        self._asked = False
        self.open = True
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, since: float) -> None:
        self.since, self._asked = since, True
        self._transport.write(request)  # pyright: ignore[reportAttributeAccessIssue]

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._whole:
            end = self._read.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._read[:end]).lower()
            self._whole = end + 4 + int(head.split(b"content-length: ", 1)[1].split(b"\r", 1)[0])
        if len(self._read) >= self._whole:
            status = int(self._read[9:12])
            self._read, self._whole, self._asked = bytearray(), 0, False
            self._answered(self, status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open = False
        if self._asked:
            self._asked = False
            self._answered(self, CLOSED)

    def close(self) -> None:
        self._transport.close()


async def _connected(
    port: int, connections: int, answered: Callable[[_Connection, int], None]
) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(answered), "127.0.0.1", port)
        for _ in range(connections)
    ]
    return [connection for _, connection in made]


async def _closed(
    port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Answers:
    found, sent = Answers(), 0
    begun = perf_counter() + WARM_UP_SECONDS
    until = begun + seconds

    def answered(connection: _Connection, status: int) -> None:
        nonlocal sent
        now = perf_counter()
        if begun <= now < until:
            _note(found, status, now - connection.since)
        if now < until and connection.open:
            sent += 1
            connection.send(requests[sent % len(requests)], now)

    opened = await _connected(port, connections, answered)
    for connection in opened:
        sent += 1
        connection.send(requests[sent % len(requests)], perf_counter())
    await asyncio.sleep(until - perf_counter() + 0.2)
    for connection in opened:
        connection.close()
    found.lasted = seconds
    return found


async def _open(
    port: int, requests: Sequence[bytes], rate: float, connections: int, seconds: float
) -> Answers:
    found = Answers()
    waiting: deque[tuple[bytes, float]] = deque()
    draw = random.Random(0)
    begun = perf_counter() + WARM_UP_SECONDS
    until = begun + seconds
    under_way = 0

    def answered(connection: _Connection, status: int) -> None:
        nonlocal under_way
        if connection.since >= begun:
            _note(found, status, perf_counter() - connection.since)
        if waiting and connection.open:
            connection.send(*waiting.popleft())
        else:
            under_way -= 1
            idle.append(connection)

    opened = await _connected(port, connections, answered)
    idle = deque(opened)
    meant, sent = perf_counter(), 0
    while meant < until:
        await asyncio.sleep(max(0.0, meant - perf_counter()))
        while meant <= perf_counter() and meant < until:
            request = requests[sent % len(requests)]
            sent += 1
            while idle and not idle[0].open:
                idle.popleft()
            if idle:
                under_way += 1
                idle.popleft().send(request, meant)
            else:
                waiting.append((request, meant))
            meant += draw.expovariate(rate)
    while under_way:
        await asyncio.sleep(0.01)
    for connection in opened:
        connection.close()
    found.lasted = seconds
    return found


def _note(found: Answers, status: int, seconds: float) -> None:
    if status == 200:
        found.seconds.append(seconds)
        found.good += 1
    else:
        found.other[status] = found.other.get(status, 0) + 1

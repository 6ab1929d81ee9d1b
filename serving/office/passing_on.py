"""Passing on: an API worker checks the key of a marketer's request and lets the office answer.

Reading the lake takes seconds and whole cores, which a process that decides at checkouts must not
spend. While the office is away or late, its callers are told so; decisions know nothing of it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from fastapi import FastAPI, Request, Response

from foundation.access import Scope
from serving.office.app import REPLAY, SUBJECT, WHO
from serving.office.operations import OPERATIONS, Operation, add
from serving.problems import Problem
from serving.service import DecisionService
from serving.wire import LONGEST_NAME, Call, authorise, read, replay_name

SCOPE: Scope = "marketer"
# A report of a large experiment takes its time; balancers usually wait no longer either.
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 2.0
# So many of one worker's wait for the office; more is refused, not queued without end.
WAITING = 16
PASSED_BACK = ("content-type", "etag", "retry-after")


class OfficeDoor:
    """The way to the office's process, over a socket in the file system.

    Args:
        socket: Where it listens; None where this service has no office.
    """

    def __init__(self, socket: Path | None, seconds: float = ANSWER_SECONDS) -> None:
        self._socket = socket
        self._seconds = seconds
        self._waiting = 0

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Return the office's answer.

        Raises:
            Problem: It is away, late, or asked too much at once.
        """
        if self._socket is None:
            raise Problem(503, "no_office", "this service runs without an office", retry_after=60)
        if self._waiting >= WAITING:
            detail = f"{WAITING} requests wait for the office already; ask again when they are done"
            raise Problem(429, "overloaded", detail, retry_after=5)
        self._waiting += 1
        try:
            # A connection each: one that was kept would be a dead one after a restart.
            transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
            timeout = httpx.Timeout(self._seconds, connect=CONNECT_SECONDS)
            async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
                return await client.request(
                    method, f"http://office{target}", headers=headers, content=body
                )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            detail = "the office is not running; it is started again, ask again in some seconds"
            raise Problem(503, "office_away", detail, retry_after=5) from error
        except httpx.TimeoutException as error:
            detail = (
                f"the office has not answered in {self._seconds:g} s, and may yet do it; ask again "
                "with the same Idempotency-Key"
            )
            raise Problem(503, "office_late", detail, retry_after=10) from error
        except httpx.TransportError as error:
            detail = (
                "the office stopped in the middle, and may have done it; ask again with the same "
                "Idempotency-Key"
            )
            raise Problem(503, "office_stopped", detail, retry_after=5) from error
        finally:
            self._waiting -= 1


def add_marketers(app: FastAPI, service: DecisionService, door: OfficeDoor) -> None:
    """Add the routes that marketers' programs ask."""
    for operation in OPERATIONS:
        add(app, operation, _endpoint(operation, service, door))


def _endpoint(operation: Operation, service: DecisionService, door: OfficeDoor) -> Any:
    async def endpoint(request: Request) -> Response:
        call = Call.of(request)
        key = await authorise(service, call, SCOPE)
        headers = {WHO: quote(key.called)}
        name = replay_name(call, key) if operation.changes else None
        if name is not None:
            headers[REPLAY] = quote(name)
        if operation.subject is not None:
            headers[SUBJECT] = quote(request.path_params[operation.subject])
        if operation.conditional and (seen := request.headers.get("if-match")) is not None:
            headers["if-match"] = _plain(seen)
        body = b""
        if operation.body is not None:
            body = await _raw(call)
            headers["content-type"] = "application/json"
        told = await door.ask(operation.method, _target(operation, request), headers, body)
        kept = {n: told.headers[n] for n in PASSED_BACK if n in told.headers}
        return Response(told.content, told.status_code, kept)

    return endpoint


async def _raw(call: Call) -> bytes:
    try:
        return bytes(await read(call, msgspec.Raw))
    except RecursionError as error:
        raise Problem(400, "not_json", "the body's objects and lists lie too deep") from error


def _plain(seen: str) -> str:
    if not seen.isascii() or not 1 <= len(seen) <= LONGEST_NAME:
        detail = f"If-Match has 1 to {LONGEST_NAME} ASCII characters: the ETag that was seen"
        raise Problem(422, "invalid_request", detail, "If-Match")
    return seen


def _target(operation: Operation, request: Request) -> str:
    path = re.sub(r"\{\w+\}", "-", operation.path)
    query = request.url.query if operation.paged else ""
    return f"{path}?{query}" if query else path

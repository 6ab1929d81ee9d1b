"""What comes in and what goes out: the caller's key, the body, the answer."""

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from foundation.access import KeyFacts, Scope
from foundation.replay import Replay, digest
from serving.problems import Problem
from serving.service import DecisionService

LARGEST_BODY = 2_000_000
LONGEST_NAME = 200
# Where msgspec found it; of a name in an object it says only in which object.
_PLACE = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`$")
# msgspec names the field that is missing or too much in its sentence, not in the path.
_NAMED = re.compile(r"(missing required|contains unknown) field `([^`]*)`")

Message = TypeVar("Message")


class Call:
    """A request as it came over the wire: by ASGI or by a connection of ours.

    Args:
        path: What is asked, decoded and without a query.
        headers: Their names in lower case.
        body: All of it, or where its pieces come from.
    """

    __slots__ = ("_headers", "body", "path")

    def __init__(
        self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes | Receive
    ) -> None:
        self.path = path
        # Of those with one name the first counts.
        self._headers = dict(reversed(headers))
        self.body = body

    @staticmethod
    def of(request: Request) -> "Call":
        """Return what a route of FastAPI gets, as a call."""
        return Call(request.scope["path"], request.scope["headers"], request.receive)

    def header(self, name: bytes) -> str | None:
        """Return a header, None if it was not sent.

        Args:
            name: In lower case.
        """
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")


# Answers a request; what it raises is told as a problem.
Endpoint = Callable[[Call], Awaitable[Response]]


async def authorise(service: DecisionService, call: Call, scope: Scope) -> KeyFacts:
    """Return whose request this is, if it may do this now."""
    kind, _, key = (call.header(b"authorization") or "").partition(" ")
    if kind.lower() != "bearer" or not key:
        raise Problem(401, "no_key", "send the API key as 'Authorization: Bearer rgl_…'")
    facts = await service.keyring.facts(key.strip())
    if facts is None:
        raise Problem(
            401, "unknown_key", "this API key is unknown, revoked or over; make a new one"
        )
    if scope not in facts.scopes:
        raise Problem(403, "scope_missing", f"this API key lacks the scope {scope!r}")
    wait = service.keyring.wait(facts)
    if wait:
        detail = f"this API key may ask {facts.rate:g} times a second; ask again in {wait:.2g} s"
        raise Problem(429, "rate_exceeded", detail, retry_after=math.ceil(wait))
    return facts


async def read(call: Call, message: type[Message]) -> Message:
    """Return the body of a request as a message."""
    body = call.body
    if not isinstance(body, bytes):
        body = await _received(call, body)
    try:
        return msgspec.json.decode(body, type=message)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "not_json", str(error)) from error


async def _received(call: Call, receive: Receive) -> bytearray:
    length = call.header(b"content-length") or "0"
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        raise _too_large()
    body, more = bytearray(), True
    while more:
        piece = await receive()
        if piece["type"] == "http.disconnect":
            raise ClientDisconnect
        body += piece.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise _too_large()
        more = piece.get("more_body", False)
    return body


def _too_large() -> Problem:
    return Problem(413, "too_large", f"the body may have at most {LARGEST_BODY} bytes")


def _invalid(said: str) -> Problem:
    """Return what msgspec said of a body, with the whole path of the field it is about."""
    found = _PLACE.search(said)
    text, path = (said, "") if found is None else (said[: found.start()], found[1])
    named = _NAMED.search(text)
    if named is not None:
        path = f"{path}.{named[2]}".lstrip(".")
    return Problem(422, "invalid_request", text, path or None)


class JsonAnswer(Response):
    """A message as an answer; Starlette would take longer to put its two headers together."""

    def __init__(self, answer: Any) -> None:
        self.status_code = 200
        self.background = None
        self.body = msgspec.json.encode(answer)
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]


def json_answer(answer: Any) -> Response:
    """Return a message as an answer."""
    return JsonAnswer(answer)


def replay_of(call: Call, key: KeyFacts, asked: Any) -> Replay | None:
    """Return what a request that may be repeated is known by, None for one without a key of its
    own.
    """
    name = replay_name(call, key)
    return None if name is None else Replay(name, digest(asked))


def replay_name(call: Call, key: KeyFacts) -> str | None:
    """Return the name under which a repeated request is known: the key, the path, its own.

    A hash of them: path and name are the caller's words, which may hold whom they are about.
    """
    given = call.header(b"idempotency-key")
    if given is None:
        return None
    if not given.isprintable() or not 1 <= len(given) <= LONGEST_NAME:
        raise Problem(
            422,
            "invalid_idempotency_key",
            f"an Idempotency-Key has 1 to {LONGEST_NAME} printable characters",
            "Idempotency-Key",
        )
    return digest([key.line, call.path, given]).hex()

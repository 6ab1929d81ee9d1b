"""HTTP: the service under /v1, health and metrics. Errors are problem+json (RFC 9457)."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import prometheus_client
import structlog
from fastapi import FastAPI, Request, Response
from prometheus_client import multiprocess
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from foundation.access import Scope, hash_key
from foundation.errors import EventChanged, RegularsError, StoreUnavailable
from foundation.uses import Ended, State
from serving import metrics
from serving.messages import (
    ActivationRequest,
    DecisionRequest,
    EndedAnswer,
    OutcomeRequest,
    RecommendationRequest,
    RedemptionRequest,
    schemas,
)
from serving.service import DecisionService, InvalidField, KeyReused

LARGEST_BODY = 2_000_000
LONGEST_NAME = 200
# msgspec names the field that is missing or too much in its sentence, not in the path.
_NAMED = re.compile(r"(missing required|contains unknown) field `([^`]*)`")

Message = TypeVar("Message")


class Problem(Exception):
    """A refused request: HTTP status, a code for machines, a line for people."""

    def __init__(self, status: int, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field

    def response(self) -> Response:
        body = {
            "type": f"urn:regulars:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.field is not None:
            body["field"] = self.field
        headers = {"Retry-After": "1"} if self.status == 503 else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(msgspec.json.encode(body), self.status, headers, "application/problem+json")


def create_app(service: DecisionService) -> FastAPI:
    """Return the HTTP application of a service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        try:
            await service.start()
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Regulars",
        version="1",
        description="Which offers, for this customer, here, now.",
        lifespan=lifespan,
        redoc_url=None,
    )
    _add_errors(app)
    app.add_middleware(Watched)
    _add_decisions(app, service)
    _add_uses(app, service)
    _add_health(app, service)
    _describe(app)
    return app


def _add_decisions(app: FastAPI, service: DecisionService) -> None:
    @app.post(
        "/v1/decisions",
        openapi_extra=_body("DecisionRequest"),
        responses=_answers("DecisionAnswer"),
    )
    async def decisions(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which offers for this customer, in this channel, now?"""
        await _authorise(service, request, "decide")
        asked = await _read(request, DecisionRequest)
        return _json(await service.decide(asked))

    @app.post(
        "/v1/recommendations",
        openapi_extra=_body("RecommendationRequest"),
        responses=_answers("RecommendationAnswer"),
    )
    async def recommendations(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which products go with these in the basket?"""
        await _authorise(service, request, "decide")
        asked = await _read(request, RecommendationRequest)
        return _json(service.recommend(asked))

    @app.post(
        "/v1/outcomes",
        openapi_extra=_body("OutcomeRequest"),
        responses=_answers("OutcomeAnswer", 409),
    )
    async def outcomes(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Tell what happened: seen, redeemed, bought, returned. Twice counts once."""
        await _authorise(service, request, "outcomes")
        told = await _read(request, OutcomeRequest)
        return _json(await service.tell(told))


def _add_uses(app: FastAPI, service: DecisionService) -> None:
    @app.post(
        "/v1/activations",
        openapi_extra=_body("ActivationRequest", replayed=True),
        responses=_answers("ActivationAnswer", 409),
    )
    async def activations(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Keep one use of an offer for a customer; the answer says until when, or why not."""
        key = await _authorise(service, request, "outcomes")
        asked = await _read(request, ActivationRequest)
        return _json(await service.activate(asked, _replay(request, key)))

    @app.post(
        "/v1/activations/{activation_id}/cancel",
        openapi_extra={"security": [{"key": []}]},
        responses=_answers("EndedAnswer", 404, 409),
    )
    async def cancel(activation_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give a reservation back before its time. Twice is the same as once."""
        await _authorise(service, request, "outcomes")
        ended = await service.cancel(_known_form(activation_id, "activation"))
        return _ended(ended, "released", "activation", activation_id)

    @app.post(
        "/v1/redemptions",
        openapi_extra=_body("RedemptionRequest", replayed=True),
        responses=_answers("RedemptionAnswer", 409),
    )
    async def redemptions(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Use an offer now; it counts under every cap, and is told as an outcome."""
        key = await _authorise(service, request, "outcomes")
        asked = await _read(request, RedemptionRequest)
        return _json(await service.redeem(asked, _replay(request, key)))

    @app.post(
        "/v1/redemptions/{redemption_id}/reverse",
        openapi_extra={"security": [{"key": []}]},
        responses=_answers("EndedAnswer", 404, 409),
    )
    async def reverse(redemption_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give a use back after a return: cap, stock, budget and cost. Twice is as once."""
        await _authorise(service, request, "outcomes")
        ended = await service.reverse(_known_form(redemption_id, "redemption"))
        return _ended(ended, "reversed", "redemption", redemption_id)


def _known_form(use_id: str, word: str) -> str:
    # PostgreSQL takes no NUL, and nothing of ours has such an id.
    if not use_id.isprintable():
        raise Problem(404, f"unknown_{word}", f"{word} {use_id!r} does not exist", f"{word}_id")
    return use_id


def _ended(ended: Ended, wanted: State, word: str, use_id: str) -> Response:
    if ended.state is None:
        raise Problem(404, f"unknown_{word}", f"{word} {use_id!r} does not exist", f"{word}_id")
    if ended.state != wanted:
        raise Problem(409, f"{word}_{ended.state}", f"{word} {use_id!r} is {ended.state} already")
    return _json(EndedAnswer(ended.state, ended.changed))


def _replay(request: Request, key: str) -> str | None:
    """Return the name under which a repeated request is known: the caller's, the path, hers."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not given.isprintable() or not 1 <= len(given) <= LONGEST_NAME:
        raise Problem(
            422,
            "invalid_idempotency_key",
            f"an Idempotency-Key has 1 to {LONGEST_NAME} printable characters",
            "Idempotency-Key",
        )
    return f"{hash_key(key).hex()[:16]} {request.url.path} {given}"


def _add_health(app: FastAPI, service: DecisionService) -> None:
    @app.get("/health/live")
    async def live() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        """The process answers."""
        return {"status": "live"}

    @app.get("/health/ready", responses={503: _refused("Not now")})
    async def ready() -> dict[str, str | list[str]]:  # pyright: ignore[reportUnusedFunction]
        """A decision could be made and recorded now.

        `causes` say why it would be degraded, `refused` which newer models may not serve and why.
        """
        if not await service.ready():
            raise Problem(503, "not_ready", "the database or the catalogue is not there yet")
        return {"status": "ready", "causes": list(service.causes), "refused": list(service.refused)}

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def prometheus() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Figures for Prometheus, of all workers together."""
        # Off the event loop: it reads a file of every worker.
        figures = await asyncio.to_thread(_figures)
        return Response(figures, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _figures() -> bytes:
    registry = prometheus_client.CollectorRegistry()
    try:
        multiprocess.MultiProcessCollector(registry)
    except ValueError:
        # One process without a shared folder: its own figures are all there are.
        registry = prometheus_client.REGISTRY
    return prometheus_client.generate_latest(registry)


async def _authorise(service: DecisionService, request: Request, scope: Scope) -> str:
    """Return the key of a request that may do this."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key:
        raise Problem(401, "no_key", "send the API key as 'Authorization: Bearer rgl_…'")
    may = await service.allows(key.strip(), scope)
    if may is None:
        raise Problem(401, "unknown_key", "this API key is unknown or revoked; make a new one")
    if not may:
        raise Problem(403, "scope_missing", f"this API key lacks the scope {scope!r}")
    return key.strip()


async def _read(request: Request, message: type[Message]) -> Message:
    length = request.headers.get("content-length", "0")
    too_large = Problem(413, "too_large", f"the body may have at most {LARGEST_BODY} bytes")
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise too_large
    try:
        return msgspec.json.decode(body, type=message)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "not_json", str(error)) from error


def _invalid(said: str) -> Problem:
    """Return what msgspec said of a body, with the whole path of the field it is about."""
    text, _, place = said.partition(" - at `")
    path = place.rstrip("`").removeprefix("$").lstrip(".")
    named = _NAMED.search(text)
    if named is not None:
        path = f"{path}.{named[2]}".lstrip(".")
    return Problem(422, "invalid_request", text, path or None)


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:  # pyright: ignore[reportUnusedFunction]
        return error.response()

    @app.exception_handler(StoreUnavailable)
    async def away(_: Request, error: StoreUnavailable) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(503, "store_unavailable", str(error)).response()

    @app.exception_handler(EventChanged)
    async def changed(_: Request, error: EventChanged) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(409, "event_changed", str(error), "events").response()

    @app.exception_handler(KeyReused)
    async def reused(_: Request, error: KeyReused) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(409, "idempotency_key_reused", str(error), "Idempotency-Key").response()

    @app.exception_handler(InvalidField)
    async def invalid(_: Request, error: InvalidField) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(422, "invalid_value", str(error), error.field).response()

    @app.exception_handler(ClientDisconnect)
    async def gone(*_: object) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(400, "client_gone", "the caller left in the middle of its body").response()

    @app.exception_handler(RegularsError)
    async def refused(_: Request, error: RegularsError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Problem(422, "refused", str(error)).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        response = Problem(error.status_code, code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response


class Watched:
    """Times every request, and answers a fault of our own as a problem that the log explains."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("serving")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sent(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            self._log.error("fault", path=scope["path"], exc_info=error)
            if status:
                raise
            fault = Problem(500, "fault", "the service failed; its log says why").response()
            await fault(scope, receive, sent)
        finally:
            # Not the path itself: a scanner would make as many series as it has guesses.
            route = scope.get("route")
            path = "other" if route is None else route.path
            seconds = time.perf_counter() - started
            metrics.SECONDS.labels(path, str(status or 499)).observe(seconds)


def _body(name: str, *, replayed: bool = False) -> dict[str, Any]:
    header = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "description": "The same key gets the same answer again and does nothing twice",
    }
    return {
        "parameters": [header] if replayed else [],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference(name)}},
        },
        "security": [{"key": []}],
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answers(name: str, *more: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "The body is no JSON",
        401: "No key, or an unknown one",
        403: "The key lacks the scope",
        404: "There is no such use",
        409: "It was done before in another way: an event_id, an Idempotency-Key, a use",
        413: "The body is too large",
        422: "A field breaks its rule",
        503: "The database does not answer; try again",
    }
    statuses = sorted({400, 401, 403, 413, 422, 503, *more})
    refused: dict[int | str, dict[str, Any]] = {s: _refused(words[s]) for s in statuses}
    good = {"description": "Done", "content": {"application/json": {"schema": _reference(name)}}}
    return {200: good, **refused}


def _refused(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _reference("Problem")}}
    return {"description": description, "content": content}


def _describe(app: FastAPI) -> None:
    """Put the messages' schemas and the key into the OpenAPI document."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas()[0])
            components["schemas"]["Problem"] = {
                "type": "object",
                "required": ["type", "title", "status", "code", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "field": {"type": "string"},
                },
            }
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described

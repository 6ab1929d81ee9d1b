"""Errors as problem+json (RFC 9457): a code for machines, a line for people."""

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from foundation.errors import (
    EventChanged,
    KeyReused,
    RegularsError,
    StoreUnavailable,
    UnreadableRecord,
)
from serving.errors import InvalidField, Overloaded, UnknownCustomer

PROBLEM = "application/problem+json"


class Problem(Exception):
    """A refused request: HTTP status, a code for machines, a line for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        field: str | None = None,
        retry_after: int = 1,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, str | int]:
        """What is sent."""
        told: dict[str, str | int] = {
            "type": f"urn:regulars:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        return told if self.field is None else {**told, "field": self.field}

    def response(self) -> Response:
        """Return it as it goes over the wire."""
        headers = {"Retry-After": str(self.retry_after)} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(msgspec.json.encode(self.body), self.status, headers, PROBLEM)


def fault() -> Problem:
    """Return what a request is told of a fault of our own."""
    return Problem(500, "fault", "the service failed; its log says why")


def told(error: Exception) -> Problem | None:
    """Return an error as a request is told of it; None of a fault of our own."""
    match error:
        case Problem():
            return error
        case StoreUnavailable():
            return Problem(503, "store_unavailable", str(error))
        case Overloaded():
            return Problem(429, "overloaded", str(error))
        case EventChanged():
            return Problem(409, "event_changed", str(error), "events")
        case KeyReused():
            return Problem(409, "idempotency_key_reused", str(error), "Idempotency-Key")
        case UnreadableRecord():
            # Nothing of the request is wrong, and coming again does not help.
            return Problem(409, "unreadable_decision", str(error), "decision_id")
        case UnknownCustomer():
            return Problem(404, "unknown_customer", str(error), "customer_id")
        case InvalidField():
            return Problem(422, "invalid_value", str(error), error.field)
        case ClientDisconnect():
            return Problem(400, "client_gone", "the caller left in the middle of its body")
        case RegularsError():
            return Problem(422, "refused", str(error))
        case _:
            return None


def add_problems(app: FastAPI) -> None:
    """Answer every error of ours as a problem."""

    async def ours(_: Request, error: Exception) -> Response:
        problem = told(error)
        if problem is None:
            raise error
        return problem.response()

    for kind in (Problem, RegularsError, ClientDisconnect):
        app.add_exception_handler(kind, ours)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        response = Problem(error.status_code, code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response

"""HTTP: the service under /v1, health and metrics. Errors are problem+json (RFC 9457)."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import structlog
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from serving import metrics
from serving.docs_page import add_docs
from serving.office import operations
from serving.office.passing_on import OfficeDoor, add_marketers
from serving.openapi import describe
from serving.problems import Problem, add_problems, told
from serving.routes.customers import add_customers
from serving.routes.decisions import add_decisions
from serving.routes.health import add_health
from serving.routes.uses import add_uses
from serving.service import DecisionService
from serving.wire import Endpoint


def create_app(service: DecisionService, office: OfficeDoor | None = None) -> FastAPI:
    """Return the HTTP application of a service.

    Args:
        office: The way to who answers marketers; without one they are told that there is none.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        try:
            await service.start()
            yield
        finally:
            await service.stop()

    app = Api(
        title="Regulars",
        version="1",
        description="Which offers, for this customer, here, now.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_problems(app)
    direct = add_decisions(app, service)
    app.add_middleware(Watched, direct={})
    way: ASGIApp = Watched(app, direct)
    if service.traces is not None:
        from serving.tracing import Traced

        app.add_middleware(Traced, traces=service.traces, direct={})
        way = Traced(way, service.traces, direct)
    app.direct = dict.fromkeys(direct, way)
    add_uses(app, service)
    add_customers(app, service)
    add_marketers(app, service, office or OfficeDoor(None))
    add_health(app, service)
    add_docs(app)
    describe(app, operations.schemas())
    return app


class Api(FastAPI):
    """The application, beside which POST of a few paths goes a way of its own.

    FastAPI documents those and does not call them: its layers, the search for their route and what
    they depend on would cost as much as a decision.
    """

    direct: Mapping[str, ASGIApp] = MappingProxyType({})

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        way = None
        if scope["type"] == "http" and scope["method"] == "POST":
            way = self.direct.get(scope["path"])
        await (super().__call__ if way is None else way)(scope, receive, send)


class Watched:
    """Times every request, and answers a fault of our own as a problem that the log explains.

    Args:
        direct: Endpoints of POST by path that are called in the application's place.
    """

    def __init__(self, app: ASGIApp, direct: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._direct = direct
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

        def route() -> str:
            # Not the path itself: it may name a customer, and a scanner would make as many series
            # as it has guesses.
            found = scope.get("route")
            other = "other" if found is None else found.path
            return scope["path"] if direct is not None else other

        direct = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            if direct is None:
                await self._app(scope, receive, sent)
            else:
                await _answer(direct, scope, receive, sent)
        except Exception as error:
            self._log.error("fault", path=route(), exc_info=error)
            if status:
                raise
            fault = Problem(500, "fault", "the service failed; its log says why").response()
            await fault(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            metrics.count_request(route(), status or 499, seconds)


async def _answer(endpoint: Endpoint, scope: AsgiScope, receive: Receive, send: Send) -> None:
    """Answer a request by its endpoint, errors of ours as problems."""
    try:
        response = await endpoint(Request(scope, receive))
    except Exception as error:
        problem = told(error)
        if problem is None:
            raise
        response = problem.response()
    await response(scope, receive, send)

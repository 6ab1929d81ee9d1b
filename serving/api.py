"""HTTP: the service under /v1, health and metrics. Errors are problem+json (RFC 9457)."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from serving import metrics
from serving.direct import UNANSWERED, Direct
from serving.docs_page import add_docs
from serving.office import operations
from serving.office.passing_on import OfficeDoor, add_marketers
from serving.openapi import describe
from serving.problems import add_problems, fault
from serving.routes.customers import add_customers
from serving.routes.decisions import add_decisions
from serving.routes.health import add_health
from serving.routes.uses import add_uses
from serving.service import DecisionService


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
    app.direct = {path: Direct(path, end) for path, end in add_decisions(app, service).items()}
    app.add_middleware(Watched)
    if service.traces is not None:
        from serving.tracing import Traced

        app.add_middleware(Traced, traces=service.traces, direct={})
        app.direct = {p: Traced(way, service.traces, {p}) for p, way in app.direct.items()}
    add_uses(app, service)
    add_customers(app, service)
    add_marketers(app, service, office or OfficeDoor(None))
    add_health(app, service)
    add_docs(app)
    describe(app, operations.schemas())
    return app


class Api(FastAPI):
    """The application, beside which POST of a few paths goes a way of its own (serving.direct)."""

    direct: Mapping[str, ASGIApp] = MappingProxyType({})

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        way = None
        if scope["type"] == "http" and scope["method"] == "POST":
            way = self.direct.get(scope["path"])
        await (super().__call__ if way is None else way)(scope, receive, send)


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

        def route() -> str:
            # Not the path itself: it may name a customer, and a scanner would make as many series
            # as it has guesses.
            found = scope.get("route")
            return "other" if found is None else found.path

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            self._log.error("fault", path=route(), exc_info=error)
            if status:
                raise
            await fault().response()(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            metrics.count_request(route(), status or UNANSWERED, seconds)

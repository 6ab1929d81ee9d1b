"""A trace of each request: who waited for what, beside the spans of other services.

A span names the route and not the path, which may hold a customer's id.
"""

import time
from collections.abc import Container, Sequence
from typing import Any

from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict

from foundation.decision import DecisionRecord

# Asked every few seconds by machines; nobody looks for these.
UNTRACED = ("/health/", "/metrics")


class Traces:
    """The spans of this process."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def recording(self) -> bool:
        """Whether the request under way is traced."""
        return get_current_span().is_recording()

    def told(self, steps: Sequence[tuple[str, int, int]], record: DecisionRecord) -> None:
        """Make spans of a decision's steps, which are over, under its request's.

        Args:
            steps: Their names, beginnings and ends, in nanoseconds of time.perf_counter.
        """
        request = get_current_span()
        request.set_attributes(
            {
                "regulars.decision_id": record.decision_id,
                "regulars.channel": record.channel,
                "regulars.policy": record.policy.kind,
                "regulars.causes": record.causes,
                "regulars.eligible": len(record.scores),
                "regulars.refused": len(record.refusals),
            }
        )
        # Spans count from 1970.
        since = time.time_ns() - time.perf_counter_ns()
        for step, began, ended in steps:
            self.tracer.start_span(step, start_time=since + began).end(since + ended)


class Traced:
    """Opens a span for each request, under the caller's where it sent a traceparent.

    Args:
        direct: Paths that are routes by themselves, as serving.direct has them.
    """

    def __init__(self, app: ASGIApp, traces: Traces, direct: Container[str]) -> None:
        self._app = app
        self._direct = direct
        self._tracer = traces.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            # The message of an exception may hold what a caller sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, sent)
            except Exception:
                span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                route: Any = scope.get("route")
                path = scope["path"] if scope["path"] in self._direct else route and route.path
                if path is not None:
                    span.update_name(f"{scope['method']} {path}")
                    span.set_attribute("http.route", path)


def with_trace(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Put the trace that a log line belongs to beside it; a processor of structlog."""
    context = get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = f"{context.trace_id:032x}"
    return line

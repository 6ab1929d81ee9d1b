"""Whether the service lives, is ready, and its figures."""

import asyncio

import prometheus_client
from fastapi import FastAPI, Response
from prometheus_client import multiprocess

from serving.openapi import answered, refused
from serving.problems import Problem
from serving.service import DecisionService


def add_health(app: FastAPI, service: DecisionService) -> None:
    """Add the routes a balancer and Prometheus ask."""

    @app.get("/health/live", responses=answered({"status": "live"}))
    async def live() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        """The process answers."""
        return {"status": "live"}

    @app.get(
        "/health/ready",
        responses={
            **answered({"status": "ready", "causes": [], "refused": []}),
            503: refused("Not now"),
        },
    )
    async def ready() -> dict[str, str | list[str]]:  # pyright: ignore[reportUnusedFunction]
        """A decision would be answered now.

        `status` is `ready`, or `degraded` for one of the `causes`: still better than no answer, so
        that a database which all share takes no service away. `refused` says which newer models
        may not serve and why.
        """
        causes = await service.causes()
        if causes is None:
            raise Problem(503, "not_ready", "there is no catalogue yet")
        return {
            "status": "degraded" if causes else "ready",
            "causes": list(causes),
            "refused": list(service.live.refused),
        }

    @app.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {
                "content": {
                    "text/plain": {
                        "schema": {"type": "string"},
                        "example": 'regulars_decisions_total{channel="app",policy="response"} 42.0',
                    }
                }
            }
        },
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

"""What the decision service is compared with: a bare FastAPI endpoint that decides nothing.

The same body through pydantic, an answer of the same size as JSON, on the same server; run as a
process of its own: `python -m benchmarks.callers.bare DESCRIPTOR CONNECTIONS PLACE`.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from serving import connection
from serving.turns import Turns

# The answer to give, as JSON: a real one of the service.
ANSWER = "REGULARS_BENCHMARK_ANSWER"


class Placement(BaseModel):
    name: str
    limit: int


class Line(BaseModel):
    product_id: str
    quantity: float
    amount: float


class Context(BaseModel):
    store_id: str | None = None
    basket: list[Line] | None = None


class Request(BaseModel):
    customer_id: str
    channel: str
    placements: list[Placement]
    context: Context


def create_app() -> FastAPI:
    """Return the bare application."""
    app = FastAPI()
    answer: dict[str, Any] = json.loads(os.environ[ANSWER])

    @app.post("/v1/decisions")
    async def decisions(request: Request) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return {**answer, "customer_id": request.customer_id}

    return app


if __name__ == "__main__":
    listening = connection.config(create_app, [], factory=True)
    descriptor, taken, place = sys.argv[1:]
    server = connection.Server(listening, Turns((Path(taken), int(place))))
    server.run(sockets=[socket.socket(fileno=int(descriptor))])

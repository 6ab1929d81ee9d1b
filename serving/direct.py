"""The way of their own that a few POST paths go: past FastAPI, and past ASGI where that goes.

FastAPI documents them and does not call them: its layers, the search for their route and what they
depend on would cost as much as a decision. Our connections (serving.connection) hand requests over
by themselves; unusual ones, traced ones and those of any other server come by ASGI.
"""

import time

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from serving import metrics
from serving.problems import Problem, fault, told
from serving.wire import Call, Endpoint

# How a request is counted that got no answer.
UNANSWERED = 499


class Direct:
    """An endpoint by itself: it times its requests, and answers errors as problems.

    A fault of our own the log explains.
    """

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        self.path = path
        self._endpoint = endpoint
        self._log = structlog.get_logger("serving")

    async def answer(self, call: Call) -> Response:
        """Return the answer to a request."""
        started, status = time.perf_counter(), UNANSWERED
        try:
            try:
                response = await self._endpoint(call)
            except Exception as error:
                response = self._problem(error).response()
            status = response.status_code
            return response
        finally:
            metrics.count_request(self.path, status, time.perf_counter() - started)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Call(scope["path"], scope["headers"], receive))
        await response(scope, receive, send)

    def _problem(self, error: Exception) -> Problem:
        problem = told(error)
        if problem is not None:
            return problem
        self._log.error("fault", path=self.path, exc_info=error)
        return fault()

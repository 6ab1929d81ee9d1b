"""The office's own HTTP: what the API workers pass on, done one thread a request.

It listens on a socket that only the service's own processes can reach: they have checked the key,
and say in a header whose it was.
"""

from typing import Any
from urllib.parse import unquote

import msgspec
import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response

from foundation.errors import JobRunning
from foundation.outcome import Id
from foundation.replay import Replay, digest
from serving.office.asking import MOST, USUAL, Answer, Answers, Asked, Page, Told
from serving.office.operations import OPERATIONS, Operation
from serving.problems import Problem, add_problems
from serving.problems import told as told_of
from serving.wire import Call, json_answer, read

# Whose key it was, the name under which the request may come again, and the id in its path, which
# may be one that no path can hold.
WHO, REPLAY, SUBJECT = "regulars-who", "regulars-replay", "regulars-subject"
# Each may read the lake with all cores; more at once would only wait for each other.
THREADS = 4


def create_office(answers: Answers) -> FastAPI:
    """Return the HTTP application of the office.

    Args:
        answers: How each operation is answered.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_problems(app)
    threads = CapacityLimiter(THREADS)
    for operation in OPERATIONS:
        app.add_api_route(
            operation.path,
            _endpoint(operation, answers[operation.key], threads),
            methods=[operation.method],
        )
    return app


def _endpoint(operation: Operation, answer: Answer, threads: CapacityLimiter) -> Any:
    async def endpoint(request: Request) -> Response:
        try:
            asked = await _asked(operation, request)
            return _response(await to_thread.run_sync(answer, asked, limiter=threads))
        except Exception as error:
            return _problem(error, operation).response()

    return endpoint


def _problem(error: Exception, operation: Operation) -> Problem:
    if isinstance(error, JobRunning):
        return Problem(503, "job_running", str(error), retry_after=10)
    problem = told_of(error)
    if problem is None:
        log = structlog.get_logger("office")
        log.error("fault", method=operation.method, path=operation.path, exc_info=error)
        return Problem(500, "fault", "the office failed; its log says why")
    return problem


async def _asked(operation: Operation, request: Request) -> Asked[Any]:
    body = None if operation.body is None else await read(Call.of(request), operation.body)
    if_match = request.headers.get("if-match")
    name = request.headers.get(REPLAY)
    replay = None
    if name is not None:
        # Beside the body: a version asked for, and the method, since two of them share a path.
        replay = Replay(unquote(name), digest([request.method, if_match, body]))
    return Asked(
        who=unquote(request.headers[WHO]),
        subject=_subject(operation, request),
        body=body,
        page=_page(request) if operation.paged else Page(),
        if_match=None if if_match is None else if_match.strip().strip('"'),
        replay=replay,
    )


def _subject(operation: Operation, request: Request) -> str:
    if operation.subject is None:
        return ""
    try:
        return msgspec.convert(unquote(request.headers[SUBJECT]), Id)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_request", str(error), operation.subject) from error


def _page(request: Request) -> Page:
    after, limit = request.query_params.get("after", ""), request.query_params.get("limit")
    try:
        if after:
            msgspec.convert(after, Id)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_request", str(error), "after") from error
    if limit is None:
        return Page(after, USUAL)
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 9 and 1 <= int(limit) <= MOST):
        detail = f"limit {limit!r} is no whole number from 1 to {MOST}; leave it out for {USUAL}"
        raise Problem(422, "invalid_request", detail, "limit")
    return Page(after, int(limit))


def _response(told: Told) -> Response:
    response = json_answer(told.body)
    response.status_code = told.status
    if told.version is not None:
        response.headers["ETag"] = f'"{told.version}"'
    return response

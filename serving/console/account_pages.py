"""Signing in and out, and one's own password."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse, RedirectResponse

from foundation.access import User
from foundation.errors import RegularsError, StoreUnavailable
from foundation.passwords import SHORTEST
from serving.console.gate import SIGN_IN, STYLE_PATH, cookie_name, let_in, let_out
from serving.console.plain_page import FormTooLarge, plain_page, read_form
from serving.console.sign_in import SignIn, SignInRefused, TooManyTries
from serving.console.wording import sentence

STYLE = Path(__file__).with_name("style.css")
# A password's hash takes 64 MiB and a core for a while: so many at a time, and so many who wait.
HASHES = 2
WAITING = 20

T = TypeVar("T")


class Hashing:
    """Lets few hash at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(HASHES)
        self._waiting = 0

    async def __call__(self, work: Callable[..., T], *given: object) -> T:
        """Return what the work returns.

        Raises:
            TooManyTries: Too many wait for their turn.
        """
        if self._waiting >= WAITING:
            raise TooManyTries("too many sign in at once; try again in a minute")
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work, *given)
        finally:
            self._waiting -= 1


def add_account_pages(web: FastAPI, sign_in: SignIn) -> None:
    """Add the pages that let people in and out."""
    hashing = Hashing()

    @web.get("/health/live")
    async def live() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "live"}

    @web.get(STYLE_PATH)
    async def style() -> Response:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(STYLE, media_type="text/css")

    @web.get(SIGN_IN)
    async def asked() -> Response:  # pyright: ignore[reportUnusedFunction]
        return plain_page("sign_in.html", "Sign in", name="", told=None)

    @web.post(SIGN_IN)
    async def tried(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        form = await read_form(request)
        name, password = form.get("name", ""), form.get("password", "")
        address = request.client.host if request.client else ""
        try:
            token = await hashing(sign_in.sign_in, name, password, address)
        except SignInRefused as refused:
            told = sentence(str(refused))
            return plain_page("sign_in.html", "Sign in", _status(refused), name=name, told=told)
        before = request.cookies.get(cookie_name(request))
        if before:
            await asyncio.to_thread(sign_in.sign_out, before)
        answer = RedirectResponse("/", 303)
        let_in(request, answer, token)
        return answer

    @web.post("/sign-out")
    async def left(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        await asyncio.to_thread(sign_in.sign_out, request.cookies[cookie_name(request)])
        answer = RedirectResponse(SIGN_IN, 303)
        let_out(request, answer)
        return answer

    @web.get("/password")
    async def password(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _password_page(request.scope["user"], None)

    @web.post("/password")
    async def changed(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        form, user = await read_form(request), request.scope["user"]
        old, new = form.get("old", ""), form.get("new", "")
        try:
            token = await hashing(sign_in.change_password, user, old, new)
        except StoreUnavailable:
            raise
        except RegularsError as refused:
            told = sentence(str(refused))
            return _password_page(user, told, _status(refused))
        answer = RedirectResponse("/", 303)
        let_in(request, answer, token)
        return answer

    @web.exception_handler(StoreUnavailable)
    async def away(_: Request, error: StoreUnavailable) -> Response:  # pyright: ignore[reportUnusedFunction]
        return plain_page("told.html", "Not now", 503, told=sentence(str(error)))

    @web.exception_handler(FormTooLarge)
    async def too_large(*_: object) -> Response:  # pyright: ignore[reportUnusedFunction]
        return plain_page("told.html", "Too large", 413, told="This form is too large.")


def _password_page(user: User, told: str | None, status: int = 200) -> Response:
    title = "Change your password"
    return plain_page("password.html", title, status, user=user, told=told, shortest=SHORTEST)


def _status(refused: RegularsError) -> int:
    if isinstance(refused, TooManyTries):
        return 429
    return 401 if isinstance(refused, SignInRefused) else 422

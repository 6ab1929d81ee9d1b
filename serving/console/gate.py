"""The console's gate: who comes in, from which page, and what browsers are told to keep out.

Everything but signing in asks for a session. A request that a foreign page makes a browser send
is refused by its Origin, which no page can forge; cookies are SameSite beside that.
"""

import asyncio
import contextlib
import time
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.access import User
from foundation.errors import StoreUnavailable
from serving.console.sign_in import SESSION, SignIn

SIGN_IN = "/sign-in"
STYLE_PATH = "/style.css"
OPEN = (SIGN_IN, STYLE_PATH, "/health/live")
# Pages of ours alone run no script at all; NiceGUI's bring theirs in the page, and compile it.
STRICT = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
WITH_SCRIPTS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "object-src 'none'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: a browser would then send our own forms with the Origin `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
TRANSPORT = "max-age=31536000"
# A page asks for dozens of files at once: they share one look at the session.
FRESH_SECONDS = 1.0
MOST_FRESH = 1_000
POLICY_VIOLATION = 1008


class Gate:
    """Wraps the console.

    Args:
        encrypted: Only requests that came encrypted are let in, as a trusted proxy says.
    """

    def __init__(self, app: ASGIApp, sign_in: SignIn, *, encrypted: bool) -> None:
        self._app = app
        self._sign_in = sign_in
        self._encrypted = encrypted
        self._fresh: dict[str, tuple[float, User]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        guarded = _with_headers(scope, send)
        refused = self._refused(asked)
        token = asked.cookies.get(cookie_name(asked), "")
        if refused is None and asked.url.path not in OPEN:
            # What a page that stands open asks for by itself keeps no session awake.
            seen = not asked.url.path.startswith("/_nicegui")
            try:
                scope["user"] = await self._who(token, seen=seen)
            except StoreUnavailable as away:
                refused = PlainTextResponse(str(away), 503, {"Retry-After": "1"})
            else:
                refused = None if scope["user"] else _sign_in_first(asked)
        if refused is None and scope["type"] == "websocket":
            await self._app(scope, self._while_in(token, receive), send)
        elif refused is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await refused(scope, receive, guarded)

    def _refused(self, asked: HTTPConnection) -> Response | None:
        if self._encrypted and asked.url.scheme not in ("https", "wss"):
            return PlainTextResponse("come through the proxy, over https", 403)
        if not own_origin(asked):
            return PlainTextResponse("this request comes from another page", 403)
        return None

    async def _who(self, token: str, *, seen: bool) -> User | None:
        if not token:
            return None
        known = self._fresh.get(token)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        user = await asyncio.to_thread(self._sign_in.who, token, seen=seen)
        if user is None:
            self._fresh.pop(token, None)
            return None
        if len(self._fresh) >= MOST_FRESH:
            self._fresh.clear()
        self._fresh[token] = (time.monotonic() + FRESH_SECONDS, user)
        return user

    def _while_in(self, token: str, receive: Receive) -> Receive:
        """Hang up on an open page once its session is over; it says something every few seconds."""

        async def received() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            # While the database is away nobody can be let out of it: what is open stays so.
            with contextlib.suppress(StoreUnavailable):
                if await self._who(token, seen=False) is None:
                    return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            return message

        return received


def own_origin(asked: HTTPConnection) -> bool:
    """Whether a request comes from a page of ours, or only reads and from no page at all."""
    origin = asked.headers.get("origin")
    if origin is None:
        return asked.scope["type"] == "http" and asked.scope["method"] in ("GET", "HEAD")
    own = urlsplit(f"{asked.url.scheme.replace('ws', 'http')}://{asked.headers.get('host', '')}")
    given = urlsplit(origin)
    try:
        return _place(given.scheme, given.hostname, given.port) == _place(
            own.scheme, own.hostname, own.port
        )
    except ValueError:
        return False


def cookie_name(asked: HTTPConnection) -> str:
    """Return the session cookie's name; `__Host-` keeps other hosts of a domain from setting it."""
    return "__Host-regulars_session" if _encrypted(asked) else "regulars_session"


def let_in(asked: HTTPConnection, response: Response, token: str) -> None:
    """Give a browser a session's token."""
    response.set_cookie(
        cookie_name(asked),
        token,
        max_age=int(SESSION.total_seconds()),
        path="/",
        secure=_encrypted(asked),
        httponly=True,
        samesite="lax",
    )


def let_out(asked: HTTPConnection, response: Response) -> None:
    """Take a session's token from a browser."""
    response.delete_cookie(
        cookie_name(asked), path="/", secure=_encrypted(asked), httponly=True, samesite="lax"
    )


def _encrypted(asked: HTTPConnection) -> bool:
    return asked.url.scheme in ("https", "wss")


def _place(scheme: str, host: str | None, port: int | None) -> tuple[str, str | None, int]:
    return scheme, host, port or {"https": 443}.get(scheme, 80)


def _sign_in_first(asked: HTTPConnection) -> Response:
    page = asked.scope["type"] == "http" and asked.scope["method"] == "GET"
    if page and not asked.url.path.startswith("/_nicegui"):
        return RedirectResponse(SIGN_IN, 303)
    return PlainTextResponse("sign in first", 401)


def _with_headers(scope: Scope, send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", WITH_SCRIPTS)
            if scope["scheme"] == "https":
                headers["Strict-Transport-Security"] = TRANSPORT
        await send(message)

    return sent

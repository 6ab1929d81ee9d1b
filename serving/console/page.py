"""The first page: who our customers are, which model serves, what the experiment earned.

Each card reads its own part of the desk, off the event loop, and is drawn anew only when what it
shows has changed: nothing flickers, and one store that does not answer leaves the others' cards.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from fastapi import FastAPI, Request
from nicegui import run, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from foundation.access import User
from foundation.errors import RegularsError
from serving.console import LOOPBACK
from serving.console.account_pages import STYLE, add_account_pages
from serving.console.champion_card import draw_champion
from serving.console.desk import Desk, Holdings
from serving.console.desk_pages import add_desk_pages
from serving.console.gate import Gate
from serving.console.loyalty_app import PATH, Checkout, add_loyalty_app
from serving.console.mark import MARK
from serving.console.markup import box, notice, text
from serving.console.programme_card import draw_programme
from serving.console.segments_card import draw_segments
from serving.console.sign_in import SignIn
from serving.console.trial_card import draw_trial
from serving.console.wording import moment, sentence

TITLE = "Regulars"
REFRESH_SECONDS = 30

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is nothing to show, in one sentence."""

    sentence: str


class Card(Generic[T]):
    """A part of the page that reads something and draws it."""

    def __init__(self, body: ui.element, read: Callable[[], T], draw: Callable[[T], None]) -> None:
        self._body = body
        self._read = read
        self._draw = draw
        self._shown: T | Refusal | None = None

    async def refresh(self) -> None:
        """Read again, and draw again if it is something else than before."""
        found = await run.io_bound(self._answer)
        # None comes only from a server that is about to end.
        if found is None or found == self._shown or self._body.is_deleted:
            return
        self._shown = found
        self._body.clear()
        with self._body:
            if isinstance(found, Refusal):
                notice(found.sentence)
            else:
                self._draw(found)

    def _answer(self) -> T | Refusal:
        try:
            return self._read()
        except RegularsError as refusal:
            return Refusal(sentence(str(refusal)))
        except Exception as fault:
            structlog.get_logger("console").exception("card", read=str(self._read))
            # A broken part must not take the other cards with it.
            return Refusal(
                f"This could not be read ({type(fault).__name__}); the console's log says more."
            )


def create_console(
    desk: Desk, sign_in: SignIn, *, behind_proxy: bool, checkout: Checkout | None = None
) -> FastAPI:
    """Return the console's HTTP application, one in a process: NiceGUI keeps its pages globally.

    Args:
        behind_proxy: A trusted proxy ends TLS, so that whatever comes must have come encrypted.
            Otherwise the console is for this machine alone.
        checkout: What the demo loyalty app asks; without it there is no such page.
    """
    web = FastAPI(title=f"{TITLE} console", openapi_url=None)
    web.add_middleware(Gate, sign_in=sign_in, encrypted=behind_proxy)
    if not behind_proxy:
        # A foreign page that has its name point here must not even see that there is a console.
        web.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    add_account_pages(web, sign_in)
    add_desk_pages(web, desk)
    if checkout is not None:
        add_loyalty_app(web, checkout, desk.zone)

    def page(request: Request) -> None:
        ui.add_css(STYLE)
        _page(desk, request.scope["user"], app=checkout is not None)

    ui.page("/", title=web.title, favicon=MARK, dark=None, language="en-US")(page)
    # Tailwind is left out: the page brings its own style. Nothing is bound, so nothing is polled.
    ui.run_with(web, tailwind=False, binding_refresh_interval=None, show_welcome_message=False)
    return web


def _page(desk: Desk, user: User, *, app: bool) -> None:
    with box("header", "masthead"):
        ui.html(MARK, sanitize=False).classes("mark")
        text("h1", TITLE)
        text("p", "Who our customers are, which offers they get, and what that earns.", "soft")
        _account(user, app=app)
    # NiceGUI wraps the page in the element main.
    with box("div"):
        cards: list[Card[Any]] = [
            Card(
                _section("Who our customers are"), desk.segments, lambda s: draw_segments(s, desk)
            ),
            Card(_section("Which offer for whom"), desk.champion, lambda c: draw_champion(c, desk)),
            Card(
                _section("What the offers earned"), desk.trial, lambda t: draw_trial(t, desk, user)
            ),
            Card(
                _section("What all experiments brought"),
                desk.programme,
                lambda p: draw_programme(p, desk),
            ),
        ]
    with box("footer"):
        cards.append(Card(box("div"), desk.holdings, lambda h: _holdings(h, desk)))

    async def refresh() -> None:
        await asyncio.gather(*(card.refresh() for card in cards))

    ui.timer(REFRESH_SECONDS, refresh)


def _account(user: User, *, app: bool) -> None:
    with box("nav", "account", aria_label="Your account"):
        text("span", user.name, "name")
        text("span", user.role, "soft")
        if app:
            text("a", "Loyalty app", href=PATH)
        if user.may("admin"):
            text("a", "Audit log", href="/audit")
        text("a", "Password", href="/password")
        with box("form", method="post", action="/sign-out"):
            text("button", "Sign out", "link", type="submit")


def _section(title: str) -> ui.element:
    with box("section", "card", aria_label=title):
        text("h2", title)
        body = box("div", "body")
        with body:
            text("p", "Reading…", "reading")
    return body


def _holdings(found: Holdings, desk: Desk) -> None:
    snapshot = found.snapshot
    if snapshot is None:
        text("p", "No snapshot is published yet; run 'regulars segment'.")
    else:
        as_of = moment(snapshot.as_of, desk.zone)
        text("p", f"Snapshot {snapshot.version} as of {as_of}, {snapshot.customers:,} customers")
    text("p", f"Lake version {found.lake_version}")
    waiting = found.recorded - found.ingested
    words = f"{found.ingested:,} decisions ingested"
    if waiting > 0:
        words += f", {waiting:,} more recorded; run 'regulars ingest'"
    text("p", words)

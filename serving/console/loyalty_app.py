"""The demo loyalty app: what a customer's app would show at checkout, by the real API.

A page for trying things out. It stands at the console, which asks the service in its place: a key
never goes to a browser.
"""

import asyncio
import json
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request, Response

from foundation.errors import RegularsError
from foundation.outcome import Channel
from serving.console.desk_pages import required
from serving.console.plain_page import plain_page, read_form
from serving.console.wording import moment, sentence
from serving.messages import (
    ActivationAnswer,
    AskedLine,
    DecisionAnswer,
    RecommendationAnswer,
    RedemptionAnswer,
)

PATH = "/app"
CHANNEL: Channel = "app"
OFFERS = 3


class Checkout(Protocol):
    """What the app asks the service; every method may block.

    Raises:
        RegularsError: The service refuses, or does not answer.
    """

    def offers(
        self, customer_id: str, store_id: str | None, basket: list[AskedLine] | None, limit: int
    ) -> DecisionAnswer: ...

    def goes_with(self, basket: list[str]) -> RecommendationAnswer: ...

    def activate(
        self, customer_id: str, offer_id: str, store_id: str | None, decision_id: str | None
    ) -> ActivationAnswer: ...

    def redeem(
        self, customer_id: str, offer_id: str, store_id: str | None, activation_id: str
    ) -> RedemptionAnswer: ...


class BadBasket(RegularsError):
    """A line of the basket cannot be read."""


def add_loyalty_app(web: FastAPI, checkout: Checkout, zone: ZoneInfo) -> None:
    """Add the page and its three steps: offers, activation, redemption."""

    @web.get(PATH)
    async def empty() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _page({}, zone)

    @web.post(PATH)
    async def offers(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        required(request, "marketer")
        form = await read_form(request)
        return await _told(form, zone, _decide, checkout)

    @web.post(f"{PATH}/activate")
    async def activate(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        required(request, "marketer")
        form = await read_form(request)
        return await _told(form, zone, _activate, checkout)

    @web.post(f"{PATH}/redeem")
    async def redeem(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        required(request, "marketer")
        form = await read_form(request)
        return await _told(form, zone, _redeem, checkout)


async def _told(form: dict[str, str], zone: ZoneInfo, step: Any, checkout: Checkout) -> Response:
    try:
        found = await asyncio.to_thread(step, form, checkout)
    except RegularsError as refused:
        return _page(form, zone, refused=sentence(str(refused)))
    return _page(form, zone, **found)


def _page(form: dict[str, str], zone: ZoneInfo, **found: Any) -> Response:
    def when(at: datetime) -> str:
        return moment(at, zone)

    nothing: dict[str, Any] = dict.fromkeys(
        ("answer", "products", "activation", "redemption", "refused")
    )
    return plain_page(
        "loyalty_app.html",
        "Loyalty app",
        customer_id=form.get("customer_id", ""),
        store_id=form.get("store_id", ""),
        basket=form.get("basket", ""),
        offer_id=form.get("offer_id", ""),
        when=when,
        **(nothing | found),
    )


def _decide(form: dict[str, str], checkout: Checkout) -> dict[str, Any]:
    lines = read_basket(form.get("basket", ""))
    answer = checkout.offers(form.get("customer_id", ""), _store(form), lines, OFFERS)
    products = [] if lines is None else checkout.goes_with([line.product_id for line in lines])
    return {"answer": answer, "products": getattr(products, "products", [])}


def _activate(form: dict[str, str], checkout: Checkout) -> dict[str, Any]:
    found = checkout.activate(
        form.get("customer_id", ""),
        form.get("offer_id", ""),
        _store(form),
        form.get("decision_id") or None,
    )
    return {"activation": found}


def _redeem(form: dict[str, str], checkout: Checkout) -> dict[str, Any]:
    found = checkout.redeem(
        form.get("customer_id", ""),
        form.get("offer_id", ""),
        _store(form),
        form.get("activation_id", ""),
    )
    return {"redemption": found}


def _store(form: dict[str, str]) -> str | None:
    return form.get("store_id") or None


def read_basket(written: str) -> list[AskedLine] | None:
    """Return the basket that was typed, a line a product: `milk 2 3.90`; None without one.

    Raises:
        BadBasket: A line is not id, quantity and amount.
    """
    lines: list[AskedLine] = []
    for number, line in enumerate(written.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            product_id, quantity, amount = words
            read = json.loads(f"[{quantity}, {amount}]")
            lines.append(AskedLine(product_id, float(read[0]), float(read[1])))
        except (ValueError, TypeError) as error:
            raise BadBasket(
                f"line {number} of the basket: {line!r} is not a product, how many and for how "
                "much; write it like 'milk 2 3.90'"
            ) from error
    return lines or None

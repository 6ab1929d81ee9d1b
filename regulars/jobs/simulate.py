"""Simulate: shoppers of known true response call the running service over HTTP.

Time is compressed: each shopper comes to the checkout once, and what she buys because of it, or
anyway, is told as of the same minute. Every told event is marked with the text 'simulated'; the
visit's value is the true effect that was planted in it, in minor units of margin.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from foundation.clock import Clock
from foundation.errors import RegularsError, StoreUnavailable
from foundation.money import MINOR_PER_MAJOR
from foundation.outcome import SIMULATED
from regulars.progress import Progress, Step
from regulars.shoppers import Shoppers, Visit, true_effect, visit
from serving.live import LOADING

AT_ONCE = 16
PLACEMENT = "checkout"
LIMIT = 3
CHANNELS = ("app", "till")
TRIES = 20
# Without a model after that long, the service answers without one.
MODEL_SECONDS = 60.0


@dataclass
class Simulated:
    """How much happened."""

    decisions: int = 0
    redemptions: int = 0
    fallbacks: int = 0


@dataclass(frozen=True)
class Shop:
    """What the simulation knows beside the service: costs, margins, what can be bought."""

    costs: Mapping[str, int]
    margin_rate: float
    product_id: str


def simulate(
    url: str,
    key: str,
    shoppers: Shoppers,
    shop: Shop,
    clock: Clock,
    seed: int,
    progress: Progress,
) -> Simulated:
    """Send every shopper to the checkout once.

    Raises:
        StoreUnavailable: The service does not answer, also after several tries.
        RegularsError: The address is none, or the service refuses what it is asked.
    """
    with progress.step("simulate") as step:
        step.expect(len(shoppers.customer_ids))
        result = asyncio.run(_run(url, key, shoppers, shop, clock, seed, step))
        step.show(f"{result.decisions:,} decisions, {result.redemptions:,} redemptions")
    return result


async def _run(
    url: str, key: str, shoppers: Shoppers, shop: Shop, clock: Clock, seed: int, step: Step
) -> Simulated:
    result = Simulated()
    seeds = np.random.SeedSequence(seed).spawn(len(shoppers.customer_ids))
    queue = iter(range(len(shoppers.customer_ids)))
    headers = {"Authorization": f"Bearer {key}"}
    _check_address(url)
    limits = httpx.Limits(max_connections=AT_ONCE)

    # Past any proxy that the environment names: it would not find a service on this machine.
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=30, trust_env=False
    ) as client:
        await _reach(client)
        await _whole(client)

        async def shop_on() -> None:
            for i in queue:
                draw = np.random.default_rng(seeds[i])
                await _checkout(client, shoppers, i, shop, clock, draw, result)
                step.advance()

        tasks = [asyncio.create_task(shop_on()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            # After one shopper's error the others end with it, before the client closes.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return result


def _check_address(url: str) -> None:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = None
    if address is None or address.scheme not in ("http", "https") or not address.host:
        raise RegularsError(f"address {url!r} is none of a service; write http://127.0.0.1:8000")


async def _reach(client: httpx.AsyncClient) -> None:
    """Pass an address where a service answers; a wrong one is not worth many tries."""
    try:
        await client.get("/health/live")
    except httpx.ConnectError as error:
        raise StoreUnavailable(
            f"no service listens at {client.base_url}; start one with 'regulars serve', or name "
            "its address with --url"
        ) from error


async def _whole(client: httpx.AsyncClient) -> None:
    """Wait a while for a service that just started to have its model: fallbacks prove little."""
    until = time.monotonic() + MODEL_SECONDS
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            answer = await client.get("/health/ready")
            if answer.status_code == 200 and LOADING not in answer.json().get("causes", ()):
                return
        await asyncio.sleep(0.2)


async def _checkout(
    client: httpx.AsyncClient,
    shoppers: Shoppers,
    i: int,
    shop: Shop,
    clock: Clock,
    draw: np.random.Generator,
    result: Simulated,
) -> None:
    customer_id = str(shoppers.customer_ids[i])
    mean_basket, liking = float(shoppers.mean_basket[i]), float(shoppers.liking[i])
    channel = CHANNELS[int(draw.integers(len(CHANNELS)))]
    answer = await _post(
        client,
        "/v1/decisions",
        {
            "customer_id": customer_id,
            "channel": channel,
            "placements": [{"name": PLACEMENT, "limit": LIMIT}],
        },
    )
    placement = answer["placements"][0]
    slate = [offer["offer_id"] for offer in placement["offers"]]
    did = visit(mean_basket, liking, slate, draw)
    result.decisions += 1
    result.fallbacks += int(placement["fallback"])
    result.redemptions += len(did.redemptions)
    planted = true_effect(mean_basket, liking, slate, shop.costs, shop.margin_rate)
    events = _events(answer["decision_id"], customer_id, channel, did, planted, shop, clock)
    await _post(client, "/v1/outcomes", {"events": events})


def _events(
    decision_id: str,
    customer_id: str,
    channel: str,
    did: Visit,
    planted: float,
    shop: Shop,
    clock: Clock,
) -> list[dict[str, Any]]:
    shared = {
        "customer_id": customer_id,
        "channel": channel,
        "at": clock.now().isoformat(),
        "decision_id": decision_id,
        "touchpoint": PLACEMENT,
        "text": SIMULATED,
    }
    visited = {"event_id": f"{decision_id}-visit", "kind": "visit", "value": planted}
    events: list[dict[str, Any]] = [{**shared, **visited}]
    events += [
        {**shared, "event_id": f"{decision_id}-view-{offer}", "kind": "view", "offer_id": offer}
        for offer in did.seen
    ]
    events += [
        {
            **shared,
            "event_id": f"{decision_id}-redeem-{redeemed.offer_id}",
            "kind": "redeem",
            "offer_id": redeemed.offer_id,
        }
        for redeemed in did.redemptions
    ]
    spent = (did.basket, *(redeemed.extra for redeemed in did.redemptions))
    amounts = [amount for amount in spent if amount]
    if not amounts:
        return events
    events.append(
        {
            **shared,
            "event_id": f"{decision_id}-purchase",
            "kind": "purchase",
            "order_id": f"order-{decision_id}",
            "value": sum(amounts) / MINOR_PER_MAJOR,
            "lines": [
                {
                    "line_id": f"{decision_id}-{n}",
                    "product_id": shop.product_id,
                    "quantity": 1,
                    "amount": amount / MINOR_PER_MAJOR,
                }
                for n, amount in enumerate(amounts)
            ],
        }
    )
    return events


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post, and try again while the service or its database restarts."""
    last = "no answer"
    for attempt in range(TRIES):
        try:
            response = await client.post(path, json=body)
        except httpx.TransportError as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if response.status_code == 200:
                return response.json()
            last = f"{response.status_code} {response.text[:200]}"
            if response.status_code != 503:
                raise RegularsError(f"service {client.base_url}{path} refuses: {last}")
        await asyncio.sleep(0.1 * (attempt + 1))
    raise StoreUnavailable(f"service {client.base_url}{path} does not answer: {last}")

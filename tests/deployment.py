"""A small deployment with known truth: a made-up chain's year, through the real jobs and adapters.

400 customers shop for a year that ends yesterday. Twelve past offers were each sent to half of
them; who shops often redeems more, so a response model has something true to find. Three live
offers wait for decisions. All is drawn from one seed, so that only the dates move.
"""

import contextlib
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as wall
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from foundation.clock import SystemClock
from foundation.contracts import (
    ASSUMPTIONS,
    CUSTOMERS,
    INTERACTIONS,
    OFFERS,
    PRODUCTS,
    PURCHASES,
    STORES,
    Table,
)
from foundation.contracts.mapping import Chunk, add_local_time, at_home
from foundation.settings import Settings
from regulars.jobs.load import load
from regulars.jobs.segment import Champions, segment
from regulars.jobs.train import train
from regulars.office.answers import office_answers
from regulars.office.process import bound
from regulars.office.room import Room
from regulars.progress import Progress
from regulars.wiring import House
from serving.api import create_app
from serving.office.app import create_office
from serving.office.passing_on import OfficeDoor

SEED = 20
ZONE = "America/New_York"
CUSTOMERS_MADE = 400
# The last of them signed up and never bought.
NEVER_BOUGHT = 6
DAYS = 365

CATEGORIES = ("BAKERY", "COFFEE", "DAIRY", "PRODUCE", "HOUSEHOLD")
PRODUCTS_A_CATEGORY = 8
STORE_IDS = ("s-1", "s-2", "s-3")

PAST_OFFERS = 12
PAST_OFFER_DAYS = 21
LIVE_OFFERS = ("live-bakery", "live-coffee", "live-basket")
CHANNELS = ("app", "web", "email", "till")
REWARD_MINOR = 100

STATEMENTS: dict[str, tuple[Any, str]] = {
    "margin_rate": (0.25, "margins are unknown: 25 % of net sales is assumed"),
    "offer_reward": (REWARD_MINOR, "coupon values are unknown: 1.00 a redemption is assumed"),
    "offer_channels": (list(CHANNELS), "live offers are assumed to be open to every channel"),
    "feature_categories": (list(CATEGORIES), "categories that become features of their own"),
}


def house_in(home: Path) -> House:
    """Return a house in a folder, with nothing outside it."""
    return House(Settings(home=home, database_url=None, mlflow_tracking_uri=None), SystemClock())


def copied(house: House, home: Path) -> House:
    """Return a house of its own, with all that is in another one, whose database is stopped."""
    # With owners: the database server refuses files of others.
    subprocess.run(["cp", "-a", str(house.settings.home), str(home)], check=True)
    return house_in(home)


def small_deployment(home: Path) -> House:
    """Make a deployment that is loaded, segmented, trained and published, with a champion.

    Its database is stopped again; `with house.database() as url` starts it.
    """
    house = house_in(home)
    silent = Progress(Console(quiet=True))
    now = house.clock.now()
    load(house.lake, made_up_year(now), house.clock, silent)
    with house.database() as url, house.admin(url) as admin:
        train(house.lake, house.models, house.settings, silent)
        champions = Champions(response=house.models)
        segment(house.lake, house.publish_snapshot, admin, house.settings, now, silent, champions)
        admin.touch_catalogue()
    return house


class Shelf:
    """Keeps what is published as offers; `told` are redemptions told to a service."""

    def __init__(self, told: Sequence[str] = ()) -> None:
        self.popularity: dict[str, float] = {}
        self._told = told

    def audiences(self) -> Sequence[dict[str, Any]]:
        return []

    def told_redemptions(self) -> Sequence[str]:
        return self._told

    def publish_offers(
        self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
    ) -> bool:
        self.popularity = popularity
        return True


@contextlib.contextmanager
def listening(house: House, database: str, office: Path | None = None) -> Iterator[str]:
    """Serve from a thread of this process.

    Args:
        office: Where its office listens, see `office_listening`; without it there is none.
    """
    app = create_app(house.service(database), None if office is None else OfficeDoor(office))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener, _serving(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def office_listening(house: House, database: str) -> Iterator[Path]:
    """Run a house's office from a thread of this process; lends the path of its socket."""
    room = Room(house, database)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(room):
        place = Path(folder) / "socket"
        with bound(place) as listener, _serving(create_office(office_answers(room)), listener):
            yield place


@contextlib.contextmanager
def _serving(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield
    finally:
        server.should_exit = True
        thread.join()


def made_up_year(now: datetime) -> Iterator[Chunk]:
    """Yield a year of contract rows whose last day is yesterday."""
    draw = np.random.default_rng(SEED)
    today = now.astimezone(ZoneInfo(ZONE)).date()
    midnight = datetime.combine(today, wall())
    people = _people(draw)
    offers = _offers(midnight)
    yield _chunk(ASSUMPTIONS, _assumptions())
    yield _chunk(CUSTOMERS, _customers(people))
    yield _chunk(
        STORES,
        pd.DataFrame(
            {"store_id": STORE_IDS, "time_zone": ZONE, "owner": "own", "participates": True}
        ),
    )
    yield _chunk(PRODUCTS, _products())
    yield _chunk(OFFERS, offers)
    yield _chunk(INTERACTIONS, _interactions(people, offers, draw))
    yield _chunk(PURCHASES, _purchases(people, midnight, draw))


@dataclass(frozen=True)
class _People:
    """Who shops how: `rate` in orders a day, `last` the day of the year she stopped coming."""

    ids: np.ndarray
    rate: np.ndarray
    first: np.ndarray
    last: np.ndarray
    basket: np.ndarray
    evening: np.ndarray


def _people(draw: np.random.Generator) -> _People:
    n = CUSTOMERS_MADE
    rate = draw.gamma(1.6, 1 / 14, n)
    rate[-NEVER_BOUGHT:] = 0
    last = np.where(draw.random(n) < 0.2, draw.integers(150, DAYS, n), DAYS)
    first = np.where(draw.random(n) < 0.1, draw.integers(280, DAYS - 1, n), 0)
    return _People(
        ids=np.array([f"c-{i:04}" for i in range(n)]),
        rate=rate,
        first=first,
        last=np.maximum(last, first + 1),
        basket=draw.lognormal(7.2, 0.5, n),
        evening=draw.beta(2, 2, n),
    )


def _assumptions() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"name": name, "value": json.dumps(value), "statement": statement}
            for name, (value, statement) in STATEMENTS.items()
        ]
    )


def _customers(people: _People) -> pd.DataFrame:
    # Neighbours in the list share a household now and then.
    homes = [f"h-{i - i % 2 if i % 10 < 2 else i:04}" for i in range(len(people.ids))]
    return pd.DataFrame(
        {
            "customer_id": people.ids,
            "household_id": homes,
            "home_store_id": [STORE_IDS[i % len(STORE_IDS)] for i in range(len(people.ids))],
            "time_zone": ZONE,
        }
    )


def _products() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"product_id": f"{category.lower()}-{i}", "category": category, "brand": "own"}
            for category in CATEGORIES
            for i in range(PRODUCTS_A_CATEGORY)
        ]
    )


def _offers(midnight: datetime) -> pd.DataFrame:
    past = [
        _offer(
            f"past-{i + 1}",
            midnight - timedelta(days=27 * (PAST_OFFERS - i)),
            PAST_OFFER_DAYS,
            CATEGORIES[i % len(CATEGORIES)],
        )
        for i in range(PAST_OFFERS)
    ]
    live = [
        _offer(offer_id, midnight - timedelta(days=3), 60, category)
        for offer_id, category in zip(LIVE_OFFERS, ("BAKERY", "COFFEE", None), strict=True)
    ]
    frame: Any = pd.DataFrame([*past, *live])
    frame["valid_from"] = at_home(frame.pop("starts"), ZONE)
    frame["valid_to"] = at_home(frame.pop("ends"), ZONE)
    frame["customer_cap"] = frame["customer_cap"].astype("Int64")
    return frame


def _offer(offer_id: str, starts: datetime, days: int, category: str | None) -> dict[str, Any]:
    scope = [f"{category.lower()}-{i}" for i in range(PRODUCTS_A_CATEGORY)] if category else []
    return {
        "offer_id": offer_id,
        "title": f"1.00 off {category.lower() if category else 'your basket'}",
        "kind": "amount",
        "reward": float(REWARD_MINOR),
        "min_spend": 0,
        "scope": scope,
        "channels": list(CHANNELS),
        "placements": [],
        "stores": [],
        "starts": starts,
        "ends": starts + timedelta(days=days),
        "customer_cap": 1,
        "cost": REWARD_MINOR,
        "priority": 0,
        "combinable": True,
        "campaign_kind": "Category" if category else "Basket",
    }


def _interactions(people: _People, offers: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    # The planted signal: frequent shoppers redeem more, whatever the offer.
    often = np.log(people.rate + 0.005)
    chance = 1 / (1 + np.exp(-(-1.6 + 1.3 * (often - often.mean()) / often.std())))
    rows: list[dict[str, Any]] = []
    for offer in offers.to_dict("records"):
        if not offer["offer_id"].startswith("past-"):
            continue
        sent = draw.random(len(people.ids)) < 0.5
        used = sent & (draw.random(len(people.ids)) < chance)
        waited = draw.integers(1, PAST_OFFER_DAYS - 1, len(people.ids))
        for i in np.flatnonzero(sent):
            event = {
                "customer_id": people.ids[i],
                "offer_id": offer["offer_id"],
                "channel": "email",
                "kind": "sent",
                "event_id": f"sent-{offer['offer_id']}-{people.ids[i]}",
                "at": offer["valid_from"],
            }
            rows.append(event)
            if used[i]:
                rows.append(
                    {
                        **event,
                        "channel": "till",
                        "kind": "redeem",
                        "event_id": f"redeem-{offer['offer_id']}-{people.ids[i]}",
                        "at": offer["valid_from"] + timedelta(days=int(waited[i]), hours=12),
                    }
                )
    frame = pd.DataFrame(rows)
    frame["at"] = pd.to_datetime(frame["at"], utc=True).astype("datetime64[us, UTC]")
    return frame


def _purchases(people: _People, midnight: datetime, draw: np.random.Generator) -> pd.DataFrame:
    visits = draw.random((len(people.ids), DAYS)) < people.rate[:, None]
    days = np.arange(DAYS)
    visits &= (days >= people.first[:, None]) & (days < people.last[:, None])
    who, day = np.nonzero(visits)
    hour = np.where(
        draw.random(len(who)) < people.evening[who],
        draw.integers(17, 21, len(who)),
        draw.integers(8, 17, len(who)),
    )
    lines = draw.integers(1, 5, len(who))
    order = np.repeat(np.arange(len(who)), lines)
    category = draw.integers(0, len(CATEGORIES), len(order))
    product = draw.integers(0, PRODUCTS_A_CATEGORY, len(order))
    shelf = (people.basket[who][order] / 3 * draw.lognormal(0, 0.3, len(order))).astype(np.int64)
    saved = np.where(draw.random(len(order)) < 0.2, shelf // 10, 0)
    elsewhere = draw.random(len(who)) < 0.15
    store = (who + elsewhere) % len(STORE_IDS)
    wall = pd.Series(
        pd.Timestamp(midnight - timedelta(days=DAYS))
        + pd.to_timedelta(day[order] * 24 + hour[order], unit="h")
        + pd.to_timedelta(draw.integers(0, 60, len(who))[order], unit="m")
    )
    frame = pd.DataFrame(
        {
            "line_id": [f"l-{i}" for i in range(len(order))],
            "customer_id": people.ids[who][order],
            "order_id": np.char.add("o-", order.astype(str)),
            "product_id": [
                f"{CATEGORIES[c].lower()}-{p}" for c, p in zip(category, product, strict=True)
            ],
            "store_id": np.array(STORE_IDS)[store][order],
            "channel": "store",
            "at": at_home(wall, ZONE),
            "quantity": 1.0,
            "amount": np.maximum(shelf - saved, 1),
            "discount": saved,
            "offer_discount": 0,
        }
    )
    add_local_time(frame, ZONE)
    return frame


def _chunk(table: Table, frame: pd.DataFrame) -> Chunk:
    whole = frame.reindex(columns=list(table.names)).reset_index(drop=True)
    for column in table.columns:
        if column.nullable and bool(whole[column.name].isna().to_numpy().all()):
            whole[column.name] = None
    return Chunk(table, whole, pd.Series(range(2, len(whole) + 2)), [], "made-up year")

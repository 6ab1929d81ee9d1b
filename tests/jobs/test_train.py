"""Training learns only from outcomes that are known to be complete."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import TABLES
from foundation.errors import NothingToDo
from foundation.settings import Settings
from regulars.jobs.train import training_frame

LOADED = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOLD = LOADED + timedelta(days=9)


def put(lake: DuckDbLake, table: str, *rows: dict[str, Any]) -> None:
    with lake.write() as write:
        write.merge(table, TABLES[table].from_rows(rows))


def line(order_id: str, at: datetime) -> dict[str, Any]:
    return {
        "line_id": f"l-{order_id}",
        "customer_id": "c-1",
        "order_id": order_id,
        "product_id": "p-1",
        "at": at,
        "channel": "till",
        "local_day": 20_577,
        "local_hour": 8,
        "quantity": 1.0,
        "amount": 100,
        "discount": 0,
        "offer_discount": 0,
    }


def event(event_id: str, kind: str, at: datetime, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "customer_id": "c-1",
        "at": at,
        "channel": "app",
        "kind": kind,
        **fields,
    }


def offer(offer_id: str, ends: datetime) -> dict[str, Any]:
    return {
        "offer_id": offer_id,
        "title": offer_id,
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 0,
        "scope": [],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": LOADED - timedelta(days=30),
        "valid_to": ends,
        "cost": 100,
        "priority": 0,
        "combinable": True,
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_purchases_told_to_the_service_do_not_say_how_far_loaded_outcomes_reach(
    lake: DuckDbLake, settings: Settings
) -> None:
    put(lake, "offers", offer("over", LOADED - timedelta(days=1)), offer("open", TOLD))
    sent = LOADED - timedelta(days=9)
    put(
        lake,
        "interactions",
        event("s-1", "sent", sent, offer_id="over"),
        event("s-2", "sent", sent, offer_id="open"),
        event("e-1", "purchase", TOLD, order_id="told"),
        # Without an order_id of its own a receipt goes by its event.
        event("bare", "purchase", TOLD),
    )
    put(lake, "purchases", line("loaded", LOADED), line("told", TOLD), line("bare", TOLD))

    frame = training_frame(lake, settings)

    assert frame.observed_until == LOADED
    assert frame.rows["offer_id"].tolist() == ["over"]
    assert frame.censored == 1


def test_a_shop_that_tells_everything_is_observed_until_its_last_purchase(
    lake: DuckDbLake, settings: Settings
) -> None:
    put(lake, "offers", offer("over", LOADED))
    put(
        lake,
        "interactions",
        event("s-1", "sent", LOADED - timedelta(days=9), offer_id="over"),
        event("e-1", "purchase", TOLD, order_id="told"),
    )
    put(lake, "purchases", line("told", TOLD))

    assert training_frame(lake, settings).observed_until == TOLD


def test_without_exposures_there_is_nothing_to_learn_and_the_line_says_what_to_load(
    lake: DuckDbLake, settings: Settings
) -> None:
    put(lake, "purchases", line("loaded", LOADED))

    with pytest.raises(NothingToDo, match="load offers, and interactions of kind sent and redeem"):
        training_frame(lake, settings)

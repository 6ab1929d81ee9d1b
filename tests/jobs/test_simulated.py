"""Are simulated shoppers left out of who customers are, and nothing else with them?"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import TABLES
from regulars.jobs.simulated import SIMULATED, no_decision, simulated_orders, without_simulated

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


def put(lake: DuckDbLake, table: str, *rows: dict[str, Any]) -> None:
    contract = TABLES[table]
    whole = [{c.name: None for c in contract.columns if c.nullable} | row for row in rows]
    with lake.write() as write:
        write.merge(table, contract.from_rows(whole))


def line(line_id: str, order_id: str) -> dict[str, Any]:
    return {
        "line_id": line_id, "order_id": order_id, "customer_id": "c", "product_id": "p",
        "store_id": "s", "channel": "app", "at": AT, "local_day": 1, "local_hour": 8,
        "quantity": 1.0, "amount": 100, "discount": 0, "offer_discount": 0,
    }  # fmt: skip


def event(event_id: str, **changed: Any) -> dict[str, Any]:
    shared = {"customer_id": "c", "at": AT, "channel": "app", "kind": "purchase"}
    return {"event_id": event_id, **shared, **changed}


@pytest.fixture
def lake(tmp_path: Path) -> DuckDbLake:
    lake = DuckDbLake(tmp_path)
    put(lake, "purchases", line("l-1", "real"), line("l-2", "made up"), line("l-3", "told"))
    put(
        lake,
        "interactions",
        event("e-1", order_id="made up", text=SIMULATED),
        event("e-2", order_id="told"),
        event("e-3", order_id="told", text="well simulated, she said"),
        event("e-4", kind="view", decision_id="d-1", text=SIMULATED),
    )
    return lake


def ids(lake: Any, table: str, key: str) -> list[str]:
    return sorted(lake.fetch(lake.table(table).select(key))[key].to_pylist())


def test_simulated_orders_and_events_are_left_out_and_no_others(lake: DuckDbLake) -> None:
    real = without_simulated(lake)
    assert simulated_orders(lake) == 1
    assert ids(real, "purchases", "line_id") == ["l-1", "l-3"]
    assert ids(real, "interactions", "event_id") == ["e-2", "e-3"]
    assert ids(lake, "purchases", "line_id") == ["l-1", "l-2", "l-3"]


def test_neither_a_pinned_lake_nor_one_read_on_from_a_cursor_has_them(lake: DuckDbLake) -> None:
    real = without_simulated(lake)
    assert ids(real.pinned(), "purchases", "line_id") == ["l-1", "l-3"]
    added = real.added("purchases", None)
    assert sorted(real.fetch(added.rows)["line_id"].to_pylist()) == ["l-1", "l-3"]


def test_a_lake_without_any_is_read_as_it_is(tmp_path: Path) -> None:
    lake = DuckDbLake(tmp_path)
    put(lake, "purchases", line("l-1", "real"))
    assert without_simulated(lake) is lake


def test_where_all_decisions_are_simulated_it_says_so_and_not_that_there_are_none(
    lake: DuckDbLake, tmp_path: Path
) -> None:
    assert no_decision(without_simulated(lake)) == (
        "no decision is in the lake; run 'regulars ingest' first"
    )
    decided = {
        "customer_id": "c", "at": AT, "channel": "app", "known": True, "propensity_valid": True,
        "policy": "response", "experiments": "[]", "slates": "[]", "record": "{}",
    }  # fmt: skip
    put(lake, "decisions", {"decision_id": "d-1", **decided})
    real = without_simulated(lake)
    assert ids(real, "decisions", "decision_id") == []
    assert "all 1 decisions in the lake are of simulated shoppers" in no_decision(real)
    assert "simulated" not in no_decision(lake)

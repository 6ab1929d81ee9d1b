"""A lake written under an earlier contract is read and written on under today's."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import OFFERS
from foundation.errors import StoreUnavailable

START = datetime(2026, 6, 1, tzinfo=UTC)


def offer(offer_id: str, days: int | None) -> dict[str, object]:
    return {
        "offer_id": offer_id,
        "title": offer_id,
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 0,
        "scope": ["p-1"],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": START,
        "valid_to": START,
        "cost": 80,
        "priority": 0,
        "combinable": True,
        "attribution_days": days,
    }


@pytest.fixture
def earlier(tmp_path: Path) -> DuckDbLake:
    """A lake whose offers were written before they had attribution days."""
    lake = DuckDbLake(tmp_path)
    with lake.write() as write:
        write.merge("offers", OFFERS.from_rows([offer("old", None), offer("kept", None)]))
    (file,) = (tmp_path / "offers").glob("*.parquet")
    parquet.write_table(parquet.read_table(file).drop_columns(["attribution_days"]), file)
    return DuckDbLake(tmp_path)


def test_a_column_that_rows_do_not_know_is_null(earlier: DuckDbLake) -> None:
    table = earlier.table("offers")

    assert tuple(table.columns) == OFFERS.names
    assert earlier.fetch(table)["attribution_days"].to_pylist() == [None, None]


def test_rows_of_before_and_of_today_stand_side_by_side(earlier: DuckDbLake) -> None:
    with earlier.write() as write:
        merged = write.merge("offers", OFFERS.from_rows([offer("old", 28), offer("new", 7)]))

    rows = earlier.fetch(earlier.table("offers").order_by("offer_id")).to_pylist()
    assert [(r["offer_id"], r["attribution_days"]) for r in rows] == [
        ("kept", None),
        ("new", 7),
        ("old", 28),
    ]
    assert rows[0]["scope"] == ["p-1"]
    assert (merged.new, merged.replaced) == (1, 1)


def test_a_write_with_patience_gives_up_where_another_one_goes_on(tmp_path: Path) -> None:
    with DuckDbLake(tmp_path).write():
        began = time.monotonic()
        with (
            pytest.raises(StoreUnavailable, match="being written by a load or a run"),
            DuckDbLake(tmp_path, patience=0.2).write(),
        ):
            raise AssertionError("two write at once")
        assert 0.2 <= time.monotonic() - began < 5
    with DuckDbLake(tmp_path, patience=0.2).write() as write:
        write.merge("offers", OFFERS.from_rows([offer("new", None)]))
    assert DuckDbLake(tmp_path).version == 1

"""The index against counts by hand; test_rule_readings.py holds it to the engine's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from adapters import duckdb_lake
from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import PURCHASES
from foundation.counted_events import SOURCES, Count
from foundation.event_index import FARTHEST, EventIndex, day_before
from regulars.jobs.event_index import read_event_index, write_event_index

T = datetime(2026, 6, 1, tzinfo=UTC)

# Products: 1 is coffee of our own, 2 coffee of another brand, 3 our own tea.
CATEGORY = [None, "COFFEE", "COFFEE", "TEA"]
BRAND = [None, "own", "other", "own"]


def bought(days: int | None = None, **where: list[str]) -> Count:
    return Count.of("purchase", where, days)


def index(*orders: tuple[int, list[tuple[int, int]]]) -> EventIndex:
    """Return the index of orders: a customer, and each line's product and day."""
    lines = [line for _, order in orders for line in order]
    return EventIndex(
        3,
        np.cumsum([0, *(len(order) for _, order in orders)]),
        np.array([customer for customer, _ in orders], dtype=np.int32),
        np.array([day for _, day in lines], dtype=np.uint16),
        np.array([[product for product, _ in lines]], dtype=np.int32),
        {"category": (0, CATEGORY), "brand": (0, BRAND)},
    )


def test_an_order_counts_once_and_when_one_of_its_lines_fits_everything() -> None:
    shop = index(
        (0, [(1, 3), (1, 3)]),
        (0, [(2, 5), (3, 5)]),
        (2, [(3, 3), (0, 3)]),
        (2, [(2, 9)]),
    )

    assert shop.times(bought()).tolist() == [2, 0, 2]
    assert shop.times(bought(category=["COFFEE"])).tolist() == [2, 0, 1]
    assert shop.times(bought(4)).tolist() == [1, 0, 1]
    # Coffee of another brand beside our own tea is no coffee of our own.
    assert shop.times(bought(category=["COFFEE"], brand=["own"])).tolist() == [1, 0, 0]
    assert shop.times(bought(category=["unheard of"])).tolist() == [0, 0, 0]


def test_what_lies_farther_than_the_index_tells_counts_without_a_window_alone() -> None:
    long_ago = (T - timedelta(days=200 * 365) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
    (day,) = day_before(np.array([long_ago]), T)
    shop = index((1, [(1, int(day))]))

    assert day == FARTHEST
    assert shop.times(bought()).tolist() == [0, 1, 0]
    assert shop.times(bought(36_525)).tolist() == [0, 0, 0]


def test_an_order_that_a_batch_cuts_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The engine's smallest batch; 2,048 is no multiple of an order's three lines.
    monkeypatch.setattr(duckdb_lake, "BATCH_ROWS", 2_048)
    customers = [f"c-{i}" for i in range(1_000)]
    lake = DuckDbLake(tmp_path)
    with lake.write() as write:
        lines = [
            {
                "line_id": f"l-{n}",
                "customer_id": customers[n // 6],
                "order_id": f"o-{n // 3}",
                "product_id": f"p-{n % 3}",
                "channel": "store",
                "at": T - timedelta(hours=1 + n),
                "local_day": 0,
                "local_hour": 0,
                "quantity": 1.0,
                "amount": 100,
                "discount": 0,
                "offer_discount": 0,
            }
            for n in range(6_000)
        ]
        write.merge("purchases", PURCHASES.from_rows(lines))

    with lake.write() as write:
        write_event_index(lake, write, customers, T)
    purchases, interactions = (read_event_index(lake, source, 1_000) for source in SOURCES)

    assert set(purchases.times(bought()).tolist()) == {2}
    assert set(purchases.times(bought(product=["p-0", "p-2"])).tolist()) == {2}
    assert purchases.times(bought(1)).sum() == 8
    # No interaction was ever told.
    assert interactions.times(Count.of("sent", {}, None)).sum() == 0

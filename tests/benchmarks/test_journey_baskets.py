"""Baskets as the response benchmark asks them: what is hidden, what is known, and since when."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from benchmarks.readers.journey_baskets import asked_baskets
from foundation.contracts import TABLES

PUBLISHED = datetime(2026, 10, 1, tzinfo=UTC)
SINCE, UNTIL = PUBLISHED + timedelta(days=10), PUBLISHED + timedelta(days=40)


def bought(first: int, orders: Sequence[Sequence[str]], since: datetime) -> list[dict[str, Any]]:
    """Return lines of orders of 60 customers in turn, ten minutes apart."""
    return [
        {
            "line_id": f"l-{n}-{product}", "order_id": f"o-{n}", "customer_id": f"c-{n % 60}",
            "product_id": product, "channel": "store", "at": since + timedelta(minutes=10 * place),
            "local_day": 20_700, "local_hour": 8, "quantity": 1.0, "amount": 100, "discount": 0,
            "offer_discount": 0,
        }
        for place, (n, order) in enumerate(enumerate(orders, start=first))
        for product in order
    ]  # fmt: skip


def orders(n: int, seed: int) -> list[tuple[str, str]]:
    """Coffee with milk, tea with lemon, or two of ten others."""
    draw = np.random.default_rng(seed)
    kinds = draw.integers(0, 3, n)
    others = [draw.permutation(10)[:2] for _ in range(n)]
    pairs = {0: ("coffee", "milk"), 1: ("tea", "lemon")}
    return [
        pairs.get(int(kind), (f"x-{first}", f"x-{second}"))
        for kind, (first, second) in zip(kinds, others, strict=True)
    ]


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        write.merge(table, TABLES[table].from_rows(rows))


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    return paired_shop(lake)


def paired_shop(lake: DuckDbLake) -> DuckDbLake:
    """Fill a lake in which coffee goes with milk, tea with lemons."""
    scopes = {"dairy": ["milk", "cream"], "fruit": ["lemon"], "all": []}
    offers = [
        {
            "offer_id": name, "title": name, "kind": "amount", "reward": 1.0, "min_spend": 0,
            "scope": scope, "channels": [], "placements": [], "stores": [],
            "valid_from": PUBLISHED, "valid_to": UNTIL, "cost": 0, "priority": 0,
            "combinable": True,
        }
        for name, scope in scopes.items()
    ]  # fmt: skip
    put(lake, "offers", offers)
    names = ["coffee", "milk", "tea", "lemon", *(f"x-{n}" for n in range(10))]
    put(lake, "products", [{"product_id": n, "category": "GROCERY"} for n in names])
    put(lake, "purchases", bought(0, orders(900, 1), PUBLISHED - timedelta(days=20)))
    put(lake, "purchases", bought(10_000, orders(200, 2), SINCE))
    return lake


def test_a_hidden_product_is_foretold_by_what_was_bought_together_before(shop: DuckDbLake) -> None:
    found = asked_baskets(shop, PUBLISHED, SINCE, UNTIL, seed=3)

    # Two campaigns name products; one for everything is not asked.
    assert len(found.outcome) == 2 * 200
    assert 0 < found.outcome.sum() < 200
    # Whoever has coffee in her basket and nothing else took milk, and so with tea and lemons.
    assert ((found.inputs[:, found.basket] > 0) == (found.outcome == 1)).all()
    assert np.isnan(found.without_basket().inputs[:, found.basket]).all()
    assert set(found.inputs[:, -1]) == {1, 2}


def test_what_is_bought_together_later_is_not_known_yet(shop: DuckDbLake) -> None:
    before = asked_baskets(shop, PUBLISHED, SINCE, UNTIL, seed=3)
    later = [("coffee", "lemon")] * 400

    put(shop, "purchases", bought(20_000, later, PUBLISHED))

    after = asked_baskets(shop, PUBLISHED, SINCE, UNTIL, seed=3)
    assert np.array_equal(before.inputs, after.inputs, equal_nan=True)

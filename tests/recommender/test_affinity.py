"""Affinity is of the past alone, and the same for training and the nightly publication."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import TABLES
from foundation.features import definitions
from recommender.affinity import NAMES, affinities, response_hash

AS_OF = datetime(2026, 6, 1, 7, tzinfo=UTC)
DAY = timedelta(days=1)
MICRO = timedelta(microseconds=1)

Row = dict[str, Any]
_count = iter(range(1_000_000))


def product(product_id: str, subcategory: str) -> Row:
    return {"product_id": product_id, "category": "FOOD", "subcategory": subcategory}


def bought(at: datetime, product_id: str, amount: int, customer: str = "ana") -> Row:
    number = next(_count)
    return {
        "line_id": f"l-{number}",
        "customer_id": customer,
        "order_id": f"r-{number}",
        "product_id": product_id,
        "channel": "store",
        "at": at,
        "local_day": 0,
        "local_hour": 8,
        "quantity": -1.0 if amount < 0 else 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
    }


def offer(offer_id: str, scope: list[str], kind: str | None = "TypeA") -> Row:
    return {
        "offer_id": offer_id,
        "title": offer_id,
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 0,
        "scope": scope,
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": AS_OF - 30 * DAY,
        "valid_to": AS_OF + 30 * DAY,
        "cost": 80,
        "priority": 0,
        "combinable": True,
        "campaign_kind": kind,
    }


def told(kind: str, at: datetime, offer_id: str, customer: str = "ana") -> Row:
    return {
        "event_id": f"e-{next(_count)}",
        "customer_id": customer,
        "at": at,
        "channel": "mail",
        "kind": kind,
        "offer_id": offer_id,
    }


def fill(lake: DuckDbLake, **tables: list[Row]) -> DuckDbLake:
    with lake.write() as write:
        for name, rows in tables.items():
            write.merge(name, TABLES[name].from_rows(rows))
    return lake


def known(lake: DuckDbLake, customer: str = "ana", offer_id: str = "coffee") -> dict[str, float]:
    asked = pd.DataFrame({"customer_id": [customer], "offer_id": [offer_id], "as_of": [AS_OF]})
    return dict(zip(NAMES, affinities(lake, asked)[0].tolist(), strict=True))


PRODUCTS = [product("p-1", "coffee"), product("p-2", "coffee"), product("p-3", "bread")]


def test_share_lines_and_recency_are_of_the_offers_own_products(lake: DuckDbLake) -> None:
    fill(
        lake,
        products=PRODUCTS,
        offers=[offer("coffee", ["p-1", "p-2"]), offer("all", [])],
        purchases=[
            bought(AS_OF - 3 * DAY, "p-1", 300),
            bought(AS_OF - 5 * DAY, "p-2", 100),
            # A return lowers the share and is no purchase.
            bought(AS_OF - 2 * DAY, "p-1", -100),
            bought(AS_OF - 1 * DAY, "p-3", 700),
            # Older than a year: only a first purchase knows it.
            bought(AS_OF - 400 * DAY, "p-1", 9_000),
        ],
    )

    coffee, everything = known(lake), known(lake, offer_id="all")

    assert coffee["affinity_share_365d"] == pytest.approx(0.3)
    assert coffee["affinity_lines_365d"] == 2
    assert coffee["affinity_recency_days"] == 3
    assert everything["affinity_share_365d"] == 1
    assert everything["affinity_lines_365d"] == 3
    assert everything["affinity_recency_days"] == 1


def test_answers_count_by_kind_of_campaign(lake: DuckDbLake) -> None:
    fill(
        lake,
        offers=[
            offer("coffee", ["p-1"]),
            offer("tea", ["p-2"]),
            offer("bread", ["p-3"], "TypeB"),
            offer("plain", ["p-3"], None),
        ],
        interactions=[
            told("sent", AS_OF - 9 * DAY, "coffee"),
            told("sent", AS_OF - 8 * DAY, "tea"),
            told("redeem", AS_OF - 2 * DAY, "tea"),
            told("redeem", AS_OF - 1 * DAY, "tea"),
            told("redeem", AS_OF - 4 * DAY, "coffee"),
            told("reverse", AS_OF - 3 * DAY, "coffee"),
            told("sent", AS_OF - 8 * DAY, "bread"),
            told("view", AS_OF - 8 * DAY, "bread"),
            told("sent", AS_OF - 400 * DAY, "plain"),
        ],
    )

    rates = {o: known(lake, offer_id=o) for o in ("coffee", "bread", "plain")}

    assert [r["affinity_kind_sent_365d"] for r in rates.values()] == [2, 1, 0]
    assert rates["coffee"]["affinity_kind_redeem_rate_365d"] == 0.5
    assert rates["bread"]["affinity_kind_redeem_rate_365d"] == 0
    assert np.isnan(rates["plain"]["affinity_kind_redeem_rate_365d"])


def crowd(draw: np.random.Generator, n: int = 40) -> list[Row]:
    """Customers c-0, c-2, ... buy coffee and cake, the others bread and butter."""
    kinds = (("p-1", "p-2", "p-4", "p-6", "p-7"), ("p-3", "p-5", "p-8", "p-9"))
    return [
        bought(
            AS_OF - int(draw.integers(1, 300)) * DAY,
            kinds[i % 2][int(draw.integers(0, len(kinds[i % 2])))],
            100,
            f"c-{i}",
        )
        for i in range(n)
        for _ in range(6)
    ]


CROWD = [
    *PRODUCTS,
    *(
        product(f"p-{number}", name)
        for number, name in enumerate(("cake", "butter", "milk", "sugar", "ham", "cheese"), start=4)
    ),
]


def test_factors_tell_what_customers_of_like_baskets_buy(lake: DuckDbLake) -> None:
    # She has never bought coffee, but cake, as coffee drinkers do.
    fill(
        lake,
        products=CROWD,
        offers=[offer("coffee", ["p-1", "p-2"]), offer("bread", ["p-3"])],
        purchases=[*crowd(np.random.default_rng(2)), bought(AS_OF - DAY, "p-4", 100)],
    )

    coffee, bread = known(lake), known(lake, offer_id="bread")

    assert coffee["affinity_share_365d"] == 0
    assert -1 <= bread["affinity_factors"] < 0.3 < coffee["affinity_factors"] <= 1


def test_nothing_from_the_instant_on_changes_a_row(lake: DuckDbLake) -> None:
    draw = np.random.default_rng(5)
    fill(
        lake,
        products=CROWD,
        offers=[offer("coffee", ["p-1", "p-2"]), offer("bread", ["p-3"]), offer("all", [])],
        purchases=crowd(draw),
        interactions=[
            told(kind, AS_OF - 3 * DAY, "coffee", f"c-{i}")
            for i in range(20)
            for kind in ("sent", "redeem")
        ],
    )
    asked = pd.DataFrame(
        [(f"c-{i}", o, AS_OF) for i in range(40) for o in ("coffee", "bread", "all")],
        columns=["customer_id", "offer_id", "as_of"],
    )
    before = affinities(lake, asked)

    later = [AS_OF, AS_OF + MICRO, AS_OF + 10 * DAY]
    fill(
        lake,
        purchases=[
            bought(at, f"p-{p}", 5_000, f"c-{i}")
            for i, at in enumerate(later * 10)
            for p in (1, 3, 4)
        ],
        interactions=[
            told(kind, at, "coffee", f"c-{i}")
            for i, at in enumerate(later * 10)
            for kind in ("sent", "redeem", "reverse")
        ],
    )

    np.testing.assert_array_equal(affinities(lake, asked), before)
    # And a microsecond earlier it would have been known.
    fill(lake, purchases=[bought(AS_OF - MICRO, "p-1", 5_000, "c-1")])
    assert not np.array_equal(affinities(lake, asked), before, equal_nan=True)


def test_rows_come_as_asked_and_instants_do_not_touch_each_other(lake: DuckDbLake) -> None:
    fill(
        lake,
        products=CROWD,
        offers=[offer("coffee", ["p-1", "p-2"]), offer("bread", ["p-3"])],
        purchases=crowd(np.random.default_rng(3)),
    )
    pairs = [("c-1", "bread", 0), ("c-0", "coffee", 90), ("c-1", "bread", 0), ("c-9", "bread", 30)]
    asked = pd.DataFrame(
        [(c, o, AS_OF - days * DAY) for c, o, days in pairs],
        columns=["customer_id", "offer_id", "as_of"],
    )

    together = affinities(lake, asked)

    for place in range(len(asked)):
        alone = affinities(lake, asked.iloc[[place]])
        np.testing.assert_array_equal(together[[place]], alone)


def test_who_bought_nothing_and_what_nobody_knows_are_unknown(lake: DuckDbLake) -> None:
    fill(lake, products=PRODUCTS, offers=[offer("coffee", ["p-1"])])

    new = known(lake, "new")

    assert new["affinity_lines_365d"] == new["affinity_kind_sent_365d"] == 0
    assert all(
        np.isnan(new[name]) for name in NAMES if not name.endswith(("lines_365d", "sent_365d"))
    )
    assert all(np.isnan(list(known(lake, offer_id="gone").values())))
    assert affinities(lake, pd.DataFrame(columns=["customer_id", "offer_id", "as_of"])).shape == (
        0,
        len(NAMES),
    )


def test_the_fingerprint_is_of_features_and_affinity() -> None:
    one, other = definitions(("COFFEE",)), definitions(("TEA",))

    assert response_hash(one) == response_hash(definitions(("COFFEE",)))
    assert response_hash(one) != response_hash(other)

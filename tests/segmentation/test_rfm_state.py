"""Merging new lines into RFM's state is exact, whatever comes and in whatever order."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import ibis
import pandas as pd
import pyarrow as arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import PURCHASES, TABLES
from foundation.features import definitions, features_as_of
from regulars.jobs.receipts import refresh_receipts
from segmentation.rfm_state import merge_receipts, rfm_profile, summarise_receipts

AS_OF = datetime(2026, 6, 1, 0, 0, 0, 250_000, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEMA = arrow.schema(
    {
        "customer_id": arrow.string(),
        "order_id": arrow.string(),
        "at": arrow.timestamp("us", tz="UTC"),
        "amount": arrow.int64(),
    }
)
# Boundaries of a 365 day window and of as_of itself, to the microsecond; the rest anywhere.
instant = st.one_of(
    st.sampled_from([-365 * DAY, -DAY, 0 * DAY, DAY]).flatmap(
        lambda base: st.sampled_from([-1_000_000, -1, 0, 1, 250_000, 1_000_000]).map(
            lambda micro: AS_OF + base + timedelta(microseconds=micro)
        )
    ),
    st.integers(-800, 30).map(lambda days: AS_OF + days * DAY),
)
line = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), instant, st.integers(-900, 900))
batches = st.lists(st.lists(line, max_size=12), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def engine() -> Any:
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    return connection


def table(engine: Any, rows: list[tuple[Any, ...]]) -> ibis.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * 4
    return held(engine, arrow.table([list(c) for c in columns], schema=SCHEMA))


def held(engine: Any, rows: arrow.Table) -> ibis.Table:
    return engine.create_table(f"held_{uuid4().hex}", rows.cast(SCHEMA), temp=True)


def found(engine: Any, expression: ibis.Table) -> list[dict[str, Any]]:
    rows = engine.to_pyarrow(expression).to_pylist()
    return sorted(rows, key=lambda row: tuple(str(value) for value in row.values()))


@settings(max_examples=20, deadline=None)
@given(told=batches)
def test_increments_in_any_cut_give_the_full_recomputation_exactly(
    engine: Any, told: list[list[Any]]
) -> None:
    state = engine.to_pyarrow(summarise_receipts(table(engine, [])))
    for batch in told:
        before = held(engine, state)
        touched = engine.to_pyarrow(
            merge_receipts(before, summarise_receipts(table(engine, batch)))
        )
        rows = {(r["customer_id"], r["order_id"], r["at"]): r for r in state.to_pylist()}
        rows |= {(r["customer_id"], r["order_id"], r["at"]): r for r in touched.to_pylist()}
        state = arrow.Table.from_pylist(list(rows.values()), schema=SCHEMA)

    everything = table(engine, [row for batch in told for row in batch])
    grown = held(engine, state)
    assert found(engine, grown) == found(engine, summarise_receipts(everything))
    assert found(engine, rfm_profile(grown, AS_OF, 365)) == found(
        engine, rfm_profile(everything, AS_OF, 365)
    )


@settings(max_examples=15, deadline=None)
@given(told=st.lists(line, min_size=1, max_size=25))
def test_the_figures_are_those_of_the_feature_registry(engine: Any, told: list[Any]) -> None:
    """Source: foundation/features.py, the other implementation of the same definitions."""
    lake = Lines(told)
    people = sorted({row[0] for row in told})
    spine = ibis.memtable(
        arrow.table(
            {
                "customer_id": people,
                "as_of": arrow.array([AS_OF] * len(people), arrow.timestamp("us", tz="UTC")),
            }
        )
    )
    names = {"recency_days": "recency_days", "orders_365d": "orders", "spend_365d": "spend"}
    features = [f for f in definitions() if f.name in names]
    known = engine.to_pyarrow(features_as_of(lake, spine, features)).to_pandas()
    known = known.set_index("customer_id").rename(columns=names)[list(names.values())]
    ours = engine.to_pyarrow(rfm_profile(table(engine, told), AS_OF, 365)).to_pandas()
    ours = ours.set_index("customer_id").reindex(known.index).fillna({"orders": 0, "spend": 0})

    lifetime = ours.pop("lifetime_orders").fillna(0)
    assert lifetime.to_dict() == {one: lifetime_orders(told, one) for one in people}
    pd.testing.assert_frame_equal(
        ours.sort_index(), known.sort_index(), check_dtype=False, check_names=False, rtol=1e-12
    )


def lifetime_orders(told: list[Any], customer_id: str) -> int:
    """Count by hand the receipts before AS_OF that gave back no more than they took."""
    amounts = dict[str, int]()
    for who, order_id, at, amount in told:
        if who == customer_id and at < AS_OF:
            amounts[order_id] = amounts.get(order_id, 0) + amount
    return sum(amount >= 0 for amount in amounts.values())


class Lines:
    """Told lines as purchases, nothing else."""

    def __init__(self, told: list[Any]) -> None:
        rows = [
            {
                "line_id": str(n),
                "customer_id": customer_id,
                "order_id": order_id,
                "product_id": "p",
                "channel": "till",
                "at": at,
                "local_day": at.date().toordinal() - 719_163,
                "local_hour": at.hour,
                "quantity": 1.0,
                "amount": amount,
                "discount": 0,
                "offer_discount": 0,
            }
            for n, (customer_id, order_id, at, amount) in enumerate(told)
        ]
        self.purchases = PURCHASES.from_rows(rows)

    def table(self, name: str) -> ibis.Table:
        if name == PURCHASES.name:
            return ibis.memtable(self.purchases)
        return ibis.memtable(TABLES[name].arrow_schema.empty_table())


def test_a_return_lowers_value_and_is_no_order(engine: Any) -> None:
    told = [
        ("a", "o-1", AS_OF - 9 * DAY, 1_000),
        ("a", "o-2", AS_OF - 5 * DAY, 400),
        ("a", "r-1", AS_OF - 2 * DAY, -1_000),
    ]
    (row,) = found(engine, rfm_profile(table(engine, told), AS_OF, 365))
    assert (row["orders"], row["spend"], row["recency_days"]) == (2, 400, 5.0)
    # A window of four days holds neither of her two orders.
    (short,) = found(engine, rfm_profile(table(engine, told), AS_OF, 4))
    assert (short["orders"], short["lifetime_orders"], short["spend"]) == (0, 2, -1_000)


class TestInTheLake:
    def test_an_increment_reads_only_new_lines_and_equals_the_full_pass(
        self, lake: DuckDbLake
    ) -> None:
        for batch in range(4):
            put(lake, batch)
            # Of 30 lines each, 10 are late parts of a receipt that is known already.
            assert refresh_receipts(lake) == 30
            lines = lake.table("purchases")
            assert found_in(lake, lake.table("receipts").drop("receipt_key")) == found_in(
                lake, summarise_receipts(lines)
            )
        assert refresh_receipts(lake) == 0

    def test_purchases_laid_afresh_are_summed_anew(self, lake: DuckDbLake) -> None:
        put(lake, 0)
        refresh_receipts(lake)
        with lake.write() as write:
            write.clear("purchases")
        put(lake, 5)

        assert refresh_receipts(lake) == 30
        assert found_in(lake, lake.table("receipts").drop("receipt_key")) == found_in(
            lake, summarise_receipts(lake.table("purchases"))
        )


def found_in(lake: DuckDbLake, expression: ibis.Table) -> list[dict[str, Any]]:
    rows = lake.fetch(expression).to_pylist()
    return sorted(rows, key=lambda row: (row["customer_id"], row["order_id"], row["at"]))


def put(lake: DuckDbLake, batch: int) -> None:
    """Write 30 receipts' lines; a third of them were begun in the batch before."""
    told = [
        (f"c-{n % 7}", f"o-{20 * batch + n}", AS_OF - (20 * batch + n) * DAY, 100 * batch + n)
        for n in range(30)
    ]
    rows = Lines(told).purchases.to_pylist()
    customers = {row["order_id"]: f"c-{int(row['order_id'][2:]) % 7}" for row in rows}
    rows = [
        {**row, "line_id": f"{batch}-{row['line_id']}", "customer_id": customers[row["order_id"]]}
        for row in rows
    ]
    with lake.write() as write:
        write.merge("purchases", PURCHASES.from_rows(rows))


def test_refreshes_at_once_count_each_line_once(lake: DuckDbLake, tmp_path: Path) -> None:
    """Two runs that look at the same cursor would merge the same lines twice."""
    put(lake, 0)

    def refresh() -> int:
        return refresh_receipts(DuckDbLake(tmp_path / "lake"))

    with ThreadPoolExecutor(4) as pool:
        touched = sorted(future.result() for future in [pool.submit(refresh) for _ in range(4)])

    assert touched == [0, 0, 0, 30]
    assert found_in(lake, lake.table("receipts").drop("receipt_key")) == found_in(
        lake, summarise_receipts(lake.table("purchases"))
    )

"""How long does a marketer wait for a preview? Twenty rules over a made-up chain, half counting.

The chain is drawn by seed, loaded into a lake of its own and segmented by the nightly job, whose
derived tables the preview opens. A preview is all that is shown: size, value, overlap with the
living segments, a sample and what sets members apart. Each rule is previewed several times, in
turns; `first_ms` is the very first after the start, `open_ms` what opening costs before it.
`cpu_p50_ms` and `cpu_p95_ms` are processor time: what others on the machine do is not in them.
`peak_mb` is the previewing process's, `night_peak_mb` the nightly job's.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as arrow

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from benchmarks.run import Bar
from benchmarks.simulate import Shelf
from foundation.contracts import CUSTOMERS, INTERACTIONS, PRODUCTS, PURCHASES
from foundation.errors import RegularsError
from foundation.settings import Settings
from regulars.jobs.customers import registry
from regulars.jobs.living_segments import save
from regulars.jobs.preview import Preview
from regulars.jobs.segment import segment
from regulars.progress import Progress
from segmentation.living import Draft

NOW = datetime(2026, 6, 1, 3, tzinfo=UTC)
PREVIEW_MS = 300
ROUNDS = 5
FEWEST_CUSTOMERS = 100
CHUNK = 4_000_000
CATEGORIES, BRANDS, PRODUCT_COUNT, OFFERS = 40, 200, 20_000, 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=20_000_000)
    parser.add_argument("--seed", type=int, default=0, help="where the chance begins")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the percentiles of a whole preview, in milliseconds.

    Raises:
        RegularsError: There is nobody or nothing to preview, or the nightly job failed.
    """
    if options.customers < FEWEST_CUSTOMERS or options.lines < FEWEST_CUSTOMERS:
        raise RegularsError(
            f"--customers {options.customers} --lines {options.lines}: at least "
            f"{FEWEST_CUSTOMERS} of each are needed to preview segments of"
        )
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        # In a process of its own, as the night is: its memory is not the preview's.
        night = get_context("spawn").Process(
            target=prepare, args=(Path(folder), options.customers, options.lines, options.seed)
        )
        night.start()
        night.join()
        if night.exitcode != 0:
            raise RegularsError(f"the nightly job ended with {night.exitcode}; see above")
        begun = time.perf_counter()
        preview = Preview(DuckDbLake(Path(folder) / "lake"), Settings().currency)
        opened = time.perf_counter() - begun
        rules = list(tried(options.seed))
        took: list[list[float]] = [[] for _ in rules]
        worked: list[float] = []
        sizes = [0] * len(rules)
        for _ in range(ROUNDS):
            for number, rule in enumerate(rules):
                begun, work = time.perf_counter(), time.process_time()
                report = preview.show(rule)
                took[number].append(1000 * (time.perf_counter() - begun))
                worked.append(1000 * (time.process_time() - work))
                sizes[number] = report.customers
    first, every = took[0].pop(0), [one for times in took for one in times]
    counting = [one for times in took[: len(took) // 2] for one in times]
    return {
        "p50_ms": float(np.percentile(every, 50)),
        "p95_ms": float(np.percentile(every, 95)),
        "counting_p95_ms": float(np.percentile(counting, 95)),
        "cpu_p50_ms": float(np.percentile(worked, 50)),
        "cpu_p95_ms": float(np.percentile(worked, 95)),
        "longest_ms": max(every),
        "first_ms": first,
        "open_ms": 1000 * opened,
        "previews": len(every),
        "smallest": min(sizes),
        "largest": max(sizes),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "night_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "customers": options.customers,
        "lines": options.lines,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    p95 = figures["p95_ms"]
    return [Bar("p95_ms", p95, f"below {PREVIEW_MS}", p95 < PREVIEW_MS)]


def prepare(home: Path, customers: int, lines: int, seed: int) -> None:
    """Load the made-up chain, save some segments and let the nightly job run."""
    progress = Progress()
    lake = DuckDbLake(home / "lake")
    with progress.step("draw") as step, lake.write() as write:
        for table, rows in drawn(customers, lines, seed):
            write.merge(table, rows)
            step.show(f"{table}: {rows.num_rows:,} rows")
    names = [feature.name for feature in registry(lake)]
    for number, rule in enumerate(list(tried(seed + 1))[::2]):
        draft = Draft(f"segment-{number}", f"Segment {number}", rule, "benchmark", None, "active")
        save(lake, draft, names, NOW)

    def publish(*args: Any, **options: Any) -> Any:
        return publish_snapshot(home / "snapshots", *args, **options)

    segment(lake, publish, Shelf(), Settings(home=home), NOW, progress)


def drawn(customers: int, lines: int, seed: int) -> Iterator[tuple[str, arrow.Table]]:
    """Yield a chain's contract rows: five lines an order, a year that ends now."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")

    def rows(columns: str, n: int, start: int = 0) -> arrow.Table:
        drawing = f"SELECT {columns} FROM range({start}, {n}) t(i)"  # noqa: S608
        return engine.execute(drawing).to_arrow_table()

    def chance(of: str, salt: int, below: int) -> str:
        return f"(hash({of}, {seed}, {salt}) % {below})::BIGINT"

    # Squared, so that some come often and many seldom.
    who = f"(pow({chance('i // 5', 1, 1_000_000)} / 1e6, 2) * {customers})::BIGINT"
    person = f"'c-' || lpad((least({who}, {customers - 1}))::VARCHAR, 8, '0')"
    ago = f"to_seconds(1 + {chance('i // 5', 2, 365 * 86_400)})"
    at = f"TIMESTAMPTZ '{NOW.isoformat()}' - {ago}"
    yield (
        "customers",
        _contracted(
            CUSTOMERS,
            rows(
                "'c-' || lpad(i::VARCHAR, 8, '0') AS customer_id, "
                f"'s-' || {chance('i', 3, 300)} AS home_store_id, "
                f"TIMESTAMPTZ '2020-01-01 00:00:00+00' + to_days(({chance('i', 4, 2_000)})::INT) "
                "AS joined_at, "
                f"'{{\"tier\": \"t-' || {chance('i', 5, 4)} || '\"}}' AS attributes",
                customers,
            ),
        ),
    )
    yield (
        "products",
        _contracted(
            PRODUCTS,
            rows(
                f"'p-' || i AS product_id, 'category-' || (i % {CATEGORIES}) AS category, "
                f"'brand-' || {chance('i', 6, BRANDS)} AS brand",
                PRODUCT_COUNT,
            ),
        ),
    )
    for start in range(0, lines, CHUNK):
        yield (
            "purchases",
            _contracted(
                PURCHASES,
                rows(
                    f"'l-' || i AS line_id, {person} AS customer_id, 'o-' || (i // 5) AS order_id, "
                    f"'p-' || {chance('i', 7, PRODUCT_COUNT)} AS product_id, "
                    f"'s-' || {chance('i // 5', 8, 300)} AS store_id, 'store' AS channel, "
                    f"{at} AS at, epoch({at})::BIGINT // 86400 AS local_day, "
                    f"hour({at}) AS local_hour, 1.0 AS quantity, "
                    f"100 + {chance('i', 9, 900)} AS amount, 0 AS discount, 0 AS offer_discount",
                    min(start + CHUNK, lines),
                    start,
                ),
            ),
        )
    # One event for every twenty lines, a fifth of them redemptions.
    person_of_event = f"'c-' || lpad({chance('i', 10, customers)}::VARCHAR, 8, '0')"
    event_ago = f"to_seconds(1 + {chance('i', 12, 365 * 86_400)})"
    yield (
        "interactions",
        _contracted(
            INTERACTIONS,
            rows(
                f"'e-' || i AS event_id, {person_of_event} AS customer_id, 'email' AS channel, "
                "CASE WHEN i % 5 = 0 THEN 'redeem' ELSE 'sent' END AS kind, "
                f"TIMESTAMPTZ '{NOW.isoformat()}' - {event_ago} AS at, "
                f"'offer-' || {chance('i', 11, OFFERS)} AS offer_id",
                lines // 20,
            ),
        ),
    )


def _contracted(table: Any, rows: arrow.Table) -> arrow.Table:
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else arrow.nulls(rows.num_rows, field.type)
        for field in table.arrow_schema
    ]
    return arrow.Table.from_arrays(columns, schema=table.arrow_schema)


def tried(seed: int) -> Iterator[dict[str, Any]]:
    """Yield twenty rules as marketers write them, the first ten with counted events."""
    draw = np.random.default_rng(seed)

    def some(what: str, below: int, n: int = 1) -> list[str]:
        return [f"{what}-{i}" for i in draw.choice(below, n, replace=False)]

    def bought(times: int, days: int, **where: list[str]) -> dict[str, Any]:
        count = {"event": "purchase", "where": where, "days": days}
        return {"count": count, "is": ">=", "value": times}

    def had(kind: str, offers: list[str]) -> dict[str, Any]:
        return {"count": {"event": kind, "where": {"offer": offers}}, "is": ">=", "value": 1}

    def feature(name: str, word: str, value: float) -> dict[str, Any]:
        return {"feature": name, "is": word, "value": value}

    offer = some("offer", OFFERS)
    yield bought(3, 30, category=some("category", CATEGORIES))
    yield bought(1, 365, category=some("category", CATEGORIES, 3))
    yield bought(2, 90, brand=some("brand", BRANDS, 5))
    yield bought(3, 365)
    yield bought(2, 7)
    yield {"all": [had("sent", offer), {"not": had("redeem", offer)}]}
    yield {"not": bought(1, 180, category=some("category", CATEGORIES))}
    yield {"all": [bought(1, 90, store=some("s", 300, 20)), feature("orders_90d", ">", 2)]}
    yield {
        "all": [
            bought(2, 365, category=some("category", CATEGORIES)),
            {"not": bought(1, 60, category=some("category", CATEGORIES))},
            {"segment": "lifecycle", "in": ["slowing", "dormant"]},
        ]
    }
    yield {"any": [bought(1, 14, product=some("p", PRODUCT_COUNT, 10)), had("redeem", offer)]}
    yield feature("recency_days", "<", 30)
    yield feature("spend_365d", ">=", int(draw.integers(5_000, 50_000)))
    yield {"not": feature("orders_30d", ">", 0)}
    yield {"all": [feature("recency_days", ">", 60), feature("orders_365d", ">=", 4)]}
    yield {"segment": "rfm", "in": ["Champions", "Loyal"]}
    yield {"attribute": "attributes.tier", "in": ["t-1", "t-2"]}
    yield {"attribute": "joined_at", "is": ">=", "value": "2024-01-01T00:00:00+01:00"}
    yield {"attribute": "home_store_id", "in": some("s", 300, 25)}
    yield {"all": [feature("spend_trend", "<", 0.5), {"segment": "lifecycle", "in": ["active"]}]}
    yield {"any": [feature("basket_mean_90d", ">", 3_000), feature("categories_90d", ">", 20)]}

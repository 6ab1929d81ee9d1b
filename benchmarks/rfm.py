"""How fast is RFM's summary of many lines beside bare SQL and a well-known library?

Each runs in a process of its own on the same Parquet file, in turn, thrice; the quickest of its
runs counts, since other work on the machine only slows. Ours is what `regulars segment` evaluates,
compiled by Ibis; the SQL is the same aggregation written by hand, and must give the same answer to
the last digit; the library is `lifetimes`, whose summary counts purchase days and keeps no returns,
so that only its customers can be compared. Seconds include reading the file, not
starting Python.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.run import Bar
from foundation.errors import RegularsError

LINES_A_RECEIPT = 10
RECEIPTS_A_CUSTOMER = 5
ROUNDS = 3
# Times DuckDB by hand, times quicker than lifetimes, megabytes.
SLOWEST, QUICKER, MOST_MB = 1.5, 5.0, 700.0

SHARED = """
import resource, sys, time
# What engines import when they are first asked is no part of an aggregation.
import numpy, pandas, pyarrow, pyarrow.parquet
from datetime import UTC, datetime
path, end = sys.argv[1], datetime(2026, 1, 1, tzinfo=UTC)
"""
DONE = """
spent = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if len(sys.argv) > 2:
    pyarrow.parquet.write_table(answer, sys.argv[2])
customers = len(answer)
print(f'{{"seconds": {spent}, "peak_mb": {peak}, "customers": {customers}}}')
"""
OURS = """
import ibis, ibis.backends.duckdb.converter, ibis.expr.types.groupby, ibis.formats.pandas
from segmentation.rfm_state import rfm_profile
engine = ibis.duckdb.connect()
engine.raw_sql("SET TimeZone = 'UTC'")
begun = time.perf_counter()
answer = engine.to_pyarrow(rfm_profile(engine.read_parquet(path), end, 365))
"""
BY_HAND = """
import duckdb
engine = duckdb.connect()
engine.execute("SET TimeZone = 'UTC'")
begun = time.perf_counter()
answer = engine.execute('''
    WITH orders AS (
        SELECT customer_id, order_id, min("at") AS first, sum(amount) AS amount,
               sum(amount) FILTER ("at" > TIMESTAMPTZ '2025-01-01 00:00:00+00') AS inside
        FROM read_parquet(?) WHERE "at" < TIMESTAMPTZ '2026-01-01 00:00:00+00'
        GROUP BY customer_id, order_id)
    SELECT customer_id,
           (1767225600 - floor(epoch(max(first) FILTER (amount >= 0)))) / 86400 AS recency_days,
           (count(*) FILTER (amount >= 0 AND first > TIMESTAMPTZ '2025-01-01 00:00:00+00'))::BIGINT
               AS orders,
           (count(*) FILTER (amount >= 0))::BIGINT AS lifetime_orders,
           coalesce(sum(inside), 0)::BIGINT AS spend
    FROM orders GROUP BY customer_id
''', [path]).to_arrow_table()
"""
LIFETIMES = """
import pandas as pd
from lifetimes.utils import summary_data_from_transaction_data
begun = time.perf_counter()
lines = pd.read_parquet(path, columns=["customer_id", "at", "amount"])
answer = summary_data_from_transaction_data(
    lines, "customer_id", "at", monetary_value_col="amount", observation_period_end=end)
"""
RIVALS = {"ours": OURS, "duckdb": BY_HAND, "lifetimes": LIFETIMES}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lines", type=int, default=5_000_000, help="lines of receipts")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of each, and our peak memory.

    Raises:
        RegularsError: There are no lines, a rival cannot run, or ours and the SQL differ.
    """
    if options.lines < 1:
        raise RegularsError(f"--lines {options.lines}: at least one line is needed")
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        path = Path(folder) / "lines.parquet"
        _write_lines(path, options.lines)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RIVALS}
        for _ in range(ROUNDS):
            for name, program in RIVALS.items():
                runs[name].append(_run(name, program, path))
        _check_equal(Path(folder), path)
    counted = {name: found[0]["customers"] for name, found in runs.items()}
    if len(set(counted.values())) > 1:
        raise RegularsError(f"rfm: customers differ, {counted}; seconds cannot be compared")
    best = {name: min(run["seconds"] for run in found) for name, found in runs.items()}
    return {
        **{f"{name}_seconds": seconds for name, seconds in best.items()},
        "ours_peak_mb": max(run["peak_mb"] for run in runs["ours"]),
        "times_duckdb": best["ours"] / best["duckdb"],
        "times_quicker_than_lifetimes": best["lifetimes"] / best["ours"],
        "lines": options.lines,
        "customers": runs["ours"][0]["customers"],
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold the figures to the bars."""
    slow, quick = figures["times_duckdb"], figures["times_quicker_than_lifetimes"]
    peak = figures["ours_peak_mb"]
    return [
        Bar("times_duckdb", slow, f"at most {SLOWEST}", slow <= SLOWEST),
        Bar("times_quicker_than_lifetimes", quick, f"at least {QUICKER}", quick >= QUICKER),
        Bar("ours_peak_mb", peak, f"under {MOST_MB:.0f}", peak < MOST_MB),
    ]


def _write_lines(path: Path, lines: int) -> None:
    import duckdb

    receipts = max(lines // LINES_A_RECEIPT, 1)
    customers = max(receipts // RECEIPTS_A_CUSTOMER, 1)
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        # One receipt in twenty is a return: it gives back more than it takes.
        engine.execute(
            "COPY (SELECT 'customer-' || (hash(receipt) % $customers) AS customer_id, "  # noqa: S608
            "'order-' || receipt AS order_id, TIMESTAMPTZ '2024-01-01 00:00:00+00' "
            "+ to_seconds((hash(receipt + 1) % 63072000)::BIGINT) AS at, "
            "(50 + hash(line) % 2000)::BIGINT * CASE WHEN hash(receipt + 2) % 20 = 0 THEN -1 "
            "ELSE 1 END AS amount FROM (SELECT range AS line, range // $a_receipt AS receipt "
            f"FROM range($lines))) TO '{path}' (FORMAT parquet, COMPRESSION zstd)",
            {"customers": customers, "a_receipt": LINES_A_RECEIPT, "lines": lines},
        )


def _check_equal(folder: Path, path: Path) -> None:
    """Refuse seconds of two that do not answer the same.

    Raises:
        RegularsError: A customer has other figures by our aggregation than by hand.
    """
    import pyarrow.parquet as parquet

    answers: dict[str, Any] = {}
    for name in ("ours", "duckdb"):
        out = folder / f"{name}.parquet"
        _run(name, RIVALS[name], path, out)
        answers[name] = parquet.read_table(out).to_pandas().set_index("customer_id").sort_index()
    ours, by_hand = answers["ours"], answers["duckdb"]
    by_hand = by_hand[list(ours)]
    same = ours.index.equals(by_hand.index) and ours.equals(by_hand)
    if not same:
        raise RegularsError(
            f"rfm: {len(ours)} customers of ours and {len(by_hand)} of SQL by hand do not have the "
            "same figures, so their seconds cannot be compared; mend segmentation/rfm_state.py"
        )


def _run(name: str, program: str, path: Path, out: Path | None = None) -> dict[str, Any]:
    places = [str(path)] if out is None else [str(path), str(out)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARED + program + DONE, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RegularsError(
            f"{name} does not run ({why}); install what benchmarks need: pip install lifetimes"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])

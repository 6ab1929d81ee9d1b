"""How long does it take to analyse an experiment of many customers, beside tea-tasting?

Four metrics, each adjusted by what the customer did before (CUPED), of one DuckDB table. Both read
the same table in the same run, by turns, and must come to the same figures; a bare query of the
means, variances and covariances says what the engine alone takes. The median of some rounds counts.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import tea_tasting as tt

from adapters.unit_table import UnitTable
from benchmarks.run import Bar
from experiments.analysis import Analysis, analyse_units
from experiments.metrics import Column, Mean
from foundation.errors import RegularsError

METRICS = ("margin", "spend", "orders", "visits")
MOST_OF_TEA_TASTING = 1.2
ROUNDS = 7


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000, help="units of the experiment")
    parser.add_argument("--seed", type=int, default=1, help="chance of the customers")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of each.

    Raises:
        RegularsError: The two disagree.
    """
    connection = duckdb.connect()
    connection.register("made", customers(options.customers, options.seed))
    connection.execute("CREATE TABLE customers AS SELECT * FROM made")
    table = ibis.duckdb.from_connection(connection).table("customers")
    trial = tt.Experiment({name: tt.Mean(name, covariate=f"{name}_before") for name in METRICS})
    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = analysed(connection)

    def theirs() -> None:
        found["theirs"] = trial.analyze(table, control="control")

    def engine() -> None:
        connection.execute(_BARE).fetchall()

    seconds = _by_turns([ours, theirs, engine])
    _agree(found["ours"], found["theirs"])
    return {
        "customers": options.customers,
        "ours_seconds": seconds[0],
        "tea_tasting_seconds": seconds[1],
        "duckdb_seconds": seconds[2],
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    ratio = figures["ours_seconds"] / figures["tea_tasting_seconds"]
    return [
        Bar(
            "seconds over tea-tasting's",
            ratio,
            f"at most {MOST_OF_TEA_TASTING}",
            ratio <= MOST_OF_TEA_TASTING,
        )
    ]


def customers(n: int, seed: int) -> pd.DataFrame:
    """Make customers with a level of their own, who were dealt to two variants."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(9.0, 1 / 9, n)
    made = {"variant": np.where(rng.random(n) < 0.5, "treatment", "control")}
    for name in METRICS:
        made[f"{name}_before"] = level * rng.gamma(9.0, 1.0, n)
        made[name] = level * rng.gamma(9.0, 1.0, n)
    return pd.DataFrame(made)


def analysed(connection: duckdb.DuckDBPyConnection) -> Analysis:
    """Analyse the table as any other, its split and its health included."""
    units = UnitTable(connection, "customers")
    metrics = {name: Mean(Column(name), Column(f"{name}_before")) for name in METRICS}
    planned = {"control": 0.5, "treatment": 0.5}
    return analyse_units(units, metrics, "control", planned)


def _by_turns(works: list[Callable[[], None]]) -> list[float]:
    """Return the median seconds of each."""
    taken: list[list[float]] = [[] for _ in works]
    # The first round warms up compilers and caches.
    for turn in range(ROUNDS + 1):
        for work, seconds in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                seconds.append(time.perf_counter() - start)
    return [float(np.median(seconds)) for seconds in taken]


def _agree(ours: Analysis, theirs: Any) -> None:
    for name in METRICS:
        effect, other = ours.metrics[name]["treatment"], theirs[name]
        here = (effect.difference, effect.low, effect.high, effect.p)
        there = (
            other.effect_size,
            other.effect_size_ci_lower,
            other.effect_size_ci_upper,
            other.pvalue,
        )
        if None in here or not np.allclose(np.asarray(here, float), there, rtol=1e-6, atol=1e-12):
            raise RegularsError(
                f"metric {name!r} is {here} here and {there} in tea-tasting; times of different "
                "answers are not compared"
            )


_MOMENTS = ", ".join(
    f"avg({n}), avg({n}_before), var_samp({n}), var_samp({n}_before), covar_samp({n}, {n}_before)"
    for n in METRICS
)
_BARE = f"SELECT variant, count(*), {_MOMENTS} FROM customers GROUP BY variant"  # noqa: S608

"""Units of an experiment in a DuckDB table or view: one query fetches the sums of all metrics."""

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np

from experiments.aggregates import Aggregates, Product
from experiments.metrics import (
    Column,
    InvalidMetric,
    Metric,
    Proportion,
    aggregates_of,
    among,
    columns,
    products,
)
from experiments.outliers import TOP, TopFew, held_by_few

# Rows whose median is taken off all values, so that squares and cubes keep their digits.
_SAMPLE = 1_000


def quoted(name: str) -> str:
    """Return a name as SQL's identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


class UnitTable:
    """One row a unit; a column of variants as text, and numeric ones. See analysis.Units."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, table: str, variant: str = "variant"
    ) -> None:
        self._connection = connection
        self._table = quoted(table)
        self._variant = quoted(variant)

    def observed(self) -> dict[str, int]:
        """Return how many units each variant has."""
        counted = self._connection.execute(
            f"SELECT {self._variant}, count(*) FROM {self._table} "  # noqa: S608
            f"WHERE {self._variant} IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
        return {str(name): int(count) for name, count in counted}

    def aggregates(
        self, metrics: Sequence[Metric], stratum: str | None = None
    ) -> list[dict[str, Aggregates]]:
        needed = {column.label: column for metric in metrics for column in columns(metric)}
        if not needed:
            return []
        wanted = products(metrics)
        origin = self._origin(needed.values(), metrics)
        found = self._sums(list(needed.values()), wanted, origin, stratum)

        def of(metric: Metric, strata: list[dict[Product, float]]) -> Aggregates:
            parts = [aggregates_of(metric, sums, origin) for sums in strata]
            return parts[0] if stratum is None else Aggregates.stacked(parts)

        return [
            {variant: of(metric, strata) for variant, strata in found.items()} for metric in metrics
        ]

    def top_few(self, column: str) -> list[TopFew]:
        """Return what the largest units of each variant hold."""
        size = f"abs({_expression(Column(column))})"
        fetched = self._connection.execute(
            f"SELECT {self._variant}, count(*), sum({size}), list_sum(max({size}, {TOP})), "  # noqa: S608
            f"max({size}) FROM {self._table} WHERE {self._variant} IS NOT NULL GROUP BY 1 "
            "ORDER BY 1"
        ).fetchall()
        return [
            few
            for name, units, total, top, largest in fetched
            for few in held_by_few(column, str(name), int(units), total, top, largest)
        ]

    def rows(self, metric: Metric, variant: str) -> np.ndarray:
        asked = ", ".join(
            f"{_expression(column)} AS c{place}" for place, column in enumerate(columns(metric))
        )
        fetched = self._connection.execute(
            f"SELECT {asked} FROM {self._table} WHERE {self._variant} = ?",  # noqa: S608
            [variant],
        ).fetchnumpy()
        values = np.column_stack([np.ma.filled(one, np.nan) for one in fetched.values()])
        if not bool(np.isfinite(values).all()):
            raise InvalidMetric(
                f"column {columns(metric)[0].name!r} is missing or infinite for some units of "
                f"variant {variant!r}; write 0 where a unit did nothing"
            )
        return among(metric, values)

    def _origin(self, needed: Iterable[Column], metrics: Sequence[Metric]) -> dict[str, float]:
        # Responders are counted, not measured from somewhere.
        counted = {metric.column.label for metric in metrics if isinstance(metric, Proportion)}
        shifted = [column for column in needed if column.label not in counted]
        if not shifted:
            return {}
        asked = ", ".join(f"median({_expression(column)})" for column in shifted)
        values = self._connection.execute(
            f"SELECT {asked} FROM (FROM {self._table} LIMIT {_SAMPLE})"  # noqa: S608
        ).fetchone()
        return {
            column.label: float(value) if value is not None and np.isfinite(value) else 0.0
            for column, value in zip(shifted, values or (), strict=True)
        }

    def _sums(
        self,
        needed: Sequence[Column],
        wanted: Sequence[Product],
        origin: dict[str, float],
        stratum: str | None,
    ) -> dict[str, list[dict[Product, float]]]:
        """Return the sums of each variant, a row a stratum."""
        place = {column.label: f"c{number}" for number, column in enumerate(needed)}
        shifted = ", ".join(
            f"{_expression(column)} - {origin.get(column.label, 0.0)!r}::DOUBLE AS "
            f"{place[column.label]}"
            for column in needed
        )
        asked = ", ".join(
            f"sum({' * '.join(place[label] for label in product)})" if product else "count(*)"
            for product in wanted
        )
        # Without strata the query stays plain: it is the one that many customers wait for.
        by = "" if stratum is None else ", stratum ORDER BY variant, stratum"
        fetched = self._connection.execute(
            f"SELECT variant, {asked} FROM (SELECT {self._variant} AS variant, "  # noqa: S608
            f"{'NULL' if stratum is None else quoted(stratum)} AS stratum, {shifted} "
            f"FROM {self._table} WHERE {self._variant} IS NOT NULL) GROUP BY variant{by}"
        ).fetchall()
        found: dict[str, list[dict[Product, float]]] = {}
        for name, *sums in fetched:
            found.setdefault(str(name), []).append(dict(zip(wanted, sums, strict=True)))
        return found


def _expression(column: Column) -> str:
    named = f"CAST({quoted(column.name)} AS DOUBLE)"
    # A float's repr is a number of SQL; nothing else gets here.
    return named if column.cap is None else f"least({named}, {float(column.cap)!r}::DOUBLE)"

"""Lake units: the units of an experiment where they lie; the lake's engine sums them up.

One query fetches the sums of all metrics, and statistics are made of them alone. Rows leave the
engine only for what sums cannot say: quantiles, chance as the judge, effects by day and segment.
"""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any

import ibis
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates, Product
from experiments.metrics import (
    Column,
    Metric,
    Proportion,
    aggregates_of,
    columns,
    products,
    rows,
)
from experiments.outliers import TOP, TopFew, held_by_few
from foundation.lake import Lake


class LakeUnits:
    """One row a unit in an expression of the lake: variant, and numeric columns without gaps.

    See analysis.PlannedUnits.
    """

    def __init__(self, lake: Lake, table: ibis.Table) -> None:
        self._lake = lake
        self._table = table

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every unit's row, by unit and variant; fetched once."""
        return self._lake.fetch(self._table.order_by("unit_id", "variant")).to_pandas()

    def observed(self) -> dict[str, int]:
        counted = self._table.group_by("variant").aggregate(units=self._table.count())
        found = self._lake.fetch(counted).to_pylist()
        return {row["variant"]: int(row["units"]) for row in found}

    def aggregates(
        self, metrics: Sequence[Metric], stratum: str | None = None
    ) -> list[dict[str, Aggregates]]:
        needed = {column.label: column for metric in metrics for column in columns(metric)}
        if not needed:
            return []
        # Responders are counted, not measured from somewhere.
        counted = {metric.column.label for metric in metrics if isinstance(metric, Proportion)}
        wanted = products(metrics)
        keys = ["variant"] if stratum is None else ["variant", stratum]
        asked = self._sums(needed, counted, wanted, keys)
        found = self._lake.fetch(asked.order_by(*keys)).to_pylist()
        place = {label: number for number, label in enumerate(needed)}

        def summed(metric: Metric, row: dict[str, Any]) -> Aggregates:
            sums = {product: row[f"s{n}"] for n, product in enumerate(wanted)}
            return aggregates_of(metric, sums, {label: row[f"o{n}"] for label, n in place.items()})

        def of(metric: Metric, variant: str) -> Aggregates:
            parts = [summed(metric, row) for row in found if row["variant"] == variant]
            return parts[0] if stratum is None else Aggregates.stacked(parts)

        variants = dict.fromkeys(row["variant"] for row in found)
        return [{variant: of(metric, variant) for variant in variants} for metric in metrics]

    def rows(self, metric: Metric, variant: str) -> np.ndarray:
        return rows(metric, self.frame[self.frame["variant"] == variant])

    def quantile(self, column: str, level: float) -> float:
        asked = self._table.aggregate(value=self._table[column].quantile(level))
        return float(self._lake.fetch(asked)["value"][0].as_py())

    def top_few(self, column: str) -> list[TopFew]:
        sizes = self._table.select("variant", size=self._table[column].abs())
        largest = ibis.window(group_by="variant", order_by=ibis.desc("size"))
        ranked = sizes.mutate(place=ibis.row_number().over(largest))
        held = ranked.group_by("variant").aggregate(
            units=ranked.count(),
            total=ranked["size"].sum(),
            top=(ranked.place < TOP).ifelse(ranked["size"], 0.0).sum(),
            largest=ranked["size"].max(),
        )
        return [
            few
            for row in self._lake.fetch(held.order_by("variant")).to_pylist()
            for few in held_by_few(
                column, row["variant"], row["units"], row["total"], row["top"], row["largest"]
            )
        ]

    def _sums(
        self,
        needed: dict[str, Column],
        counted: set[str],
        wanted: Sequence[Product],
        keys: list[str],
    ) -> ibis.Table:
        """Return the sums of products by keys, and what was taken off each column before."""
        values = self._table.select(
            *keys, **{f"c{n}": self._value(one) for n, one in enumerate(needed.values())}
        )
        # Squares and cubes keep their digits near the middle of the values.
        everyone = ibis.window()
        middle: dict[str, Any] = {
            f"o{n}": ibis.literal(0.0)
            if label in counted
            else values[f"c{n}"].mean().over(everyone)
            for n, label in enumerate(needed)
        }
        told = values.mutate(**middle)
        factor: dict[str, Any] = {
            label: told[f"c{n}"] - told[f"o{n}"] for n, label in enumerate(needed)
        }

        def summed(product: Product) -> Any:
            if not product:
                return told.count().cast("float64")
            return reduce(lambda a, b: a * b, (factor[label] for label in product)).sum()

        return told.group_by(*keys).aggregate(
            **{f"s{n}": summed(product) for n, product in enumerate(wanted)},
            **{name: told[name].max() for name in middle},
        )

    def _value(self, column: Column) -> Any:
        value = self._table[column.name].cast("float64")
        return value if column.cap is None else ibis.least(value, ibis.literal(float(column.cap)))

"""Metrics: what is measured, and which sums of which columns that takes.

A metric is a plain description. It names its columns; `products` says which sums its statistics
need, so that one query can fetch the sums of all metrics of an experiment (see aggregates.py), and
`rows` takes the same columns from a frame where single units are at hand.
"""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import pandas as pd

from experiments.aggregates import Aggregates, Product, products_of
from experiments.contrast import Figure
from foundation.errors import RegularsError


class InvalidMetric(RegularsError):
    """A metric that cannot be measured as described, or a column that does not fit it."""


class Column(msgspec.Struct, frozen=True):
    """A column of one row a unit; above `cap` its values count as the cap (winsorised).

    A cap belongs into the plan: chosen after looking, it chooses the result.
    """

    name: str
    cap: float | None = None

    @property
    def label(self) -> str:
        """How its sums are named."""
        return self.name if self.cap is None else f"least({self.name}, {self.cap!r})"


# How many rows were summed to a cluster's.
SIZE = Column("rows of the cluster")


class Mean(msgspec.Struct, frozen=True, tag="mean"):
    """The mean a unit; `before` is what the unit did before the experiment (CUPED)."""

    column: Column
    before: Column | None = None


class Ratio(msgspec.Struct, frozen=True, tag="ratio"):
    """The sum of one column over that of another, such as margin a visit.

    `before` is the same pair, or one column, from before the experiment (CUPED).
    """

    numerator: Column
    denominator: Column
    before: tuple[Column, Column] | Column | None = None


class Proportion(msgspec.Struct, frozen=True, tag="proportion"):
    """The share of units whose column is 1; the others' is 0."""

    column: Column


class Quantile(msgspec.Struct, frozen=True, tag="quantile"):
    """The value a share `level` of the units stays below; order statistics instead of sums.

    With `among` only units count in which that column is above 0. Where a variant changes who these
    are, it compares different units: a report says so.
    """

    column: Column
    level: float
    among: Column | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InvalidMetric(
                f"quantile {self.level} of {self.column.name!r} must lie between 0 and 1; "
                "write .5 for the median"
            )


Metric = Mean | Ratio | Proportion | Quantile


def columns(metric: Metric) -> list[Column]:
    """Return the metric's columns in the order its statistics expect."""
    if isinstance(metric, Ratio):
        before = (metric.before,) if isinstance(metric.before, Column) else metric.before
        return [metric.numerator, metric.denominator, *(before or ())]
    if isinstance(metric, Mean) and metric.before is not None:
        return [metric.column, metric.before]
    if isinstance(metric, Quantile) and metric.among is not None:
        return [metric.column, metric.among]
    return [metric.column]


def columns_before(metric: Metric) -> list[Column]:
    """Return the columns of before the experiment, by which it is adjusted."""
    width = 2 if isinstance(metric, Ratio) else 1
    return [] if isinstance(metric, Quantile) else columns(metric)[width:]


def figure_of(metric: Metric) -> Figure:
    return "ratio" if isinstance(metric, Ratio) else "mean"


def products(metrics: Iterable[Metric]) -> list[Product]:
    """Return every sum the metrics need, each once, as labels of columns; () is the count.

    A proportion needs its responders only, a quantile no sums.
    """
    needed: dict[Product, None] = {(): None}
    for metric in metrics:
        labels = [column.label for column in columns(metric)]
        if isinstance(metric, Proportion):
            needed[(labels[0],)] = None
        elif not isinstance(metric, Quantile):
            needed.update(dict.fromkeys(products_of(labels)))
    return list(needed)


def aggregates_of(
    metric: Metric, sums: Mapping[Product, float], origin: Mapping[str, float]
) -> Aggregates:
    """Return what a metric is computed from, of the sums of its products.

    Args:
        sums: By product, each factor less its origin.
        origin: What was taken off each column, by label.

    Raises:
        InvalidMetric: It is a quantile.
    """
    labels = [column.label for column in columns(metric)]
    if isinstance(metric, Quantile):
        raise InvalidMetric(f"a quantile of {labels[0]!r} is not made of sums; fetch its rows")
    if isinstance(metric, Proportion):
        return Aggregates.of_responders(sums[()], sums[(labels[0],)])
    return Aggregates.from_sums(labels, sums, origin)


def rows(metric: Metric, units: pd.DataFrame) -> np.ndarray:
    """Return the metric's columns of one row a unit, capped, shape (n, k).

    Raises:
        InvalidMetric: A column is missing, or has gaps, or a proportion is neither 0 nor 1.
    """
    found: list[np.ndarray] = []
    for column in columns(metric):
        if column.name not in units.columns:
            raise InvalidMetric(
                f"column {column.name!r} is missing, the units have "
                f"{', '.join(map(str, units.columns))}; name one of these"
            )
        values = units[column.name].to_numpy(dtype=np.float64, na_value=np.nan)
        gaps = int((~np.isfinite(values)).sum())
        if gaps:
            raise InvalidMetric(
                f"column {column.name!r} is missing or infinite for {gaps:,} of {len(values):,} "
                "units; write 0 where a unit did nothing"
            )
        found.append(values if column.cap is None else np.minimum(values, column.cap))
    if isinstance(metric, Proportion) and not bool(np.isin(found[0], (0.0, 1.0)).all()):
        raise InvalidMetric(
            f"column {metric.column.name!r} of a proportion has values other than 0 and 1; "
            "measure its mean instead"
        )
    return among(metric, np.column_stack(found))


def among(metric: Metric, unit_rows: np.ndarray) -> np.ndarray:
    """Return the rows of those units that a metric is about, shape (at most n, k)."""
    if isinstance(metric, Quantile) and metric.among is not None:
        return unit_rows[unit_rows[:, 1] > 0]
    return unit_rows


def of_clusters(metric: Metric) -> Metric:
    """Return the metric of rows that are sums of whole clusters, named by their columns' labels.

    What was a mean a customer is the ratio of a cluster's sum to its size, as in `clustered`.

    Raises:
        InvalidMetric: It is a quantile, whose clusters cannot be summed.
    """
    if isinstance(metric, Quantile):
        raise InvalidMetric(
            f"the quantile of {metric.column.name!r} has no interval where whole clusters were "
            "assigned; compare the mean, or a proportion above a value"
        )
    summed = [Column(column.label) for column in columns(metric)]
    # A mean, of now or of before, is a ratio to the size.
    if not isinstance(metric, Ratio):
        summed = [part for column in summed for part in (column, SIZE)]
    elif len(summed) == 3:
        summed.append(SIZE)
    return Ratio(summed[0], summed[1], (summed[2], summed[3]) if len(summed) == 4 else None)


def clustered(metric: Mean | Ratio, unit_rows: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return one row of sums a cluster: a household or store that was assigned as a whole.

    The mean a customer is then the ratio of the clusters' sums to their sizes, and its delta-method
    error is robust to everything the customers of a cluster share.

    Args:
        metric: A mean or a ratio.
        unit_rows: As `rows` returned them, shape (n, k).
        cluster: The cluster of each row, shape (n,).

    Returns:
        Shape (clusters, 2) or, with what was before, (clusters, 4); compare it as a "ratio".

    Source: Liang and Zeger 1986; as a ratio metric, Deng, Lu and Litz 2017.
    """
    _, place = np.unique(cluster, return_inverse=True)
    size = np.bincount(place).astype(np.float64)
    sums = [np.bincount(place, weights=column) for column in unit_rows.T]
    if isinstance(metric, Mean):
        sums = [part for total in sums for part in (total, size)]
    return np.column_stack(sums)

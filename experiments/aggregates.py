"""Aggregates: the sums of a variant that its statistics are made from.

A metric says which products of columns it needs summed (see metrics.py). One query an experiment
fetches them all, and everything after is arithmetic on sums: the same for a thousand customers and
for a hundred million.

Arrays may have leading dimensions, one entry an experiment, a stratum or a re-randomisation; all
statistics here work on all of them at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import RegularsError

# A product of columns, its names sorted: () is the count, ("margin", "margin") a sum of squares.
Product = tuple[str, ...]


class InvalidAggregates(RegularsError):
    """Sums no statistic can be made from."""


def products_of(columns: Sequence[str]) -> list[Product]:
    """Return the products whose sums describe these columns up to their skewness.

    The count, every column, every product of two and of three.
    """
    names = sorted(set(columns))
    return [product for size in range(4) for product in combinations_with_replacement(names, size)]


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Sums over the units of one variant, for k columns.

    Attributes:
        n: Units, shape (...).
        first: Sums, shape (..., k).
        second: Sums of products of two, shape (..., k, k).
        third: Sums of products of three, shape (..., k, k, k).
    """

    n: np.ndarray
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray

    @classmethod
    def from_sums(cls, columns: Sequence[str], sums: Mapping[Product, float]) -> Self:
        """Put the sums a query brought back in order.

        Raises:
            InvalidAggregates: A sum is missing, not finite, or there is no unit.
        """

        def of(*names: str) -> float:
            product = tuple(sorted(names))
            value = sums.get(product)
            if value is None or not np.isfinite(value):
                raise InvalidAggregates(
                    f"the sum of {' * '.join(product) or 'units'} is {value}; look for gaps in "
                    "the columns and write 0 where nothing happened"
                )
            return float(value)

        if of() < 1:
            raise InvalidAggregates("a variant has no unit; wait for the first one")
        return cls(
            n=np.asarray(of()),
            first=np.array([of(a) for a in columns]),
            second=np.array([[of(a, b) for b in columns] for a in columns]),
            third=np.array([[[of(a, b, c) for c in columns] for b in columns] for a in columns]),
        )

    @classmethod
    def from_rows(cls, rows: ArrayLike) -> Self:
        """Sum up one row a unit.

        Args:
            rows: Shape (..., n, k); leading dimensions stay.

        Raises:
            InvalidAggregates: A value is missing or infinite.
        """
        values = np.asarray(rows, dtype=np.float64)
        if not bool(np.isfinite(values).all()):
            raise InvalidAggregates(
                "a value is missing or infinite; write 0 where nothing happened"
            )
        n = np.full(values.shape[:-2], values.shape[-2], dtype=np.float64)
        turned = values.swapaxes(-1, -2)
        second = turned @ values
        k = values.shape[-1]
        third = np.empty((*values.shape[:-2], k, k, k))
        for place in range(k):
            third[..., place, :, :] = turned @ (values * values[..., place, None])
        return cls(n, values.sum(axis=-2), second, third)

    def __add__(self, other: "Aggregates") -> "Aggregates":
        return Aggregates(
            self.n + other.n,
            self.first + other.first,
            self.second + other.second,
            self.third + other.third,
        )

    def __sub__(self, other: "Aggregates") -> "Aggregates":
        return Aggregates(
            self.n - other.n,
            self.first - other.first,
            self.second - other.second,
            self.third - other.third,
        )

    def total(self) -> "Aggregates":
        """Add up the first dimension: strata, or days."""
        parts = (self.n, self.first, self.second, self.third)
        return Aggregates(*(part.sum(axis=0) for part in parts))

    @property
    def mean(self) -> np.ndarray:
        """Means, shape (..., k)."""
        return self.first / self.n[..., None]

    @property
    def covariance(self) -> np.ndarray:
        """Covariances with n - 1, shape (..., k, k); NaN for a single unit."""
        outer = self.first[..., :, None] * self.mean[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.second - outer) / (self.n - 1)[..., None, None]

    def skewness(self, weights: np.ndarray) -> np.ndarray:
        """Return the skewness of a weighted sum of the columns, shape (...).

        Args:
            weights: Shape (..., k).

        Returns:
            NaN where the sum does not vary.
        """
        mean = np.einsum("...i,...i->...", weights, self.mean)
        square = np.einsum("...i,...j,...ij->...", weights, weights, self.second) / self.n
        cube = np.einsum("...i,...j,...k,...ijk->...", weights, weights, weights, self.third)
        variance = square - mean**2
        third = cube / self.n - 3 * mean * square + 2 * mean**3
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 1e-12 * square, third / variance**1.5, np.nan)

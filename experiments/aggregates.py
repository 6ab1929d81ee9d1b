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


# Beyond these sizes of values their squares and cubes are no doubles any more.
_SMALLEST, _LARGEST = 1e-100, 1e100
# A spread below this share of the squares is what rounding leaves of none.
_NOISE = 1e-13


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
        origin: What was taken off every value before summing, shape (k,). Near the values' middle
            it keeps digits that squares and cubes of large values would lose.
    """

    n: np.ndarray
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    origin: np.ndarray | float = 0.0

    @classmethod
    def from_sums(
        cls,
        columns: Sequence[str],
        sums: Mapping[Product, float],
        origin: Mapping[str, float] | None = None,
    ) -> Self:
        """Put the sums a query brought back in order.

        Args:
            columns: Their labels.
            sums: Of products of (value - origin).
            origin: Of each column; 0 where there is none.

        Raises:
            InvalidAggregates: A sum is missing, not finite, or there is no unit.
        """

        def of(*names: str) -> float:
            product = tuple(sorted(names))
            value = sums.get(product)
            if len(product) > 1 and value is not None and not np.isfinite(value):
                raise _out_of_range(names, "large")
            if value is None or not np.isfinite(value):
                raise InvalidAggregates(
                    f"the sum of {' * '.join(product) or 'units'} is {value}; look for gaps in "
                    "the columns and write 0 where nothing happened"
                )
            return float(value)

        if of() < 1:
            raise InvalidAggregates("a variant has no unit; wait for the first one")
        for one in columns:
            size = max(abs(of(one)) / of(), (of(one, one) / of()) ** 0.5)
            if size > _LARGEST or 0 < size < _SMALLEST:
                raise _out_of_range([one], "large" if size > _LARGEST else "small")
        return cls(
            n=np.asarray(of()),
            first=np.array([of(a) for a in columns]),
            second=np.array([[of(a, b) for b in columns] for a in columns]),
            third=np.array([[[of(a, b, c) for c in columns] for b in columns] for a in columns]),
            origin=np.array([(origin or {}).get(a, 0.0) for a in columns]),
        )

    @classmethod
    def of_responders(cls, n: float, responders: float) -> Self:
        """Return the sums of a column that is 1 for so many of n units and 0 for the others."""
        if not n >= 1:
            raise InvalidAggregates("a variant has no unit; wait for the first one")
        some = float(responders)
        return cls(np.asarray(float(n)), np.array([some]), np.array([[some]]), np.array([[[some]]]))

    @classmethod
    def from_rows(cls, rows: ArrayLike, origin: ArrayLike = 0.0) -> Self:
        """Sum up one row a unit.

        Args:
            rows: Shape (..., n, k); leading dimensions stay.
            origin: Taken off every value, shape (k,).

        Raises:
            InvalidAggregates: A value is missing or infinite.
        """
        values = np.asarray(rows, dtype=np.float64)
        if not bool(np.isfinite(values).all()):
            raise InvalidAggregates(
                "a value is missing or infinite; write 0 where nothing happened"
            )
        start = np.asarray(origin, dtype=np.float64)
        if start.any():
            values = values - start
        n = np.full(values.shape[:-2], values.shape[-2], dtype=np.float64)
        turned = values.swapaxes(-1, -2)
        second = turned @ values
        k = values.shape[-1]
        third = np.empty((*values.shape[:-2], k, k, k))
        for place in range(k):
            third[..., place, :, :] = turned @ (values * values[..., place, None])
        return cls(n, values.sum(axis=-2), second, third, start if start.any() else 0.0)

    @classmethod
    def stacked(cls, parts: Sequence["Aggregates"]) -> Self:
        """Return strata as one, leading dimension (strata,); all are from the same origin."""
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        n, first, second, third = (
            np.stack(each)
            for each in zip(
                *((part.n, part.first, part.second, part.third) for part in parts), strict=True
            )
        )
        return cls(n, first, second, third, whole.origin)

    @property
    def strata(self) -> bool:
        """Whether the leading dimension is of strata, as of `stacked`."""
        return self.n.ndim > 0

    def __add__(self, other: "Aggregates") -> "Aggregates":
        return Aggregates(
            self.n + other.n,
            self.first + other.first,
            self.second + other.second,
            self.third + other.third,
            self._same_origin(other),
        )

    def __sub__(self, other: "Aggregates") -> "Aggregates":
        return Aggregates(
            self.n - other.n,
            self.first - other.first,
            self.second - other.second,
            self.third - other.third,
            self._same_origin(other),
        )

    def total(self) -> "Aggregates":
        """Add up the first dimension: strata, or days."""
        n, first, second, third = (
            part.sum(axis=0) for part in (self.n, self.first, self.second, self.third)
        )
        return Aggregates(n, first, second, third, self.origin)

    @property
    def mean(self) -> np.ndarray:
        """Means, shape (..., k)."""
        return self.origin + self._shifted

    @property
    def covariance(self) -> np.ndarray:
        """Covariances with n - 1, shape (..., k, k); NaN for a single unit."""
        outer = self.first[..., :, None] * self._shifted[..., None, :]
        # What is left of sums taken off may be a hair below 0: it is all noise, and has no root.
        with np.errstate(invalid="ignore"):
            square = np.sqrt(np.einsum("...ii->...i", self.second))
        spread = self.second - outer
        # Equal values leave rounding noise, which would pass for information.
        noise = _NOISE * square[..., :, None] * square[..., None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.abs(spread) > noise, spread, 0.0) / (self.n - 1)[..., None, None]

    @property
    def _shifted(self) -> np.ndarray:
        return self.first / self.n[..., None]

    def _same_origin(self, other: "Aggregates") -> np.ndarray | float:
        if not np.array_equal(self.origin, other.origin):
            raise InvalidAggregates(
                f"sums from the origins {self.origin} and {other.origin} do not add up; sum both "
                "from one origin"
            )
        return self.origin

    def skewness(self, weights: np.ndarray) -> np.ndarray:
        """Return the skewness of a weighted sum of the columns, shape (...).

        Args:
            weights: Shape (..., k).

        Returns:
            NaN where the sum does not vary.
        """
        mean = np.einsum("...i,...i->...", weights, self._shifted)
        square = np.einsum("...i,...j,...ij->...", weights, weights, self.second) / self.n
        cube = np.einsum("...i,...j,...k,...ijk->...", weights, weights, weights, self.third)
        variance = square - mean**2
        third = cube / self.n - 3 * mean * square + 2 * mean**3
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 1e-12 * square, third / variance**1.5, np.nan)


def _out_of_range(columns: Sequence[str], size: str) -> InvalidAggregates:
    return InvalidAggregates(
        f"values of {' and '.join(dict.fromkeys(columns))} are too {size} to square and cube; "
        "scale them, for example to other units of money"
    )

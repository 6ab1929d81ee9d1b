"""Distinction: what sets the members of a segment apart from everybody else?

Features come in many units, so each difference of means is told in standard deviations: Cohen's d
with the mean of both variances, as balance is judged in matched studies (Austin 2009). A group is
a yes or no, and its share is a mean too. The figures are estimates from at most DRAWN members and
as many others, drawn at random; the interval is Hedges and Olkin's (1985), and where it holds 0
nothing is said.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.features import money_features
from foundation.money import Currency
from foundation.scores import Z_95

Places = npt.NDArray[np.integer]

# An interval of .02 standard deviations to either side, however many customers there are.
DRAWN = 20_000
SEED = 13

# Below, a spread is chance.
LEAST_CUSTOMERS = 10
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Distinction:
    """One difference: means of members and of the rest, and it in standard deviations.

    `group` is None for a feature; for a segmentation it is the group whose share the means are.
    """

    name: str
    group: str | None
    members: float
    rest: float
    difference: float
    low: float
    high: float

    def sentence(self, currency: Currency) -> str:
        """Return it in English, what is money as money."""
        if self.group is None:
            side = "higher" if self.difference > 0 else "lower"
            means = (self.members, self.rest)
            if self.name in money_features():
                mine, others = map(currency.show, means)
            else:
                mine, others = (f"{mean:,.4g}" for mean in means)
            return f"{self.name} is {side}: {mine} on average against {others}"
        return f"{self.name} is {self.group}: {self.members:.0%} against {self.rest:.0%}"


class Population:
    """All customers' features and groups, to hold any members against the rest.

    Args:
        features: Floats by name, shape (n,) each, NaN where unknown.
        groups: By segmentation, each customer's code, shape (n,), and the codes' names; -1 where
            she has no group.
    """

    def __init__(
        self,
        features: Mapping[str, npt.NDArray[np.floating]],
        groups: Mapping[str, tuple[Places, list[str]]],
    ) -> None:
        customers = len(next(iter([*features.values(), *(codes for codes, _ in groups.values())])))
        # Shuffled once, so that the first members and the first others are random draws.
        self._order = np.random.default_rng(SEED).permutation(customers)
        self._names = list(features)
        # Half the memory of doubles, and seven digits are more than anybody reads.
        self._values = np.empty((len(features), customers), dtype=np.float32)
        for row, values in zip(self._values, features.values(), strict=True):
            row[:] = values[self._order]
        self._groups = {
            name: (codes[self._order], known) for name, (codes, known) in groups.items()
        }

    def distinctions(
        self, members: npt.NDArray[np.bool_], besides: Collection[str] = ()
    ) -> list[Distinction]:
        """Return the largest differences, at most SHOWN, the largest first.

        Args:
            members: Who is in, shape (n,).
            besides: Features and segmentations the rule itself asks for: no news.

        Returns:
            None where members or the rest are fewer than LEAST_CUSTOMERS.
        """
        there = members[self._order]
        sides = [np.flatnonzero(side)[:DRAWN] for side in (there, ~there)]
        if min(len(side) for side in sides) < LEAST_CUSTOMERS:
            return []
        found: list[Distinction] = []
        for name, values in zip(self._names, self._values, strict=True):
            if name not in besides:
                found += _distinction(name, None, *(_moments(values[side]) for side in sides))
        for name, (codes, known) in self._groups.items():
            if name not in besides:
                shares = [_shares(codes[side], len(known)) for side in sides]
                for group, mine, others in zip(known, *shares, strict=True):
                    found += _distinction(name, group, mine, others)
        told = [one for one in found if one.low * one.high > 0]
        return sorted(told, key=lambda one: -abs(one.difference))[:SHOWN]


@dataclass(frozen=True, slots=True)
class _Moments:
    """How many there are, their mean and their variance."""

    n: int
    mean: float
    variance: float


def _moments(values: npt.NDArray[np.float32]) -> _Moments:
    known = values[~np.isnan(values)].astype(np.float64)
    n = len(known)
    if n < LEAST_CUSTOMERS:
        return _Moments(n, math.nan, math.nan)
    return _Moments(n, float(known.mean()), float(known.var(ddof=1)))


def _shares(codes: Places, groups: int) -> list[_Moments]:
    """Return each group's share, as the mean of yes and no."""
    n = len(codes)
    # No group is -1.
    shares = np.bincount(codes + 1, minlength=groups + 1)[1:] / n
    return [_Moments(n, p, p * (1 - p) * n / (n - 1)) for p in shares.tolist()]


def _distinction(
    name: str, group: str | None, mine: _Moments, others: _Moments
) -> list[Distinction]:
    """Return the difference; none where either side is small or nobody differs."""
    n, m = mine.n, others.n
    if min(n, m) < LEAST_CUSTOMERS:
        return []
    mean, other = mine.mean, others.mean
    spread = math.sqrt((mine.variance + others.variance) / 2)
    # Equal values leave a spread of rounding noise, which would pass for information.
    if spread <= 1e-12 * max(abs(mean), abs(other)):
        return []
    d = (mean - other) / spread
    error = math.sqrt((n + m) / (n * m) + d * d / (2 * (n + m)))
    return [Distinction(name, group, mean, other, d, d - Z_95 * error, d + Z_95 * error)]

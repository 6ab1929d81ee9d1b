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

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.integer]

# An interval of .02 standard deviations to either side, however many customers there are.
DRAWN = 20_000
SEED = 13

# Below, a spread is chance.
LEAST_CUSTOMERS = 10
SHOWN = 5
Z = 1.959964


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

    @property
    def sentence(self) -> str:
        if self.group is None:
            side = "higher" if self.difference > 0 else "lower"
            return f"{self.name} is {side}: {self.members:,.4g} on average against {self.rest:,.4g}"
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
        # Half the memory of doubles, and seven digits are more than anybody reads; a row is one
        # customer's, so that a draw reads little.
        self._values = np.empty((customers, len(features)), dtype=np.float32)
        for place, values in enumerate(features.values()):
            self._values[:, place] = values[self._order]
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
        drawn = [self._values[side].astype(np.float64) for side in sides]
        for place, name in enumerate(self._names):
            if name not in besides:
                mine, others = (values[:, place] for values in drawn)
                found += _distinction(name, None, _known(mine), _known(others))
        for name, (codes, known) in self._groups.items():
            if name not in besides:
                for code, group in enumerate(known):
                    mine, others = ((codes[side] == code).astype(np.float64) for side in sides)
                    found += _distinction(name, group, mine, others)
        told = [one for one in found if one.low * one.high > 0]
        return sorted(told, key=lambda one: -abs(one.difference))[:SHOWN]


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _distinction(name: str, group: str | None, mine: Floats, others: Floats) -> list[Distinction]:
    """Return the difference; none where either side is small or nobody differs."""
    n, m = len(mine), len(others)
    if min(n, m) < LEAST_CUSTOMERS:
        return []
    mean, other = float(mine.mean()), float(others.mean())
    spread = math.sqrt((float(mine.var(ddof=1)) + float(others.var(ddof=1))) / 2)
    # Equal values leave a spread of rounding noise, which would pass for information.
    if spread <= 1e-12 * max(abs(mean), abs(other)):
        return []
    d = (mean - other) / spread
    error = math.sqrt((n + m) / (n * m) + d * d / (2 * (n + m)))
    return [Distinction(name, group, mean, other, d, d - Z * error, d + Z * error)]

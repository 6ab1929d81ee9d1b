"""Distinction: what sets the members of a segment apart from everybody else?

Features come in many units, so each difference of means is told in standard deviations: Cohen's d
with the mean of both variances, as balance is judged in matched studies (Austin 2009). A group is
a yes or no, and its share is a mean too. The interval is Hedges and Olkin's (1985), for members
taken as a draw from customers like them; where it holds 0 nothing is said.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.integer]

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


@dataclass(frozen=True, slots=True)
class _Moments:
    n: int
    total: float
    squares: float

    def without(self, part: "_Moments") -> "_Moments":
        return _Moments(self.n - part.n, self.total - part.total, self.squares - part.squares)

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def variance(self) -> float:
        return max(0.0, self.squares - self.total * self.mean) / (self.n - 1)


class Population:
    """All customers' features and groups, summed up once, to be held against any members.

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
        self._features = features
        self._groups = groups
        everyone = slice(None)
        self._all = {name: _moments(values[everyone]) for name, values in features.items()}
        self._sizes = {
            name: np.bincount(codes + 1, minlength=len(known) + 1)
            for name, (codes, known) in groups.items()
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
        # The smaller side is summed, the other follows: it costs half at most.
        few = members if 2 * int(members.sum()) <= len(members) else ~members
        swapped = few is not members
        places = np.flatnonzero(few)
        found: list[Distinction | None] = []
        for name, values in self._features.items():
            if name not in besides:
                part = _moments(values[places])
                found.append(_distinction(name, None, part, self._all[name].without(part), swapped))
        for name, (codes, known) in self._groups.items():
            if name in besides:
                continue
            sizes = np.bincount(codes[places] + 1, minlength=len(known) + 1)
            for code, group in enumerate(known, start=1):
                here, everywhere = int(sizes[code]), int(self._sizes[name][code])
                part = _Moments(len(places), here, here)
                rest = _Moments(len(members) - len(places), everywhere - here, everywhere - here)
                found.append(_distinction(name, group, part, rest, swapped))
        told = [one for one in found if one is not None and one.low * one.high > 0]
        return sorted(told, key=lambda one: -abs(one.difference))[:SHOWN]


def _moments(values: npt.NDArray[np.floating]) -> _Moments:
    known = values[~np.isnan(values)].astype(np.float64)
    return _Moments(len(known), float(known.sum()), float(known @ known))


def _distinction(
    name: str, group: str | None, part: _Moments, rest: _Moments, swapped: bool
) -> Distinction | None:
    members, others = (rest, part) if swapped else (part, rest)
    if min(members.n, others.n) < LEAST_CUSTOMERS:
        return None
    spread = math.sqrt((members.variance + others.variance) / 2)
    if spread <= 1e-12 * max(abs(members.mean), abs(others.mean)):
        return None
    d = (members.mean - others.mean) / spread
    n, m = members.n, others.n
    error = math.sqrt((n + m) / (n * m) + d * d / (2 * (n + m)))
    return Distinction(name, group, members.mean, others.mean, d, d - Z * error, d + Z * error)

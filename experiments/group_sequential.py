"""Group sequential tests: a few planned looks, with the error of 5 % shared out among them.

The spending function says how much of alpha may be used up by the share of the information that
has come in; each boundary then follows from the looks so far, whenever they happened. Fewer, known
looks buy narrower intervals than a confidence sequence has.

Information is 1 / standard error**2, its fraction is taken of the plan's total at the end. z is the
estimate over its standard error; its drift is the z expected at the full information.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from scipy import optimize, special, stats

from foundation.errors import RegularsError

Spending = Literal["obrien_fleming", "pocock"]

# Beyond this many standard errors the density adds less than the quadrature's own error.
_FAR = 9.0
# Gauss-Legendre in panels of so many standard deviations of the narrowest step, 16 nodes each:
# narrower panels move a boundary by less than 1e-8.
_PANEL = 2.5
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_MOST_PANELS = 250


class InvalidLooks(RegularsError):
    """The looks of a group sequential test do not follow each other."""


class Stopped(msgspec.Struct, frozen=True):
    """What a stopped test says of the drift: p-value, median-unbiased estimate and interval."""

    p: float
    drift: float
    low: float
    high: float


def alpha_spent(fraction: float, alpha: float, spending: Spending) -> float:
    """Return the share of alpha one tail may have used up at this fraction of information.

    Source: Lan and DeMets 1983: 2 (1 - Phi(z(alpha / 2) / sqrt(t))) in the manner of O'Brien and
    Fleming, alpha ln(1 + (e - 1) t) in that of Pocock.
    """
    reached = min(fraction, 1.0)
    if spending == "obrien_fleming":
        return float(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / math.sqrt(reached)))
    return alpha * math.log1p((math.e - 1) * reached)


def boundaries(
    fractions: Sequence[float],
    alpha: float = 0.05,
    spending: Spending = "obrien_fleming",
    sides: int = 2,
    information: Sequence[float] | None = None,
) -> np.ndarray:
    """Return the z at which each look rejects, shape (n_looks,).

    Args:
        fractions: Information so far at each look over the planned total, rising, above 0. A last
            look at or past 1 spends what is left.
        alpha: The error of all looks together; two-sided tests spend half of it in each tail.
        spending: How alpha is shared out over information. A look that has (next to) nothing to
            spend gets an infinite boundary.
        sides: 1 rejects above the boundary, 2 also below its negative.
        information: At each look in any unit, where alpha is spent by something else, such as the
            planned days that have passed; by default the fractions.

    Raises:
        InvalidLooks: Fractions or information do not rise, or alpha or sides are out of range.

    Source: Lan and DeMets 1983; crossing probabilities by the recursion of Armitage, McPherson and
    Rowe 1969; alpha spent by calendar time, Lan and DeMets 1989.
    """
    _check(fractions, alpha, sides)
    amounts = fractions if information is None else list(information)
    _check(amounts, alpha, sides)
    if len(amounts) != len(fractions):
        raise InvalidLooks(
            f"{len(fractions)} looks have {len(amounts)} amounts of information; give one a look"
        )
    tail = alpha / sides
    path = _Path(0.0)
    found: list[float] = []
    before = 0.0
    for place, (fraction, amount) in enumerate(zip(fractions, amounts, strict=True)):
        spent = alpha_spent(fraction, tail, spending)
        bound = path.bound(amount, spent - before)
        before = spent
        found.append(bound)
        if place + 1 < len(fractions):
            lower = -bound if sides == 2 else -math.inf
            path.go_on(amount, lower, bound, amounts[place + 1])
    return np.asarray(found)


def crossing(
    fractions: Sequence[float],
    upper: Sequence[float],
    lower: Sequence[float] | None = None,
    drift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance that each look is the first to cross, above and below.

    Args:
        fractions: As for `boundaries`.
        upper, lower: Bounds on z, shape (n_looks,); without lower no look stops below.
        drift: Expected z at full information.

    Returns:
        Two arrays of shape (n_looks,).

    Raises:
        InvalidLooks: Fractions do not rise, or there is not one bound a look.

    Source: Armitage, McPherson and Rowe 1969, by Gauss-Legendre quadrature.
    """
    _check(fractions, 0.05, 1)
    lows = [-math.inf] * len(fractions) if lower is None else list(lower)
    if not len(fractions) == len(upper) == len(lows):
        raise InvalidLooks(
            f"{len(fractions)} looks have {len(upper)} upper and {len(lows)} lower bounds; "
            "give one bound a look"
        )
    path = _Path(drift)
    above, below = np.zeros(len(fractions)), np.zeros(len(fractions))
    for place, fraction in enumerate(fractions):
        above[place] = path.above(fraction, upper[place])
        below[place] = path.below(fraction, lows[place])
        if place + 1 < len(fractions):
            path.go_on(fraction, lows[place], upper[place], fractions[place + 1])
    return above, below


def detection(
    fractions: Sequence[float], bounds: Sequence[float], drift: float, sides: int = 2
) -> float:
    """Return the chance that any look rejects at this drift: the test's power.

    Raises:
        InvalidLooks: As for `crossing`.
    """
    lower = [-bound for bound in bounds] if sides == 2 else None
    above, below = crossing(fractions, bounds, lower, drift)
    return float(above.sum() + below.sum())


def stopped(
    fractions: Sequence[float],
    bounds: Sequence[float],
    z: float,
    sides: int = 2,
    confidence: float = 0.95,
) -> Stopped:
    """Return what a test says that stopped at its last look so far, corrected for the looks.

    An interval from the last look alone would be too far out: it stopped because it was high. Times
    the standard error at full information, the drift's figures are those of the effect.

    Args:
        fractions: Of the looks up to and including the last.
        bounds: The boundaries of these looks.
        z: At the last look; the earlier ones stayed inside their bounds.
        sides: Of the test; p is one- or two-sided alike.
        confidence: Of the interval, which always has two sides.

    Raises:
        InvalidLooks: As for `crossing`.

    Source: stagewise ordering, Tsiatis, Rosner and Mehta 1984; Jennison and Turnbull 2000, 8.4.
    """
    upper = [*bounds[:-1], z]
    lower = [-bound for bound in bounds[:-1]] + [z] if sides == 2 else None

    def at_least(drift: float) -> float:
        above, _ = crossing(fractions, upper, lower, drift)
        return float(above.sum())

    tail = (1 - confidence) / 2
    # At these drifts the chance is 0 or 1 for any z, so that every root lies between.
    last = math.sqrt(fractions[-1])
    first = math.sqrt(fractions[0])
    # A look that had nothing to spend has no boundary.
    furthest = max((bound for bound in bounds if math.isfinite(bound)), default=abs(z))
    low = (min(z, -furthest) - _FAR) / min(first, last)
    high = (max(z, furthest) + _FAR) / min(first, last)

    def drift_at(chance: float) -> float:
        return float(
            optimize.root_scalar(
                lambda drift: at_least(drift) - chance, bracket=(low, high), xtol=1e-8
            ).root
        )

    one_sided = at_least(0.0)
    p = min(1.0, 2 * min(one_sided, 1 - one_sided)) if sides == 2 else one_sided
    return Stopped(p=p, drift=drift_at(0.5), low=drift_at(tail), high=drift_at(1 - tail))


class _Path:
    """The density of the score z * sqrt(fraction) over all paths that have not stopped yet."""

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._fraction = 0.0
        self._nodes = np.zeros(1)
        self._mass = np.ones(1)

    def above(self, fraction: float, z: float) -> float:
        """Return the chance to be above z at the next look."""
        return self._beyond(fraction, z, 1.0)

    def below(self, fraction: float, z: float) -> float:
        return self._beyond(fraction, z, -1.0)

    def bound(self, fraction: float, chance: float) -> float:
        """Return the z that the next look is above with this chance."""
        if chance <= 0:
            return math.inf
        # Very early looks have next to nothing to spend: they cannot reject.
        if self.above(fraction, _FAR) >= chance:
            return math.inf
        found = optimize.root_scalar(
            lambda z: math.log(max(self.above(fraction, z), 1e-300)) - math.log(chance),
            bracket=(-_FAR, _FAR),
            xtol=1e-10,
        ).root
        return float(found)

    def go_on(self, fraction: float, lower: float, upper: float, following: float) -> None:
        """Keep what is between the bounds at this look as the start of the following one."""
        root = math.sqrt(fraction)
        centre = self._drift * fraction
        low = max(lower * root, centre - _FAR * root)
        high = min(upper * root, centre + _FAR * root)
        step = math.sqrt(fraction - self._fraction)
        narrowest = min(step, math.sqrt(following - fraction))
        if high <= low:
            self._nodes, self._mass = np.zeros(1), np.zeros(1)
        else:
            panels = min(max(math.ceil((high - low) / narrowest / _PANEL), 4), _MOST_PANELS)
            half = (high - low) / panels / 2
            middles = low + half * (2 * np.arange(panels) + 1)
            nodes = (middles[:, None] + half * _POINTS).ravel()
            weights = np.tile(_WEIGHTS * half, panels)
            away = (nodes[:, None] - self._nodes[None, :] - self._drift * step**2) / step
            density = np.exp(-0.5 * away**2) @ self._mass / (step * math.sqrt(2 * math.pi))
            self._nodes, self._mass = nodes, density * weights
        self._fraction = fraction

    def _beyond(self, fraction: float, z: float, side: float) -> float:
        step = math.sqrt(fraction - self._fraction)
        away = (z * math.sqrt(fraction) - self._nodes - self._drift * step**2) / step
        return float(special.ndtr(-side * away) @ self._mass)


def _check(fractions: Sequence[float], alpha: float, sides: int) -> None:
    if not len(fractions):
        raise InvalidLooks("a group sequential test has at least one look; give its fraction")
    if not 0 < alpha < 1:
        raise InvalidLooks(f"alpha {alpha} must lie between 0 and 1; write .05")
    if sides not in (1, 2):
        raise InvalidLooks(f"a test has 1 or 2 sides, got {sides}; choose one")
    before = 0.0
    for fraction in fractions:
        # `not >` also catches NaN.
        if not fraction > before or math.isinf(fraction):
            raise InvalidLooks(
                f"information fraction {fraction} comes after {before}; fractions start above 0 "
                "and rise, leave out a look that brought nothing new"
            )
        before = fraction

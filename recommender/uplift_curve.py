"""How well does a score order customers by what a treatment causes in them?

Qini, AUUC and uplift at k in the convention of scikit-uplift, tied scores grouped: the area between
the curve and a straight line (nobody targeted), as a share of the best order's area, which is told
by hindsight. 0 is as good as any order, below 0 worse. Rows that were given the treatment with
unequal probabilities count by weight.

Sources: Radcliffe 2007 (Qini); Jaskowski and Jaroszewicz 2012 (uplift curve); Devriendt et al.
2020 on the conventions; scikit-uplift 0.5, whose figures are reproduced.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foundation.errors import RegularsError, TooLittleData
from foundation.scores import Interval, percentiles

CONVENTION = "scikit-uplift, tied scores grouped"
Curve = Literal["qini", "uplift"]
ROUNDS = 200
# The share of rows for uplift at k.
TOP = 0.3


@dataclass(frozen=True)
class UpliftScores:
    """A score's Qini and AUUC, and the uplift among its highest."""

    qini: Interval
    auuc: Interval
    at: Interval
    top: float


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of neighbouring score: mean predicted and observed effect."""

    n: int
    predicted: float
    observed: Interval


class _Order:
    """Rows from the highest score to the lowest, sorted once for all bootstrap rounds."""

    def __init__(self, score: np.ndarray, outcome: np.ndarray, treated: np.ndarray) -> None:
        self._order = np.argsort(-score, kind="stable")
        ordered = score[self._order]
        self._ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
        self._treated = treated[self._order].astype(np.float64)
        self._outcome = outcome[self._order]

    def running(self, weight: np.ndarray) -> "_Running":
        """Return sums over all rows of at least each distinct score, from 0."""
        w = weight[self._order]
        got = w * self._treated
        parts = w, got, w * self._outcome, got * self._outcome
        n, n_t, y, y_t = (np.r_[0.0, np.cumsum(part)[self._ends]] for part in parts)
        return _Running(n, n_t, n - n_t, y_t, y - y_t)


@dataclass(frozen=True, slots=True)
class _Running:
    """Rows (n) and outcomes (y) of the treated (t) and the control (c), down a score."""

    n: np.ndarray
    n_t: np.ndarray
    n_c: np.ndarray
    y_t: np.ndarray
    y_c: np.ndarray

    def area(self, curve: Curve) -> float:
        """Return the area between the curve and the straight line to its end."""
        if curve == "qini":
            height = self.y_t - self.y_c * _ratio(self.n_t, self.n_c)
        else:
            height = (_ratio(self.y_t, self.n_t) - _ratio(self.y_c, self.n_c)) * self.n
        return float(np.trapezoid(height, self.n) - height[-1] * self.n[-1] / 2)

    def at(self, top: float) -> float:
        """Return the effect among the highest; NaN where they lack the treatment or control."""
        sums = (self.n_t, self.y_t, self.n_c, self.y_c)
        n_t, y_t, n_c, y_c = (np.interp(top * self.n[-1], self.n, part) for part in sums)
        return float(y_t / n_t - y_c / n_c) if n_t and n_c else float("nan")


class UpliftOrder:
    """A score on randomised rows, ready to be judged under any weights.

    Args:
        outcome: Binary or money, shape (n,).
        score: Higher is to be treated first, shape (n,).
        treated: Whether the row got the treatment (True) or the control, shape (n,).

    Raises:
        RegularsError: There is no row, or a score is missing.
    """

    def __init__(self, outcome: np.ndarray, score: np.ndarray, treated: np.ndarray) -> None:
        missing = int(np.isnan(score).sum())
        if missing or len(score) == 0:
            raise RegularsError(
                f"{missing} of {len(score)} scores are missing (NaN), so there is no order; look "
                "at the model that gave them"
            )
        self._order = _Order(score, outcome, treated)
        # Treated in the order of what they brought, controls in that of what they did not.
        best = _Order(np.where(treated, outcome, -outcome), outcome, treated)
        self._best: dict[Curve, _Order] = {"qini": best, "uplift": best}
        if np.isin(outcome, (0, 1)).all():
            # scikit-uplift's best order of the uplift curve, which knows binary outcomes only.
            idle = (outcome == 0) & treated
            tied = outcome if ((outcome == 1) & ~treated).sum() > idle.sum() else treated
            hindsight = 2.0 * (outcome == treated) + tied
            self._best["uplift"] = _Order(hindsight, outcome, treated)

    def figures(self, weight: np.ndarray, top: float) -> tuple[float, float, float]:
        """Return Qini, AUUC and the effect among the highest `top` of rows.

        Rows that tie at the border count in part. NaN where the best order has no area, or where
        none at the top was treated or none was not.
        """
        found = self._order.running(weight)
        best = {"qini": self._best["qini"].running(weight)}
        same = self._best["uplift"] is self._best["qini"]
        best["uplift"] = best["qini"] if same else self._best["uplift"].running(weight)
        areas = [
            found.area(curve) / most if (most := best[curve].area(curve)) > 0 else float("nan")
            for curve in ("qini", "uplift")
        ]
        return areas[0], areas[1], found.at(top)


def uplift_scores(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    unit: np.ndarray,
    seed: int,
    weight: np.ndarray | None = None,
    top: float = TOP,
    rounds: int = ROUNDS,
) -> UpliftScores:
    """Judge a score on rows it was not learned from; units are redrawn in the intervals.

    Args:
        outcome, score, treated: As for UpliftOrder.
        unit: Whose row it is, shape (n,).
        weight: Of each row, shape (n,), where propensities differ within a treatment.
        top: The share of rows for uplift at k.

    Raises:
        TooLittleData: The outcome never differs, so no order is better than another.
    """
    order = UpliftOrder(outcome, score, treated)
    base = np.ones(len(outcome)) if weight is None else weight
    plain = order.figures(base, top)
    if np.isnan(plain).any():
        raise TooLittleData(
            f"Qini of {len(outcome):,} rows is undefined: outcomes do not differ, or the highest "
            f"{top:.0%} lack the treatment or the control; wait for more rows"
        )
    draw = np.random.default_rng(seed)
    whose = np.unique(unit, return_inverse=True)[1]
    units = int(whose.max()) + 1
    drawn = np.empty((rounds, 3))
    for one in range(rounds):
        times = np.bincount(draw.integers(0, units, units), minlength=units)[whose]
        drawn[one] = order.figures(times * base, top)
    figures = [percentiles(value, drawn[:, place]) for place, value in enumerate(plain)]
    return UpliftScores(*figures, top=top)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)

"""How well do scores order what happened, and do probabilities match it?"""

from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError, TooLittleData

BINS = 10
# Standard normal deviations on either side that hold 95 %.
Z_95 = 1.959963984540054


# Log loss and recalibration know no certainty.
EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def percentiles(value: float, drawn: np.ndarray) -> Interval:
    """Return a figure with the middle 95 % of its bootstrap draws; undefined draws are left out."""
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))


def log_losses(outcome: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return each row's negative log-likelihood, in nats, shape (n,).

    Probabilities are kept off 0 and 1 by EDGE, so that one surely wrong row costs at most 13.8.
    """
    kept = np.clip(probability, EDGE, 1 - EDGE)
    return -(outcome * np.log(kept) + (1 - outcome) * np.log(1 - kept))


def log_loss(outcome: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean of `log_losses`."""
    return float(np.mean(log_losses(outcome, probability)))


def auc(outcome: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the chance that a responder scores above a non-responder, ties counting half.

    Args:
        outcome: 0 or 1, shape (n,).
        score: Any order-preserving score, shape (n,).
        weight: Non-negative weights, shape (n,); ones by default.

    Raises:
        TooLittleData: Only one of the two outcomes occurs.
        RegularsError: A score is missing.

    Source: Mann-Whitney; Hanley and McNeil 1982.
    """
    weights = np.ones(len(outcome)) if weight is None else weight
    ranking = Ranking(score)
    value = ranking.auc(outcome, weights)
    if np.isnan(value):
        raise TooLittleData(
            f"AUC of {len(outcome)} rows needs responders and non-responders; "
            f"{int(outcome.sum())} responded"
        )
    return value


class Ranking:
    """A score's order, sorted once for all bootstrap rounds; refuses a missing score."""

    def __init__(self, score: np.ndarray) -> None:
        if missing := int(np.isnan(score).sum()):
            raise RegularsError(
                f"{missing} of {len(score)} scores are missing (NaN), so they have no order; "
                "look at the model that gave them"
            )
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def auc(self, outcome: np.ndarray, weight: np.ndarray) -> float:
        """Return the area, NaN where the weighted rows lack one of the outcomes."""
        if len(self._order) == 0:
            return float("nan")
        up = (weight * outcome)[self._order]
        down = (weight * (1 - outcome))[self._order]
        up_tied = np.add.reduceat(up, self._starts)
        down_tied = np.add.reduceat(down, self._starts)
        below = np.cumsum(down_tied) - down_tied
        pairs = up.sum() * down.sum()
        return float((up_tied * (below + down_tied / 2)).sum() / pairs) if pairs else float("nan")

    def lift(self, outcome: np.ndarray, weight: np.ndarray, top: float) -> float:
        """Return the outcome's rate among the highest scores over its rate among all.

        Args:
            outcome: 0 or 1, shape (n,).
            weight: Non-negative weights, shape (n,).
            top: How far down to look, a share of all rows in (0, 1]; rows that tie at the border
                count in part.

        Returns:
            The lift, NaN where no weighted row has the outcome.
        """
        rows = np.add.reduceat(weight[self._order], self._starts)[::-1]
        up = np.add.reduceat((weight * outcome)[self._order], self._starts)[::-1]
        found = np.interp(top * rows.sum(), np.r_[0, np.cumsum(rows)], np.r_[0, np.cumsum(up)])
        return float(found / (top * up.sum())) if up.sum() else float("nan")


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of neighbouring probability: how many, predicted and observed rate."""

    n: int
    predicted: float
    observed: float


def equal_count_bins(outcome: np.ndarray, probability: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Return bins of (nearly) equal count from the lowest probability to the highest."""
    order = np.argsort(probability, kind="stable")
    return [
        Bin(len(part), float(probability[part].mean()), float(outcome[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: mean |observed - predicted| weighted by count.

    Raises:
        TooLittleData: The bins hold no rows.
    """
    total = sum(b.n for b in bins)
    if total == 0:
        raise TooLittleData("a calibration error needs at least one row; there is none")
    return sum(b.n * abs(b.observed - b.predicted) for b in bins) / total

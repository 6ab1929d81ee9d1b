"""How well do scores order and match what happened, and how sure are we?

Customers, not rows, are redrawn in every interval: one customer's exposures are no independent
evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError, TooLittleData

BINS = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Areas under the curve on the same rows, and the paired gains over one of them."""

    auc: dict[str, Interval]
    gain: dict[str, Interval]


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
    ranking = _Ranking(score)
    value = ranking.auc(outcome, weights)
    if np.isnan(value):
        raise TooLittleData(
            f"AUC of {len(outcome)} rows needs responders and non-responders; "
            f"{int(outcome.sum())} responded"
        )
    return value


class _Ranking:
    """A score's order, sorted once for all bootstrap rounds."""

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
        if len(self._order) == 0:
            return float("nan")
        up = (weight * outcome)[self._order]
        down = (weight * (1 - outcome))[self._order]
        up_tied = np.add.reduceat(up, self._starts)
        down_tied = np.add.reduceat(down, self._starts)
        below = np.cumsum(down_tied) - down_tied
        pairs = up.sum() * down.sum()
        return float((up_tied * (below + down_tied / 2)).sum() / pairs) if pairs else float("nan")


def compare_auc(
    outcome: np.ndarray,
    scores: Mapping[str, np.ndarray],
    customers: np.ndarray,
    baseline: str,
    seed: int,
    rounds: int = 1000,
) -> Comparison:
    """Compare scores on the same rows by a paired bootstrap over customers.

    Args:
        outcome: 0 or 1, shape (n,).
        scores: A score vector, shape (n,), by name.
        customers: Whose exposure each row is, shape (n,).
        baseline: The score that gains are measured against.
        rounds: Bootstrap rounds; percentile intervals.

    Raises:
        TooLittleData: Fewer than 10 customers on either side.
        RegularsError: A score is missing.
    """
    codes = np.unique(customers, return_inverse=True)[1]
    n_customers = int(codes.max()) + 1 if len(codes) else 0
    for wanted, word in ((1, "responded"), (0, "did not respond")):
        found = len(np.unique(codes[outcome == wanted]))
        if found < 10:
            raise TooLittleData(
                f"an interval needs 10 customers on either side; only {found} {word}"
            )
    draw = np.random.default_rng(seed)
    rankings = {name: _Ranking(score) for name, score in scores.items()}
    rows: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(rounds):
        weight = np.bincount(draw.integers(0, n_customers, n_customers), minlength=n_customers)
        for name, ranking in rankings.items():
            rows[name].append(ranking.auc(outcome, weight[codes].astype(float)))
    drawn = {name: np.array(values) for name, values in rows.items()}
    plain = {name: auc(outcome, score) for name, score in scores.items()}
    return Comparison(
        auc={name: _interval(plain[name], drawn[name]) for name in scores},
        gain={
            name: _interval(plain[name] - plain[baseline], drawn[name] - drawn[baseline])
            for name in scores
            if name != baseline
        },
    )


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))


def log_loss(outcome: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean negative log-likelihood, in nats; probabilities are kept off 0 and 1."""
    kept = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(outcome * np.log(kept) + (1 - outcome) * np.log(1 - kept)))


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

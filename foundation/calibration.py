"""Are told probabilities what then happens, and are they better than telling everybody the rate?

Expected calibration error compares ten groups of equal count; slope and intercept come from the
logistic regression of the outcome on the logit of the probability (1 and 0 are perfect; a slope
below 1 says that probabilities are too extreme); observed / expected compares the totals. The
Brier skill is one minus the Brier score over that of the rate known beforehand. All intervals are
percentiles of one bootstrap over customers, whose rows are no independent evidence. The bootstrap
of an error that cannot be negative lies a little high: read its upper bound.

Sources: Brier 1950; Cox 1958 (recalibration); Van Calster et al. 2016, 2019 (levels of
calibration); Naeini, Cooper and Hauskrecht 2015 (expected calibration error).
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit, logit

from foundation.errors import RegularsError, TooLittleData
from foundation.scores import (
    BINS,
    EDGE,
    Z_95,
    Bin,
    Interval,
    Ranking,
    auc,
    calibration_error,
    equal_count_bins,
    percentiles,
)

ROUNDS = 500
FEWEST_CUSTOMERS = 10
# Newton's steps to the recalibration line, and when it is reached; six or so do from the identity.
_STEPS, _NEAR = 30, 1e-9


@dataclass(frozen=True)
class RecalibrationLine:
    """What happened to those told a probability, as a line in logits.

    `covariance` is the bootstrap's of (intercept, slope), shape (2, 2).
    """

    intercept: float
    slope: float
    covariance: np.ndarray

    def interval(self, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return 95 % bounds of the rate among customers told these probabilities, shapes (n,).

        A model's own held-out error is part of the bounds: a miscalibrated one may lie outside.
        """
        x = _logit(probability)
        design = np.column_stack([np.ones_like(x), x])
        middle = design @ [self.intercept, self.slope]
        spread = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        return expit(middle - Z_95 * spread), expit(middle + Z_95 * spread)


@dataclass(frozen=True)
class Calibration:
    """How probabilities did on rows they were not fitted to, each figure with its interval."""

    n: int
    customers: int
    ece: Interval
    slope: Interval
    intercept: Interval
    observed_expected: Interval
    brier: Interval
    brier_skill: Interval
    auc: Interval
    baseline_auc: Interval
    auc_gain: Interval
    bins: list[Bin]
    line: RecalibrationLine

    def figures(self) -> dict[str, float]:
        """Return every figure by name, and its bounds as name_low and name_high."""
        found: dict[str, float] = {"n": self.n, "customers": self.customers}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Interval):
                name = field.name
                found |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        return found


def calibration(
    outcome: np.ndarray,
    probability: np.ndarray,
    rate: np.ndarray,
    baseline: np.ndarray,
    customers: np.ndarray,
    seed: int,
    rounds: int = ROUNDS,
) -> Calibration:
    """Judge probabilities on rows that none of their models has seen.

    Args:
        outcome: 0 or 1, shape (n,).
        probability: Told beforehand, shape (n,).
        rate: Share of outcomes known beforehand, shape (n,): what skill is measured against.
        baseline: A plain score to rank by, shape (n,).
        customers: Whose row each is, shape (n,).
        rounds: Bootstrap rounds; percentile intervals.

    Raises:
        TooLittleData: Fewer than 10 customers with either outcome.
        RegularsError: A probability is missing or outside 0 to 1.
    """
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise RegularsError(
            "a probability is missing or not between 0 and 1; look at the model that gave it"
        )
    codes = np.unique(customers, return_inverse=True)[1]
    for wanted, word in ((1, "with"), (0, "without")):
        found = len(np.unique(codes[outcome == wanted]))
        if found < FEWEST_CUSTOMERS:
            raise TooLittleData(
                f"calibration of {len(outcome):,} rows needs {FEWEST_CUSTOMERS} customers with and "
                f"without the outcome; {found} are {word} it; load more customers"
            )
    ranks, plain = Ranking(probability), Ranking(baseline)
    x = _logit(probability)
    order = np.argsort(probability, kind="stable")
    starts = np.cumsum([0, *(len(part) for part in np.array_split(order, BINS))])[:-1]
    residual = (outcome - probability)[order]
    squared, base = (outcome - probability) ** 2, (outcome - rate) ** 2

    def figures(weight: np.ndarray) -> list[float]:
        total = weight.sum()
        a, b = recalibrate(outcome, x, weight)
        area, theirs = ranks.auc(outcome, weight), plain.auc(outcome, weight)
        # np.add.reduceat would repeat a row for an empty group: there are fewer rows than groups
        # only where the customers are too few already.
        gaps = np.add.reduceat(weight[order] * residual, starts)
        score = float(weight @ squared)
        return [
            float(np.abs(gaps).sum() / total),
            b,
            a,
            float(weight @ outcome / (weight @ probability)),
            float(score / total),
            1 - score / float(weight @ base),
            area,
            theirs,
            area - theirs,
        ]

    draw = np.random.default_rng(seed)
    size = int(codes.max()) + 1
    drawn = np.array(
        [
            figures(np.bincount(draw.integers(0, size, size), minlength=size)[codes].astype(float))
            for _ in range(rounds)
        ]
    )
    values = figures(np.ones(len(outcome)))
    bins = equal_count_bins(outcome, probability)
    values[0] = calibration_error(bins)
    values[6], values[7] = auc(outcome, probability), auc(outcome, baseline)
    each = [percentiles(v, drawn[:, i]) for i, v in enumerate(values)]
    line = RecalibrationLine(values[2], values[1], np.cov(drawn[:, [2, 1]].T))
    return Calibration(len(outcome), size, *each, bins=bins, line=line)


def recalibrate(
    outcome: np.ndarray, x: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, float]:
    """Return intercept and slope of the logistic regression of an outcome on logits.

    Args:
        outcome: 0 or 1, shape (n,).
        x: Logits of the probabilities, shape (n,).
        weight: Non-negative, shape (n,); ones by default.

    Raises:
        TooLittleData: The outcomes are separated, or the logits all equal: there is no slope.

    Source: Cox 1958; maximum likelihood by Newton's method.
    """
    weights = np.ones(len(x)) if weight is None else weight
    design = np.column_stack([np.ones_like(x), x])
    found = np.array([0.0, 1.0])
    for _ in range(_STEPS):
        p = expit(design @ found)
        gradient = design.T @ (weights * (outcome - p))
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design
        if np.linalg.cond(curvature) > 1e12:
            break
        step = np.linalg.solve(curvature, gradient)
        # A whole step overshoots where probabilities are far off, and would find no maximum.
        found = found + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _NEAR:
            return float(found[0]), float(found[1])
    raise TooLittleData(
        f"calibration slope of {len(x):,} rows has no maximum: the probabilities are all alike or "
        "separate the outcomes; load more customers"
    )


def _logit(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability, EDGE, 1 - EDGE))

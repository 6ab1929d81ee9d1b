"""How well do scores order and match what happened, and how sure are we?

Customers, not rows, are redrawn in every interval: one customer's exposures are no independent
evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foundation.errors import TooLittleData
from foundation.scores import Interval, Ranking, auc, percentiles


@dataclass(frozen=True)
class Comparison:
    """Areas under the curve on the same rows, and the paired gains over one of them."""

    auc: dict[str, Interval]
    gain: dict[str, Interval]


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
    rankings = {name: Ranking(score) for name, score in scores.items()}
    rows: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(rounds):
        weight = np.bincount(draw.integers(0, n_customers, n_customers), minlength=n_customers)
        for name, ranking in rankings.items():
            rows[name].append(ranking.auc(outcome, weight[codes].astype(float)))
    drawn = {name: np.array(values) for name, values in rows.items()}
    plain = {name: auc(outcome, score) for name, score in scores.items()}
    return Comparison(
        auc={name: percentiles(plain[name], drawn[name]) for name in scores},
        gain={
            name: percentiles(plain[name] - plain[baseline], drawn[name] - drawn[baseline])
            for name in scores
            if name != baseline
        },
    )

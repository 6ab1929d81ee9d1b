"""Is a log evidence enough for a policy that did not write it? If not, why not.

Everything here is known before the value is: successes, weights and their spread.
"""

from dataclasses import dataclass

import numpy as np

# Below so many effective successes intervals were seen to hold in .77 to .89 of logs.
FEWEST_SUCCESSES = 30.0
# The same, were rewards as frequent and as large under heavy weights as under light ones: a log
# whose heaviest rows have not earned yet looks surer than it is.
FEWEST_EXPECTED = 15.0
# Weights average 1, within so many standard errors.
ERRORS = 3.0


@dataclass(frozen=True)
class Weighted:
    """Rewards of a log under another policy's weights.

    `customer` are codes 0, 1, ... and all arrays have shape (n,). `decisions` counts what the value
    is per: the rows themselves, or fewer where a decision has several.
    """

    weight: np.ndarray
    reward: np.ndarray
    customer: np.ndarray
    decisions: float

    def by_customer(self, terms: np.ndarray) -> np.ndarray:
        """Return each customer's sum: her decisions are no independent evidence."""
        return np.bincount(self.customer, weights=terms)

    def effective_successes(self) -> float:
        """Return (sum w y)^2 / sum (w y)^2 over customers' sums of w y."""
        return effective_size(self.by_customer(self.weight * self.reward))

    def tail(self) -> "Tail":
        """Return the tail of what customers earned."""
        earned = self.by_customer(np.abs(self.reward))
        return _tail(earned[earned > 0])


@dataclass(frozen=True)
class Tail:
    """What a heavy tail may still bring, were it lognormal above the median.

    `heavier` is its mean square over the one that was seen, `jump` the size that one success in
    twenty exceeds, successes met in proportion to their size.
    """

    heavier: float
    jump: float


def _tail(earned: np.ndarray) -> Tail:
    if len(earned) == 0:
        return Tail(1.0, 0.0)
    middle = float(np.median(earned))
    above = np.maximum(np.log(earned / middle), 0.0)
    # Twice the upper half: what is below the median makes no large jump.
    spread = 2 * float(above @ above) / len(earned)
    seen = len(earned) / effective_size(earned)
    jump = middle * float(np.exp(spread + 1.645 * np.sqrt(spread)))
    return Tail(float(np.exp(spread)) / seen, jump)


def effective_size(terms: np.ndarray) -> float:
    """Return (sum t)^2 / sum t^2, how many equal terms would be as sure; 0 without any.

    Source: Kish 1965.
    """
    squares = float(terms @ terms)
    return float(terms.sum()) ** 2 / squares if squares > 0 else 0.0


def too_little(log: Weighted) -> str | None:
    """Return why the log cannot carry a value, None where it can."""
    found = log.effective_successes()
    if found < FEWEST_SUCCESSES:
        return (
            f"{found:.1f} effective successes, {FEWEST_SUCCESSES:.0f} are needed; collect more "
            "decisions, or evaluate a policy closer to the one that drew them"
        )
    expected = _expected_successes(log)
    if expected < FEWEST_EXPECTED:
        return (
            f"the rows of the heaviest weights (up to {log.weight.max():.3g}) have hardly earned "
            f"yet, so {expected:.1f} effective successes are expected where {found:.1f} are seen "
            f"({FEWEST_EXPECTED:.0f} are needed); collect more decisions, or evaluate a policy "
            "closer to the one that drew them"
        )
    tailed = found / max(1.0, log.tail().heavier)
    if tailed < FEWEST_SUCCESSES:
        return (
            f"rewards are so unequal that the largest are yet to come: {tailed:.1f} effective "
            f"successes where {found:.1f} are seen, {FEWEST_SUCCESSES:.0f} are needed; collect "
            "more decisions, or cap the reward"
        )
    return None


def off_balance(log: Weighted) -> str | None:
    """Return why the weights are none of this log: they should average 1 and do not.

    The target chooses what the log never shows, or one of the two wrote wrong probabilities.
    """
    mean = float(log.weight.sum()) / log.decisions
    spread = log.by_customer(log.weight - mean)
    error = float(np.sqrt(spread @ spread)) / log.decisions
    if abs(mean - 1) <= ERRORS * error + 1e-6:
        return None
    return (
        f"weights average {mean:.4g} +- {error:.2g} instead of 1: the target chooses what was "
        "never shown, or propensities are wrong; check them, or evaluate a policy that the log's "
        "own can show"
    )


def _expected_successes(log: Weighted) -> float:
    squares = float(log.reward @ log.reward) * float(log.weight @ log.weight) / len(log.weight)
    total = float(log.weight @ log.reward)
    return total**2 / squares if squares > 0 else 0.0

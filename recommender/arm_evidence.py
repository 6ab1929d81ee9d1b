"""Which treatments have outcomes enough among these rows to say what giving them earns?

An arm of few successes tells its mean, and how far that may be off, from those few: intervals of
such means do not hold. Successes are rows that differ from the usual outcome of their treatment,
so that rare failures count like rare purchases, and ordinary money like itself. The rule is that of
`evidence`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from recommender.evidence import FEWEST_SUCCESSES, Weighted
from recommender.trial import Trial, cluster_error

# Of weights that do not average 1, over all treatments together.
SURE = 0.001


@dataclass(frozen=True)
class ArmEvidence:
    """What rows can judge.

    Attributes:
        refused: Why a treatment cannot be judged, by code.
        successes: Effective successes of each treatment, control first, shape (k + 1,).
    """

    refused: dict[int, str]
    successes: np.ndarray

    def fault(self, rule: np.ndarray) -> str | None:
        """Return why a rule of treatment cannot be judged, None where it can."""
        reasons = [self.refused[code] for code in np.unique(rule).tolist() if code in self.refused]
        return reasons[0] if reasons else None

    def surplus(self, rule: np.ndarray) -> float:
        """Return how many times as many successes its scarcest treatment has as are needed."""
        return float(self.successes[np.unique(rule)].min()) / FEWEST_SUCCESSES


def arm_evidence(rows: Trial, told_by: float = np.inf) -> ArmEvidence:
    """Look at each treatment's outcomes and weights.

    Args:
        told_by: How many other units the propensities may be the shares of.
    """
    refused: dict[int, str] = {}
    successes = np.zeros(rows.k + 1)
    for code, name in enumerate(rows.called):
        got = rows.treatment == code
        if not got.any():
            refused[code] = f"treatment {name} was given in none of {len(got):,} rows judged"
            continue
        successes[code], tailed = _successes(rows, got)
        reason = _off_balance(rows, got, told_by) or _too_few(successes[code], tailed)
        if reason is not None:
            refused[code] = f"treatment {name} {reason}"
    return ArmEvidence(refused, successes)


def _successes(rows: Trial, got: np.ndarray) -> tuple[float, float]:
    """Return effective successes, and as many as a heavy tail leaves of them."""
    outcome = rows.outcome[got]
    unusual = np.abs(outcome - np.median(outcome))
    whose = np.unique(rows.unit[got], return_inverse=True)[1]
    log = Weighted(1 / rows.propensity[got], unusual, whose, len(got))
    found = log.effective_successes()
    return found, found / max(1.0, log.tail().heavier)


def _too_few(successes: float, tailed: float) -> str | None:
    if successes < FEWEST_SUCCESSES:
        return (
            f"has {successes:.1f} effective successes (outcomes unlike its usual one), "
            f"{FEWEST_SUCCESSES:.0f} are needed; wait for more rows"
        )
    if tailed < FEWEST_SUCCESSES:
        return (
            "has outcomes so unequal that the largest are yet to come: they count as "
            f"{tailed:.1f} effective successes, {FEWEST_SUCCESSES:.0f} are needed; wait for more "
            "rows, or cap the outcome"
        )
    return None


def _off_balance(rows: Trial, got: np.ndarray, told_by: float) -> str | None:
    weight = got / rows.propensity
    mean = float(weight.mean())
    heaviest = float(weight.max())
    error = np.hypot(
        cluster_error(weight - mean, rows.unit), np.sqrt(max(heaviest - 1, 0.0) / told_by)
    )
    allowed = stats.norm.isf(SURE / 2 / (rows.k + 1)) * error
    if abs(mean - 1) <= allowed + 1e-6:
        return None
    return (
        f"was given {mean:.3g} times as often as its probabilities say; check them, or give the "
        "logged ones of these rows"
    )

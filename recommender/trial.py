"""Rows whose treatment was drawn by chance, with the probability it was drawn with.

Such rows, and only such, say what an offer causes: who got it differs by chance alone from who got
another or none. Treatment 0 is the control ("no offer").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError, TooLittleData

# An arm is split into folds, and those again: below this, models of it know nothing.
FEWEST_UNITS = 50
# Where chances differ from row to row, weights beyond 1 / FLOOR would let single rows decide.
FLOOR = 0.01
ROUNDING = 1e-9
Z_95 = 1.959963984540054


class InvalidTrial(RegularsError):
    """Rows no effect can be read from."""


@dataclass(frozen=True)
class Trial:
    """Randomised rows, one a decision.

    Attributes:
        features: Known before the treatment, NaN where missing, shape (n, p).
        treatment: Codes 0 (control) to k, shape (n,).
        outcome: Binary or money, shape (n,).
        propensity: Probability of the treatment taken, shape (n,).
        unit: Whose row it is, codes from 0 without gaps, shape (n,).
        called: Treatments in words, by code.
    """

    features: np.ndarray
    treatment: np.ndarray
    outcome: np.ndarray
    propensity: np.ndarray
    unit: np.ndarray
    called: tuple[str, ...]

    @property
    def k(self) -> int:
        """Return how many treatments there are beside the control."""
        return len(self.called) - 1

    def take(self, chosen: np.ndarray) -> "Trial":
        """Return the rows where `chosen` (booleans or places) holds."""
        return Trial(
            self.features[chosen],
            self.treatment[chosen],
            self.outcome[chosen],
            self.propensity[chosen],
            np.unique(self.unit[chosen], return_inverse=True)[1],
            self.called,
        )


def trial(
    features: np.ndarray,
    treatment: np.ndarray,
    outcome: np.ndarray,
    propensity: np.ndarray | None = None,
    unit: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    *,
    learn: bool = True,
) -> Trial:
    """Check randomised rows and put them together.

    Args:
        features: Shape (n, p), NaN where missing.
        treatment: Codes from 0 (control), shape (n,).
        outcome: Binary or money, shape (n,).
        propensity: Of the treatment taken, shape (n,), or of each, shape (n, k + 1); the shares of
            treatments by default.
        unit: Whose row it is, shape (n,); each row its own by default.
        names: Of treatments in the order of codes, for messages.
        learn: Whether models are to be learned from these rows; what they can judge is another
            question (see arm_evidence).

    Raises:
        InvalidTrial: A value is missing or out of range.
        TooLittleData: Rows to learn from have fewer than FEWEST_UNITS units in a treatment, or one
            outcome for all; or logged propensities that differ fall below FLOOR.
    """
    codes = np.asarray(treatment, dtype=np.int64)
    value = np.asarray(outcome, dtype=np.float64)
    n = len(value)
    if len(codes) != n or len(features) != n:
        raise InvalidTrial(
            f"{len(features)} rows of features, {len(codes)} treatments and {n} outcomes do not "
            "belong together; give one of each a row"
        )
    if missing := int((~np.isfinite(value)).sum()):
        raise InvalidTrial(
            f"outcome is missing or infinite in {missing} of {n} rows; write 0 where nothing "
            "happened, and leave out rows whose outcome is not known yet"
        )
    k = len(names) - 1 if names is not None else int(codes.max(initial=0))
    if n == 0 or k < 1 or codes.min() < 0 or codes.max() > k:
        raise InvalidTrial(f"treatment codes must be 0 (control) to {max(k, 1)}, both among rows")
    whose = np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1]
    called = tuple(f"code {code}" if names is None else repr(names[code]) for code in range(k + 1))
    if learn:
        _enough(codes, value, whose, called)
    chance = _taken(codes, propensity, k)
    _bearable(codes, chance)
    return Trial(np.asarray(features, dtype=np.float64), codes, value, chance, whose, called)


def _enough(
    codes: np.ndarray, value: np.ndarray, whose: np.ndarray, called: tuple[str, ...]
) -> None:
    for code, name in enumerate(called):
        units = len(np.unique(whose[codes == code]))
        if units < FEWEST_UNITS:
            raise TooLittleData(
                f"treatment {name} was given to {units} units, at least {FEWEST_UNITS} are "
                "needed to learn what it causes; leave its rows out or wait for more"
            )
    if value.min() == value.max():
        raise TooLittleData(
            f"the outcome is {value[0]:g} in all {len(value)} rows, so no treatment can be told "
            "from another by it; wait for more"
        )


def _taken(codes: np.ndarray, propensity: np.ndarray | None, k: int) -> np.ndarray:
    if propensity is None:
        return (np.bincount(codes, minlength=k + 1) / len(codes))[codes]
    given = np.asarray(propensity, dtype=np.float64)
    if given.ndim == 2:
        if given.shape != (len(codes), k + 1):
            raise InvalidTrial(
                f"propensities have shape {given.shape}; give ({len(codes)}, {k + 1}), the "
                "control first"
            )
        given = given[np.arange(len(codes)), codes]
    if len(given) != len(codes) or bool((~((given > 0) & (given <= 1))).any()):
        wrong = int((~((given > 0) & (given <= 1))).sum())
        raise InvalidTrial(
            f"propensity is missing or outside (0, 1] in {wrong} of {len(given)} rows; give each "
            "row the probability of the treatment it got, as logged"
        )
    return given


def _bearable(codes: np.ndarray, chance: np.ndarray) -> None:
    """Refuse chances that differ and are tiny; one for all is a share, however small."""
    uneven = [code for code in np.unique(codes) if np.ptp(chance[codes == code]) > ROUNDING]
    # Written so that rounding alone refuses nothing.
    rare = int((np.isin(codes, uneven) & (chance < FLOOR * (1 - ROUNDING))).sum())
    if rare:
        raise TooLittleData(
            f"propensity is below {FLOOR:g} in {rare:,} of {len(codes):,} rows, and so few of "
            "their kind would speak for all others; leave out the customers who could get some "
            "treatment only so rarely, and say so, or draw with higher chances"
        )


def folds(rows: Trial, count: int, seed: int) -> np.ndarray:
    """Return each row's fold, 0 to count - 1, shape (n,): a unit's rows are never parted.

    Units are dealt out by their first treatment, so that small arms are in every fold.
    """
    _, first = np.unique(rows.unit, return_index=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(rows.treatment[first][shuffled], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[dealt] = np.arange(len(first)) % count
    return fold[rows.unit]


def cluster_error(influence: np.ndarray, unit: np.ndarray) -> float:
    """Return the standard error of a mean from each row's influence on it, by unit.

    Args:
        influence: Deviations that sum to zero, shape (n,).
        unit: Codes from 0 without gaps, shape (n,).

    Source: cluster-robust variance, Liang and Zeger 1986; with n / (n - 1) of units.
    """
    sums = np.bincount(unit, influence)
    units = len(sums)
    return float(np.sqrt((sums**2).sum() * units / max(units - 1, 1)) / len(influence))

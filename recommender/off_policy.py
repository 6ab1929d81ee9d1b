"""Off-policy evaluation: what would another policy have earned on decisions that were logged?

Rewards are weighted by how much likelier the target policy was to choose what was shown. A log that
cannot carry the answer is refused with its reason.
"""

from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.evidence import (
    FEWEST_SUCCESSES,
    Weighted,
    effective_size,
    off_balance,
    too_little,
)
from recommender.skewed_interval import skewed_interval

ROUNDING = 1e-12
ADAPTIVE = (
    "the policy that drew learned from these very decisions, and intervals do not hold on such "
    "logs; evaluate on decisions of a policy that stood still"
)


@dataclass(frozen=True)
class Logged:
    """Decisions as they were drawn; all arrays have shape (n,).

    `propensity` is the probability that the logging policy chose what was shown, `target` the
    target policy's for the same. Rows that are not `valid` (the answer was not the policy's own
    draw) are left out and counted. `adaptive` says that the logging policy was updated from the
    rewards of these rows.
    """

    customer: np.ndarray
    propensity: np.ndarray
    target: np.ndarray
    reward: np.ndarray
    valid: np.ndarray | None = None
    adaptive: bool = False


@dataclass(frozen=True)
class Direct:
    """A reward model's forecasts, made without the row's own customer (cross-fitted); shape (n,).

    `shown` is for what was shown, `target` the mean over what the target policy would choose.
    """

    shown: np.ndarray
    target: np.ndarray

    def times(self, rows: int) -> "Direct":
        """Return the same for rewards that count so many times."""
        return Direct(self.shown * rows, self.target * rows)


@dataclass(frozen=True)
class OffPolicyValue:
    """Value per decision in the reward's unit, or why there is none.

    With a `refusal` there are no values. `clipped` is the share of weights above `clip`, which
    were lowered to it; that bias is in no interval.
    """

    ips: Interval | None
    snips: Interval | None
    doubly_robust: Interval | None
    refusal: str | None
    effective_successes: float
    effective_rows: float
    largest_weight: float
    rows: int
    customers: int
    left_out: int
    clip: float | None
    clipped: float


def ips(weight: np.ndarray, reward: np.ndarray) -> float:
    """Return the inverse-propensity value, mean of w y (Horvitz and Thompson 1952)."""
    return float(weight @ reward) / len(weight)


def snips(weight: np.ndarray, reward: np.ndarray) -> float:
    """Return the self-normalised value, sum w y / sum w (Swaminathan and Joachims 2015)."""
    return float(weight @ reward) / float(weight.sum())


def off_policy_value(
    logged: Logged, *, clip: float | None = None, direct: Direct | None = None
) -> OffPolicyValue:
    """Evaluate a target policy on a log; intervals are of independent customers.

    Args:
        clip: Largest weight; weights above are lowered to it. None clips nothing.
        direct: Forecasts for the doubly robust value; without them it is None.

    Raises:
        RegularsError: A probability, a reward, a forecast or the clip is none, or shapes differ.

    Source: Dudik, Langford and Li 2011 (doubly robust); see `skewed_interval` and `evidence`.
    """
    if clip is not None and not clip > 0:
        raise RegularsError(f"clip {clip} must be above 0; leave it out to clip nothing")
    kept = usable(logged, direct)
    unclipped = logged.target[kept] / logged.propensity[kept]
    codes = np.unique(logged.customer[kept], return_inverse=True)[1]
    reward = logged.reward[kept].astype(np.float64)
    plain = Weighted(unclipped, reward, codes, len(reward))
    weight = unclipped if clip is None else np.minimum(unclipped, clip)
    log = Weighted(weight, reward, codes, len(reward))
    refusal = ADAPTIVE if logged.adaptive else too_little(log) or off_balance(plain)
    values = (None, None, None)
    if refusal is None:
        forecast = None
        if direct is not None:
            forecast = Direct(direct.shown[kept], direct.target[kept])
        values = (_ips(log), _snips(log), forecast and _doubly_robust(log, forecast))
    return OffPolicyValue(
        *values,
        refusal=refusal,
        effective_successes=log.effective_successes(),
        effective_rows=effective_size(weight),
        largest_weight=float(unclipped.max(initial=0.0)),
        rows=len(reward),
        customers=int(codes.max(initial=-1)) + 1,
        left_out=int((~kept).sum()),
        clip=clip,
        clipped=0.0 if clip is None or len(weight) == 0 else float((unclipped > clip).mean()),
    )


def usable(logged: Logged, direct: Direct | None = None) -> np.ndarray:
    """Return which rows are evaluated, booleans of shape (n,).

    Raises:
        RegularsError: A probability, a reward or a forecast is none, or shapes differ.
    """
    n = len(logged.reward)
    kept = np.ones(n, dtype=bool) if logged.valid is None else logged.valid.astype(bool)
    told: dict[str, np.ndarray] = {}
    if direct is not None:
        told = {"forecast shown": direct.shown, "forecast target": direct.target}
    for name, values in (
        ("customer", logged.customer),
        ("propensity", logged.propensity),
        ("target", logged.target),
        ("valid", kept),
        *told.items(),
    ):
        if values.shape != (n,):
            raise RegularsError(f"{name} has shape {values.shape}, rewards have ({n},); align them")
    # Written so that NaN is wrong too.
    chance, target = logged.propensity, logged.target
    for name, values, wrong, rule in (
        ("propensity", chance, ~((chance > 0) & (chance <= 1)), "above 0, at most 1"),
        ("target", target, ~((target >= 0) & (target <= 1)), "0 to 1"),
        ("reward", logged.reward, ~np.isfinite(logged.reward), "a number"),
        *((name, one, ~np.isfinite(one), "a number") for name, one in told.items()),
    ):
        rows = np.flatnonzero(wrong & kept)
        if len(rows):
            raise RegularsError(
                f"{name} {values[rows[0]]} in row {rows[0]} (of {len(rows)} such) must be {rule}; "
                "correct it or mark the row as not valid"
            )
    return kept


def _ips(log: Weighted) -> Interval:
    value = float(log.weight @ log.reward) / log.decisions
    errors = log.weight * log.reward - value
    return _interval(log, value, log.reward, errors, log.decisions)


def _snips(log: Weighted) -> Interval:
    value = snips(log.weight, log.reward)
    apart = log.reward - value
    # Rewards that are all alike differ from their mean by rounding only.
    apart[np.abs(apart) < ROUNDING * abs(value)] = 0.0
    return _interval(log, value, apart, log.weight * apart, float(log.weight.sum()))


def _doubly_robust(log: Weighted, direct: Direct) -> Interval:
    apart = log.reward - direct.shown
    terms = direct.target + log.weight * apart
    value = float(terms.mean())
    return _interval(log, value, apart, terms - value, log.decisions)


def _interval(
    log: Weighted, value: float, apart: np.ndarray, errors: np.ndarray, scale: float
) -> Interval:
    """Give an estimate its interval.

    Args:
        apart: What a weight multiplies, shape (n,): rewards, or what is left of them.
        errors: What each row adds to the error, times `scale`.
    """
    influence = log.by_customer(errors) / scale
    tail = log.tail()
    rise = np.maximum(influence, 0.0)
    up, down = unseen_jumps(log, apart, float(log.weight.max()) / scale, abs(value))
    return skewed_interval(
        value,
        influence,
        up=max(
            up,
            float(log.weight.max()) / scale * tail.jump,
            float(np.sqrt(max(tail.heavier - 1, 0.0) * (rise @ rise))),
        ),
        down=down,
        surplus=log.effective_successes() / FEWEST_SUCCESSES,
    )


def unseen_jumps(
    log: Weighted, apart: np.ndarray, heaviest: float, otherwise: float
) -> tuple[float, float]:
    """Return how far one customer more, of the heaviest weight, could move an estimate: up, down.

    Args:
        apart: What a weight multiplies, shape (n,).
        heaviest: The weight, in parts of what the estimate is divided by.
        otherwise: The size of a jump where none was met.
    """
    reach = heaviest * _burst(log, log.weight * apart)
    return reach * _typical(apart, otherwise), reach * _typical(-apart, otherwise)


def _typical(apart: np.ndarray, otherwise: float) -> float:
    """Return the usual size of a jump, met in proportion to its size."""
    above = np.maximum(apart, 0.0)
    total = float(above.sum())
    return float(above @ above) / total if total > 0 else otherwise


def _burst(log: Weighted, terms: np.ndarray) -> float:
    """Return how many times as uneven customers are as their rows, at least 1."""
    rows, sums = float(terms @ terms), log.by_customer(terms)
    return max(1.0, float(sums @ sums) / rows) if rows > 0 else 1.0

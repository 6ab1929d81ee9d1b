"""What is a rule of treatment worth in money, on rows it was not learned from?

Money is margin x outcome, less the cost of a treatment given. Values are means of doubly robust
scores (augmented inverse propensity): unbiased where propensities are right. Rules are compared on
the same rows, so that what they agree on cancels.

Sources: Robins, Rotnitzky and Zhao 1994; Dudík, Langford and Li 2011 (arXiv 1103.4601).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.trial import Z_95, cluster_error

Rule = Literal["policy", "best_single", "none"]


@dataclass(frozen=True, slots=True)
class Price:
    """What an outcome of 1 earns, and what one treatment costs whatever comes of it.

    Raises:
        RegularsError: The margin is not positive, or either is no number.
    """

    margin: float = 1.0
    cost: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.margin < np.inf and -np.inf < self.cost < np.inf):
            raise RegularsError(
                f"margin {self.margin:g} with cost {self.cost:g}: the margin must be above 0, the "
                "cost a number; turn an outcome round of which less is better"
            )

    def money(self, outcomes: np.ndarray) -> np.ndarray:
        """Return the money of outcomes under each treatment, control first, shape (n, k + 1)."""
        earned = self.margin * outcomes
        earned[:, 1:] -= self.cost
        return earned

    def gains(self, effects: np.ndarray) -> np.ndarray:
        """Return the money of effects against the control, shape (n, k)."""
        return self.margin * effects - self.cost


@dataclass(frozen=True)
class Values:
    """Money a row under each rule, and paired differences."""

    policy: Interval
    best_single: Interval
    none: Interval
    policy_over_best: Interval
    policy_over_none: Interval
    best_over_none: Interval


@dataclass(frozen=True)
class Choice:
    """The rule to use, and why in words."""

    chosen: Rule
    because: str


def treat_by(gains: np.ndarray) -> np.ndarray:
    """Return for each row the treatment that gains most, 0 where none gains, shape (n,)."""
    best = gains.argmax(axis=1)
    return np.where(gains[np.arange(len(gains)), best] > 0, best + 1, 0)


def mean_value(money: np.ndarray, rule: np.ndarray, unit: np.ndarray) -> Interval:
    """Return what a rule earns a row, with its 95 % interval by unit.

    Args:
        money: Doubly robust scores of each treatment's money, shape (n, k + 1).
        rule: The treatment of each row, learned on other rows, shape (n,).
        unit: Codes from 0, shape (n,).
    """
    return _mean(_earned(money, rule), unit)


def compare(
    money: np.ndarray, policy: np.ndarray, best_single: np.ndarray, unit: np.ndarray
) -> Values:
    """Value the policy, the best single treatment for everyone, and none, on the same rows.

    Args:
        money: Doubly robust scores of each treatment's money, shape (n, k + 1).
        policy, best_single: The treatment of each row, learned on other rows, shape (n,).
        unit: Codes from 0, shape (n,).
    """
    targeted, single = _earned(money, policy), _earned(money, best_single)
    return Values(
        policy=_mean(targeted, unit),
        best_single=_mean(single, unit),
        none=_mean(money[:, 0], unit),
        policy_over_best=_mean(targeted - single, unit),
        policy_over_none=_mean(targeted - money[:, 0], unit),
        best_over_none=_mean(single - money[:, 0], unit),
    )


def choose(values: Values) -> Choice:
    """Choose the plainest rule that the data do not beat: none, then best single, then targeted."""
    targeted, any_policy, single = (
        values.policy_over_best,
        values.policy_over_none,
        values.best_over_none,
    )
    if targeted.low > 0 and any_policy.low > 0:
        return Choice(
            "policy",
            f"targeting pays: it earns {_told(targeted)} a row more than the best single treatment "
            f"for everyone, and {_told(any_policy)} more than none",
        )
    if targeted.low > 0:
        why = (
            f"targeting beats the best single treatment by {_told(targeted)} a row, but not none "
            f"({_told(any_policy)})"
        )
    else:
        why = (
            f"targeting does not pay: it earns {_told(targeted)} a row over the best single "
            "treatment for everyone, which does not exclude no gain"
        )
    if single.low > 0:
        return Choice("best_single", f"{why}; that treatment earns {_told(single)} more than none")
    return Choice("none", f"{why}; nor does one treatment for everyone pay ({_told(single)})")


def _earned(money: np.ndarray, rule: np.ndarray) -> np.ndarray:
    return money[np.arange(len(money)), rule]


def _mean(each: np.ndarray, unit: np.ndarray) -> Interval:
    value = float(each.mean())
    half = Z_95 * cluster_error(each - value, unit)
    return Interval(value, value - half, value + half)


def _told(gain: Interval) -> str:
    return f"{gain.value:+.4g} [{gain.low:.4g}, {gain.high:.4g}]"

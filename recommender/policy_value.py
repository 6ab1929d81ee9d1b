"""What is a rule of treatment worth in money, on rows it was not learned from?

Money is margin x outcome, less the cost of a treatment given. Values are means of doubly robust
scores (augmented inverse propensity): unbiased where propensities are right. Rules are compared on
the same rows, so that what they agree on cancels. A rule that uses a treatment of too few outcomes
has no value here, but a reason why not.

Sources: Robins, Rotnitzky and Zhao 1994; Dudík, Langford and Li 2011 (arXiv 1103.4601); intervals,
see `skewed_interval` and `arm_evidence`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.arm_evidence import ArmEvidence
from recommender.skewed_interval import skewed_interval

Rule = Literal["policy", "best_single", "none"]


@dataclass(frozen=True, slots=True)
class Price:
    """What an outcome of 1 earns, and what one treatment costs whatever comes of it.

    Attributes:
        cost: The same for all rows, or each row's own, shape (n,).

    Raises:
        RegularsError: The margin is not positive, or either is no number.
    """

    margin: float = 1.0
    cost: float | np.ndarray = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.margin < np.inf and np.isfinite(self.cost).all()):
            raise RegularsError(
                f"margin {self.margin:g} with cost {self.cost}: the margin must be above 0, the "
                "cost a number; turn an outcome round of which less is better"
            )

    def money(self, outcomes: np.ndarray) -> np.ndarray:
        """Return the money of outcomes under each treatment, control first, shape (n, k + 1)."""
        earned = self.margin * outcomes
        earned[:, 1:] -= self._costs
        return earned

    def gains(self, effects: np.ndarray) -> np.ndarray:
        """Return the money of effects against the control, shape (n, k)."""
        return self.margin * effects - self._costs

    @property
    def _costs(self) -> np.ndarray:
        """What each treatment takes off a row, to be broadcast over (n, k)."""
        return np.reshape(self.cost, (-1, 1))


@dataclass(frozen=True)
class Values:
    """Money a row under each rule, and paired differences; None where it cannot be judged.

    `refused` says why, by the name of the figure.
    """

    policy: Interval | None
    best_single: Interval | None
    none: Interval | None
    policy_over_best: Interval | None
    policy_over_none: Interval | None
    best_over_none: Interval | None
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def figures(self) -> dict[str, Interval]:
        """Return those that can be judged, by name."""
        named = {
            "policy": self.policy,
            "best_single": self.best_single,
            "none": self.none,
            "policy_over_best": self.policy_over_best,
            "policy_over_none": self.policy_over_none,
            "best_over_none": self.best_over_none,
        }
        return {name: one for name, one in named.items() if one is not None}


@dataclass(frozen=True)
class Choice:
    """The rule to use, and why in words."""

    chosen: Rule
    because: str


def treat_by(gains: np.ndarray) -> np.ndarray:
    """Return for each row the treatment that gains most, 0 where none gains, shape (n,)."""
    best = gains.argmax(axis=1)
    return np.where(gains[np.arange(len(gains)), best] > 0, best + 1, 0)


def mean_value(
    money: np.ndarray, rule: np.ndarray, unit: np.ndarray, evidence: ArmEvidence
) -> Interval:
    """Return what a rule earns a row, with its 95 % interval by unit.

    Args:
        money: Doubly robust scores of each treatment's money, shape (n, k + 1).
        rule: The treatment of each row, learned on other rows, shape (n,).
        unit: Codes from 0, shape (n,).
        evidence: Of the rows; it must not refuse the rule.
    """
    return mean_interval(_earned(money, rule), unit, evidence.surplus(rule))


def compare(
    money: np.ndarray,
    policy: np.ndarray,
    best_single: np.ndarray,
    unit: np.ndarray,
    evidence: ArmEvidence,
) -> Values:
    """Value the policy, the best single treatment for everyone, and none, on the same rows.

    Args:
        money: Doubly robust scores of each treatment's money, shape (n, k + 1).
        policy, best_single: The treatment of each row, learned on other rows, shape (n,).
        unit: Codes from 0, shape (n,).
        evidence: Of the same rows.
    """
    rules = {"policy": policy, "best": best_single, "none": np.zeros_like(policy)}
    faults = {name: evidence.fault(rule) for name, rule in rules.items()}
    refused: dict[str, str] = {}

    def value(figure: str, name: str) -> Interval | None:
        if (fault := faults[name]) is not None:
            refused[figure] = fault
            return None
        return mean_value(money, rules[name], unit, evidence)

    def gain(name: str, other: str) -> Interval | None:
        if (fault := faults[name] or faults[other]) is not None:
            refused[f"{name}_over_{other}"] = fault
            return None
        return mean_interval(_earned(money, rules[name]) - _earned(money, rules[other]), unit)

    return Values(
        policy=value("policy", "policy"),
        best_single=value("best_single", "best"),
        none=value("none", "none"),
        policy_over_best=gain("policy", "best"),
        policy_over_none=gain("policy", "none"),
        best_over_none=gain("best", "none"),
        refused=refused,
    )


def choose(values: Values) -> Choice:
    """Choose the plainest rule that the data do not beat: none, then best single, then targeted."""
    targeted, any_policy, single = (
        values.policy_over_best,
        values.policy_over_none,
        values.best_over_none,
    )
    if targeted is None or any_policy is None:
        reason = values.refused.get("policy_over_best") or values.refused["policy_over_none"]
        why = f"whether targeting pays cannot be told: {reason}"
    elif targeted.low > 0 and any_policy.low > 0:
        return Choice(
            "policy",
            f"targeting pays: it earns {_told(targeted)} a row more than the best single treatment "
            f"for everyone, and {_told(any_policy)} more than none",
        )
    elif targeted.low > 0:
        why = (
            f"targeting beats the best single treatment by {_told(targeted)} a row, but not none "
            f"({_told(any_policy)})"
        )
    elif targeted.high < 0:
        why = (
            f"targeting loses: it earns {_told(targeted)} a row over the best single treatment for "
            "everyone"
        )
    else:
        why = (
            f"targeting does not pay: it earns {_told(targeted)} a row over the best single "
            "treatment for everyone, which does not exclude no gain"
        )
    if single is None:
        reason = values.refused["best_over_none"]
        return Choice("none", f"{why}; nor can one treatment for everyone be judged: {reason}")
    if single.low > 0:
        return Choice("best_single", f"{why}; that treatment earns {_told(single)} more than none")
    return Choice("none", f"{why}; nor does one treatment for everyone pay ({_told(single)})")


def mean_interval(each: np.ndarray, unit: np.ndarray, surplus: float = np.inf) -> Interval:
    """Return a mean with its 95 % interval by unit, which knows that few large terms are skewed.

    Args:
        each: Shape (n,).
        unit: Codes from 0 without gaps, shape (n,).
        surplus: See `skewed_interval`.
    """
    value = float(each.mean())
    influence = np.bincount(unit, each - value) / len(each)
    units = len(influence)
    # As many as there are units, the squares tell a little less than the variance.
    influence *= np.sqrt(units / max(units - 1, 1))
    if not influence.any():
        return Interval(value, value, value)
    return skewed_interval(value, influence, *_jumps(influence), surplus)


def _jumps(influence: np.ndarray) -> tuple[float, float]:
    """Return the usual size of a jump to either side, met in proportion to its size."""
    up, down = np.maximum(influence, 0.0), np.maximum(-influence, 0.0)
    return float(up @ up) / float(up.sum()), float(down @ down) / float(down.sum())


def _earned(money: np.ndarray, rule: np.ndarray) -> np.ndarray:
    return money[np.arange(len(money)), rule]


def _told(gain: Interval) -> str:
    return f"{gain.value:+.4g} [{gain.low:.4g}, {gain.high:.4g}]"

"""Which of two policies would have earned more on the same logged decisions, and how sure is that?

Both are valued by their own weights on one log. What both would have shown alike weighs alike and
cancels in the difference, so that it is surer than two values that are looked at apart.
"""

from dataclasses import dataclass, replace

import numpy as np

from foundation.scores import Interval
from recommender.evidence import Weighted
from recommender.off_policy import (
    Direct,
    Logged,
    OffPolicyValue,
    off_policy_value,
    snips,
    unseen_jumps,
    usable,
)
from recommender.skewed_interval import skewed_interval


@dataclass(frozen=True)
class Contest:
    """Both values per decision, and `gain`, what the challenger earns more (self-normalised).

    Without a gain `refusal` says why. `alike` is the share of rows that both weigh the same.
    """

    challenger: OffPolicyValue
    champion: OffPolicyValue
    gain: Interval | None
    refusal: str | None
    alike: float


def contest(
    logged: Logged,
    champion: np.ndarray,
    *,
    rows_a_decision: int = 1,
    directs: tuple[Direct, Direct] | None = None,
) -> Contest:
    """Value two policies on one log.

    Args:
        logged: The log, with the challenger's chances as `target`.
        champion: The champion's chances of the same, shape (n,).
        rows_a_decision: Positions of each decision, see `slate_value`; 1 for a row a decision.
        directs: Forecasts for the challenger's doubly robust value, and for the champion's.

    Raises:
        RegularsError: As `off_policy_value`.

    Source: the difference of two ratio estimates by linearisation, paired by customer (Särndal,
        Swensson and Wretman 1992, 5.6); see `skewed_interval` for its limits.
    """
    challenger = replace(logged, reward=logged.reward * rows_a_decision)
    theirs = replace(challenger, target=champion)
    ours, its = (None, None) if directs is None else directs
    values = (
        off_policy_value(challenger, direct=ours and ours.times(rows_a_decision)),
        off_policy_value(theirs, direct=its and its.times(rows_a_decision)),
    )
    refusals = [
        f"the {who} has no value: {value.refusal}"
        for who, value in zip(("challenger", "champion"), values, strict=True)
        if value.refusal is not None
    ]
    kept = usable(challenger)
    alike = np.isclose(challenger.target[kept], theirs.target[kept], rtol=1e-9, atol=0.0)
    share = float(alike.mean()) if len(alike) else 1.0
    if refusals:
        return Contest(*values, gain=None, refusal="; ".join(refusals), alike=share)
    if share == 1.0:
        # The same slates with the same chances: nothing of it is left to chance.
        return Contest(*values, gain=Interval(0.0, 0.0, 0.0), refusal=None, alike=share)
    return Contest(*values, gain=_gain(challenger, theirs, kept), refusal=None, alike=share)


def _gain(challenger: Logged, champion: Logged, kept: np.ndarray) -> Interval:
    reward = challenger.reward[kept].astype(np.float64)
    codes = np.unique(challenger.customer[kept], return_inverse=True)[1]
    parts: list[np.ndarray] = []
    values: list[float] = []
    for policy in (challenger, champion):
        weight = policy.target[kept] / policy.propensity[kept]
        values.append(snips(weight, reward))
        parts.append(weight / weight.sum())
    value = values[0] - values[1]
    errors = parts[0] * (reward - values[0]) - parts[1] * (reward - values[1])
    # A jump comes from a row that the two weigh differently.
    apart_by = np.abs(parts[0] - parts[1])
    log = Weighted(apart_by, reward, codes, len(reward))
    middle = (values[0] + values[1]) / 2
    up, down = unseen_jumps(log, reward - middle, float(apart_by.max()), abs(middle))
    # Either policy may be the one that the unseen row speaks for.
    jump = max(up, down, float(apart_by.max()) * log.tail().jump)
    return skewed_interval(value, log.by_customer(errors), up=jump, down=jump)

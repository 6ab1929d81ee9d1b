"""Beliefs: what have our own decisions taught of each offer's mean reward?

Thompson sampling draws by these. Decisions weigh by the inverse of their propensity, so that an
offer that a policy showed only to those who like it does not look better than it is; the evidence
counts as the effective number of customers, which is at most their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foundation.decision import Posterior
from foundation.errors import TooLittleData
from recommender.evidence import effective_size

Family = Literal["beta", "normal"]


@dataclass(frozen=True)
class FirstShown:
    """What decisions showed first and what it earned; all arrays have shape (n,).

    `propensity` is the chance of the offer at the first slot. A reward of a beta belief is a
    response, 0 or 1; of a normal one it is money.
    """

    customer: np.ndarray
    offer: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray


@dataclass(frozen=True)
class Belief:
    """A posterior, and the decisions and the effective number of customers behind it."""

    posterior: Posterior
    decisions: int
    effective: float


def beliefs(shown: FirstShown, offers: Sequence[str], family: Family) -> dict[str, Belief]:
    """Return what is believed of each offer; of one never shown, what was before.

    A beta belief begins as 1 and 1 and adds effective responses and the rest. A normal one begins
    as one decision's worth of the mean of all, with the standard deviation of one decision, and
    tells in the unit of the reward.

    Args:
        offers: Which to believe something of.

    Raises:
        TooLittleData: Nothing was shown, or the money of all decisions is alike.

    Source: conjugate posteriors (Gelman et al., Bayesian Data Analysis, 2.4 and 2.5) with the
        self-normalised inverse-propensity mean and its effective size (Kish 1965); the normal
        prior is that of unit information (Kass and Wasserman 1995).
    """
    if not len(shown.reward):
        raise TooLittleData("no decision showed an offer; ingest decisions first")
    weight = 1.0 / shown.propensity
    middle = float(weight @ shown.reward / weight.sum())
    spread = float(np.sqrt(weight @ (shown.reward - middle) ** 2 / weight.sum()))
    if family == "normal" and not spread > 0:
        raise TooLittleData(
            f"all {len(weight)} decisions earned alike, so money tells no offer from another; wait "
            "for outcomes, or learn from responses"
        )
    found: dict[str, Belief] = {}
    for offer_id in offers:
        hers = shown.offer == offer_id
        size, mean = _evidence(shown.customer[hers], weight[hers], shown.reward[hers])
        if family == "beta":
            posterior = Posterior("beta", 1.0 + size * mean, 1.0 + size * (1.0 - mean))
        else:
            deviation = spread / float(np.sqrt(1.0 + size))
            posterior = Posterior("normal", (middle + size * mean) / (1.0 + size), deviation)
        found[offer_id] = Belief(posterior, int(hers.sum()), size)
    return found


def _evidence(customer: np.ndarray, weight: np.ndarray, reward: np.ndarray) -> tuple[float, float]:
    """Return the effective number of customers and the mean reward."""
    if not len(weight):
        return 0.0, 0.0
    # Decisions of one customer are no independent evidence.
    codes = np.unique(customer, return_inverse=True)[1]
    return effective_size(np.bincount(codes, weight)), float(weight @ reward / weight.sum())

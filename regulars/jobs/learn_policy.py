"""Learn a Thompson policy: what our own decisions taught of each offer, as a policy to serve.

What a decision showed first and what followed is the evidence: redemptions credited to it, or the
margin its customer brought in the window. Fallbacks and open windows are left out and counted.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from foundation.decision import Policy
from foundation.errors import TooLittleData
from foundation.lake import Lake
from recommender.beliefs import Belief, beliefs
from recommender.value import NO_COSTS, Contacts
from regulars.jobs.off_policy import first_shown

Reward = Literal["response", "money"]


@dataclass(frozen=True)
class Learned:
    """A policy, and the evidence for each offer still valid at the end of what is known."""

    policy: Policy
    beliefs: dict[str, Belief]
    decisions: int
    left_out: int
    censored: int


def learn_policy(
    lake: Lake,
    placement: str,
    until: datetime,
    *,
    reward: Reward,
    exploration: float,
    days: int = 30,
    contacts: Contacts = NO_COSTS,
) -> Learned:
    """Learn a policy from the decisions of a placement.

    Args:
        until: Outcomes are known up to here.
        reward: Responses give beta posteriors, money (minor units a decision) normal ones.
        exploration: The policy's share of slates drawn at random.
        days: Attribution window of a decision.
        contacts: What they cost, where the reward is money.

    Raises:
        NothingToDo: No decision was made for the placement.
        TooLittleData: No window is over, no offer is valid, or nothing tells offers apart.
    """
    log = first_shown(lake, placement, until, days, money=contacts if reward == "money" else None)
    table = lake.table("offers").select("offer_id", "valid_to")
    offers = sorted(
        row["offer_id"] for row in lake.fetch(table).to_pylist() if row["valid_to"] > until
    )
    if not offers:
        raise TooLittleData(f"no offer is valid after {until:%Y-%m-%d}; load offers first")
    if not len(log.shown.reward):
        raise TooLittleData(
            f"no decision for placement {placement!r} showed an offer by the policy's own draw and "
            f"is {days} days old ({log.censored} are younger); ingest later outcomes, then learn"
        )
    found = beliefs(log.shown, offers, "beta" if reward == "response" else "normal")
    policy = Policy(
        "thompson", exploration, posteriors={name: one.posterior for name, one in found.items()}
    )
    return Learned(policy, found, len(log.shown.reward), log.left_out, log.censored)

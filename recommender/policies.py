"""Policies: how a slate is drawn from the eligible offers, and how probable that slate was.

A policy ranks; with probability `exploration` the slate is instead drawn slot by slot at random.
Both ways are known exactly, so the record carries the exact propensity of what was shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from foundation.decision import Policy


@dataclass(frozen=True, slots=True)
class Eligible:
    """An offer that may be shown. Of one exclusive group a slate takes at most one."""

    offer_id: str
    priority: int = 0
    exclusive_group: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn slate: offers from the top, each slot's probability given the slots above."""

    offers: list[Eligible]
    slot_propensities: list[float]
    slate_propensity: float


def draw_slate(
    policy: Policy,
    eligible: Sequence[Eligible],
    scores: Mapping[str, float],
    limit: int,
    random: Random,
) -> Drawn:
    """Draw up to `limit` offers.

    Args:
        eligible: Offers that may be shown, in any order.
        scores: A score for each, higher is better; ties go to the higher priority, then the id.
        limit: Slots, at least 0.
        random: Source of chance; the same seed draws the same slate.

    The slate's propensity is (1 - e) [slate is the ranking's own] + e / (n1 n2 ...), where n_j
    counts the offers still allowed at slot j and e is the exploration; a slot's propensity is
    the ratio of two such prefixes.
    """
    if policy.kind == "none":
        return Drawn([], [], 1.0)
    ranking = sorted(eligible, key=lambda o: (-scores[o.offer_id], -o.priority, o.offer_id))
    explore = 1.0 if policy.kind == "random" else policy.exploration
    at_random = explore >= 1.0 or (explore > 0.0 and random.random() < explore)
    return _walk(ranking, limit, explore, random if at_random else None)


def _walk(ranking: list[Eligible], limit: int, explore: float, random: Random | None) -> Drawn:
    chosen: list[Eligible] = []
    propensities: list[float] = []
    greedy, uniform, before = True, 1.0, 1.0
    allowed = ranking
    while allowed and len(chosen) < limit:
        pick = allowed[0] if random is None else allowed[random.randrange(len(allowed))]
        # The ranking's own slate takes the best allowed offer at each slot.
        greedy = greedy and pick is allowed[0]
        uniform /= len(allowed)
        prefix = (1.0 - explore) * greedy + explore * uniform
        chosen.append(pick)
        propensities.append(prefix / before)
        before = prefix
        allowed = [offer for offer in allowed if _compatible(offer, pick)]
    return Drawn(chosen, propensities, before)


def _compatible(offer: Eligible, picked: Eligible) -> bool:
    if offer.offer_id == picked.offer_id:
        return False
    return offer.exclusive_group is None or offer.exclusive_group != picked.exclusive_group

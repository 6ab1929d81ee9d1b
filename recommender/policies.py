"""Policies: how a slate is drawn from the eligible offers, and how probable any slate is.

A policy is a mixture of ways to fill a slate from the top. Each way knows the chance of every next
offer given those above, so the chance of a slate is a sum of products: exact, the same online and
in batch, and the same function says what another policy would have done with a logged decision.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from foundation.decision import Policy
from recommender.thompson import best_chances

# The policies of the highest scores.
_BY_SCORE = ("response", "popular")


@dataclass(frozen=True, slots=True)
class Eligible:
    """An offer that may be shown. Of one exclusive group a slate takes at most one."""

    offer_id: str
    priority: int = 0
    exclusive_group: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn slate: offers from the top, each slot's probability given the slots above.

    Where "no offer" is a candidate the slate may end before it is full; its propensity then has
    also the chance of that end.
    """

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
            The uplift policy's are expected incremental margins: those not above 0 lose to "no
            offer".
        limit: Slots, at least 0.
        random: Source of chance; the same seed draws the same slate.
    """
    tied = by_tie(eligible)
    return draw_tied(policy, tied, [scores[offer.offer_id] for offer in tied], limit, random)


def draw_tied(
    policy: Policy,
    eligible: Sequence[Eligible],
    told: Sequence[float],
    limit: int,
    random: Random,
) -> Drawn:
    """Draw as `draw_slate` from offers in the order in which ties in score go.

    Args:
        told: Their scores, in their order.
    """
    explored = False
    if policy.kind in _BY_SCORE and policy.exploration < 1.0:
        explored = policy.exploration > 0 and random.random() < policy.exploration
        if not explored:
            # So it nearly always is, and the few best are found sooner than all are ranked.
            return _best_of(policy.exploration, eligible, told, limit)
    scores = {offer.offer_id: score for offer, score in zip(eligible, told, strict=True)}
    ranking = by_score(eligible, scores)
    ways = ways_of(policy, ranking, scores)
    way = ways[0][1] if explored else _choose(ways, random)
    return _drawn(ways, way, ranking, limit, random)


def _best_of(
    explore: float, eligible: Sequence[Eligible], told: Sequence[float], limit: int
) -> Drawn:
    """Return the slate of the best, which a slate at random may be, too."""
    left, scores = list(eligible), list(told)
    slate: list[Eligible] = []
    slots: list[float] = []
    # The chance of the slate so far, as one at random and as that of the best.
    at_random, best = explore, 1.0 - explore
    above, reached = 1.0, at_random + best
    while left and len(slate) < limit:
        at_random *= 1.0 / len(left)
        reached = at_random + best
        slots.append(reached / above)
        above = reached
        # Of those alike the first, as in the ranking.
        place = scores.index(max(scores))
        pick = left.pop(place)
        del scores[place]
        slate.append(pick)
        if pick.exclusive_group is not None:
            kept = [n for n, o in enumerate(left) if o.exclusive_group != pick.exclusive_group]
            left, scores = [left[n] for n in kept], [scores[n] for n in kept]
    return Drawn(slate, slots, reached)


def _drawn(
    ways: Sequence[tuple[float, "Way"]],
    way: "Way",
    ranking: list[Eligible],
    limit: int,
    random: Random,
) -> Drawn:
    """Return the slate that one of a policy's ways draws."""
    slate: list[Eligible] = []
    prefixes: list[float] = []
    each, allowed = [weight for weight, _ in ways], ranking
    while allowed and len(slate) < limit:
        pick = way.pick(allowed, random)
        if pick is None:
            break
        each = _reached(each, ways, allowed, pick)
        slate.append(pick)
        prefixes.append(sum(each))
        allowed = after(allowed, pick)
    if allowed and len(slate) < limit:
        each = _reached(each, ways, allowed, None)
    above = [1.0, *prefixes]
    slots = [with_it / before for with_it, before in zip(prefixes, above, strict=False)]
    return Drawn(slate, slots, sum(each))


def slot_probabilities(
    policy: Policy,
    eligible: Sequence[Eligible],
    scores: Mapping[str, float],
    limit: int,
    slate: Sequence[str],
) -> list[float]:
    """Return the probabilities of a slate's first offer, its first two, and so on.

    The last of them, one more than offers, is that of the whole slate: of its end too.

    Args:
        eligible, scores, limit: As for `draw_slate`.
        slate: Ids; from one on that is not eligible, or not allowed below the others, all are 0.
    """
    ranking = ranked(eligible, scores)
    by_id = {offer.offer_id: offer for offer in ranking}
    known = [by_id[i] for i in slate if i in by_id]
    prefixes, whole = _chances(ways_of(policy, ranking, scores), ranking, limit, known)
    if len(known) < len(slate):
        # Up to the stranger the slate is possible.
        stranger = next(n for n, i in enumerate(slate) if i not in by_id)
        return [*prefixes[:stranger], *[0.0] * (len(slate) - stranger + 1)]
    return [*prefixes, whole]


class Way(Protocol):
    """One way to fill a slate. `allowed` is in the ranking's order and not empty."""

    def pick(self, allowed: Sequence[Eligible], random: Random) -> Eligible | None:
        """Return the next offer, None for "no offer"."""
        ...

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:
        """Return the probability of that."""
        ...


class AtRandom:
    """Each allowed offer alike, and "no offer" where it is a candidate."""

    def __init__(self, may_end: bool) -> None:
        self.may_end = may_end

    def pick(self, allowed: Sequence[Eligible], random: Random) -> Eligible | None:
        place = random.randrange(len(allowed) + self.may_end)
        return allowed[place] if place < len(allowed) else None

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:
        if pick is None and not self.may_end:
            return 0.0
        return 1.0 / (len(allowed) + self.may_end)


class _InOrder:
    """The allowed offer of the first place; "no offer" where none of them has one."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self._places = places

    def pick(self, allowed: Sequence[Eligible], random: Random | None) -> Eligible | None:  # noqa: ARG002
        placed = [offer for offer in allowed if offer.offer_id in self._places]
        return min(placed, key=lambda o: self._places[o.offer_id], default=None)

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:
        return float(self.pick(allowed, None) is pick)


class _Best:
    """The ranking's own slate: the highest score that is allowed."""

    def pick(self, allowed: Sequence[Eligible], random: Random) -> Eligible | None:  # noqa: ARG002
        return allowed[0]

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:
        return float(pick is allowed[0])


class _ByPosterior:
    """Each allowed offer by the chance that it is the best of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def pick(self, allowed: Sequence[Eligible], random: Random) -> Eligible | None:
        left = random.random()
        for offer, chance in zip(allowed, self._best(allowed), strict=True):
            left -= chance
            if left < 0:
                return offer
        # Chances sum to 1 but for rounding.
        return allowed[-1]

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:
        return 0.0 if pick is None else self._best(allowed)[allowed.index(pick)]

    def _best(self, allowed: Sequence[Eligible]) -> Sequence[float]:
        return best_chances(self._policy.posteriors, [offer.offer_id for offer in allowed])


class _Nothing:
    """No offer."""

    def pick(self, allowed: Sequence[Eligible], random: Random) -> Eligible | None:  # noqa: ARG002
        return None

    def chance(self, allowed: Sequence[Eligible], pick: Eligible | None) -> float:  # noqa: ARG002
        return float(pick is None)


def ranked(eligible: Sequence[Eligible], scores: Mapping[str, float]) -> list[Eligible]:
    """Return offers by score, the order in which ways are told what is allowed."""
    return by_score(by_tie(eligible), scores)


def by_tie(eligible: Iterable[Eligible]) -> list[Eligible]:
    """Return offers in the order in which ties in score go."""
    return sorted(eligible, key=lambda offer: (-offer.priority, offer.offer_id))


def by_score(eligible: Sequence[Eligible], scores: Mapping[str, float]) -> list[Eligible]:
    """Return offers as `ranked`, of those in the order in which ties in score go."""
    told = [scores[offer.offer_id] for offer in eligible]
    # A key that is a method of a list costs a fifth of a function of ours.
    order = sorted(range(len(told)), key=told.__getitem__, reverse=True)
    return [eligible[place] for place in order]


def ways_of(
    policy: Policy, ranking: Sequence[Eligible], scores: Mapping[str, float]
) -> list[tuple[float, Way]]:
    """Return a policy's ways, each with its probability; those at random stand first."""
    explore = 1.0 if policy.kind == "random" else policy.exploration
    if policy.kind == "none":
        return [(1.0, _Nothing())]
    at_random = AtRandom(may_end=policy.scored == "uplift")
    if explore >= 1.0:
        return [(1.0, at_random)]
    ways: list[tuple[float, Way]] = [(explore, at_random)] if explore > 0 else []
    if policy.kind != "mixture":
        return [*ways, (1.0 - explore, _own(policy, ranking, scores))]
    for weight, part in zip(policy.weights, policy.parts, strict=True):
        ways += [((1.0 - explore) * weight * w, way) for w, way in ways_of(part, ranking, scores)]
    return ways


def _own(policy: Policy, ranking: Sequence[Eligible], scores: Mapping[str, float]) -> Way:
    if policy.kind == "uplift":
        worth = [offer.offer_id for offer in ranking if scores[offer.offer_id] > 0]
        return _InOrder({offer_id: place for place, offer_id in enumerate(worth)})
    if policy.kind == "rule":
        named = {offer_id: place for place, offer_id in enumerate(policy.order)}
        order = sorted(
            ranking, key=lambda o: (named.get(o.offer_id, len(named)), -o.priority, o.offer_id)
        )
        return _InOrder({offer.offer_id: place for place, offer in enumerate(order)})
    return _ByPosterior(policy) if policy.kind == "thompson" else _Best()


def _choose(ways: Sequence[tuple[float, Way]], random: Random) -> Way:
    if len(ways) == 1:
        return ways[0][1]
    left = random.random()
    for weight, way in ways[:-1]:
        if left < weight:
            return way
        left -= weight
    return ways[-1][1]


def _chances(
    ways: Sequence[tuple[float, Way]],
    ranking: list[Eligible],
    limit: int,
    slate: Sequence[Eligible],
) -> tuple[list[float], float]:
    """Return the probability of each of a slate's prefixes, and of the whole."""
    each = [weight for weight, _ in ways]
    prefixes: list[float] = []
    allowed = ranking
    for pick in slate:
        rest = after(allowed, pick)
        # What is allowed goes when it is picked, and takes its group with it.
        possible = len(prefixes) < limit and len(rest) < len(allowed)
        each = _reached(each, ways, allowed, pick) if possible else [0.0] * len(each)
        prefixes.append(sum(each))
        allowed = rest
    if allowed and len(slate) < limit:
        # It ended although there was more to show.
        each = _reached(each, ways, allowed, None)
    return prefixes, sum(each)


def _reached(
    each: Sequence[float],
    ways: Sequence[tuple[float, Way]],
    allowed: Sequence[Eligible],
    pick: Eligible | None,
) -> list[float]:
    """Return by way the probability of what was picked so far and of this one below it."""
    return [
        reached * way.chance(allowed, pick) if reached > 0 else 0.0
        for reached, (_, way) in zip(each, ways, strict=True)
    ]


def after(allowed: Sequence[Eligible], pick: Eligible) -> list[Eligible]:
    """Return what is still allowed below an offer."""
    group = pick.exclusive_group
    if group is None and allowed and allowed[0] is pick:
        # So it nearly always is.
        return list(allowed[1:])
    if group is None:
        return [offer for offer in allowed if offer is not pick]
    return [offer for offer in allowed if offer.exclusive_group != group]

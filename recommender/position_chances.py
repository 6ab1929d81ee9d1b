"""How likely does a policy show each offer at each position, whatever stands above it?"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from foundation.decision import Policy
from foundation.errors import RegularsError
from recommender.policies import AtRandom, Eligible, Way, after, ranked, ways_of

# More sets of offers than this are not gone through for one decision.
MOST_SETS = 5_000

# An offer's chance by id, for each position; under None that of no offer.
Positions = list[dict[str | None, float]]


def position_chances(
    policy: Policy, eligible: Sequence[Eligible], scores: Mapping[str, float], limit: int
) -> Positions:
    """Return the chances of each position, from the top; those of one position sum to 1.

    Args:
        eligible, scores, limit: As for `draw_slate`.

    Raises:
        RegularsError: Chances depend on more sets of offers than can be gone through.
    """
    ranking = ranked(eligible, scores)
    found = [defaultdict[str, float](float) for _ in range(limit)]
    for weight, way in ways_of(policy, ranking, scores):
        if isinstance(way, AtRandom):
            _at_random(way, weight, ranking, found)
        else:
            _by_sets(way, weight, ranking, found)
    return [{**place, None: max(0.0, 1.0 - sum(place.values()))} for place in found]


def _by_sets(
    way: Way, weight: float, ranking: list[Eligible], found: Sequence[dict[str, float]]
) -> None:
    """Add a way's chances; what is next depends on the set above, not on its order."""
    states = {tuple(ranking): weight}
    for place in found:
        following: dict[tuple[Eligible, ...], float] = {}
        for allowed, reached in states.items():
            for pick in allowed:
                chance = reached * way.chance(allowed, pick)
                if chance > 0:
                    place[pick.offer_id] += chance
                    rest = tuple(after(allowed, pick))
                    following[rest] = following.get(rest, 0.0) + chance
        if len(following) > MOST_SETS:
            raise RegularsError(
                f"{len(ranking)} offers on {len(found)} positions make more than {MOST_SETS} sets "
                "that this policy draws from; evaluate its first position instead"
            )
        states = following


def _at_random(
    way: AtRandom, weight: float, ranking: list[Eligible], found: Sequence[dict[str, float]]
) -> None:
    """Add the chances of a draw at random: offers of one group are alike, and so are the others."""
    groups = Counter(o.exclusive_group for o in ranking if o.exclusive_group is not None)
    singles = len(ranking) - groups.total()
    # How many without a group were shown, and which groups.
    states: dict[tuple[int, frozenset[str]], float] = {(0, frozenset()): weight}
    for place in found:
        following = defaultdict[tuple[int, frozenset[str]], float](float)
        single, member = 0.0, defaultdict[str, float](float)
        for (shown, used), reached in states.items():
            left = {group: size for group, size in groups.items() if group not in used}
            candidates = singles - shown + sum(left.values())
            if candidates == 0:
                continue
            each = reached / (candidates + way.may_end)
            if shown < singles:
                single += each * (singles - shown) / singles
                following[shown + 1, used] += each * (singles - shown)
            for group, size in left.items():
                member[group] += each
                following[shown, used | {group}] += each * size
        for offer in ranking:
            group = offer.exclusive_group
            place[offer.offer_id] += single if group is None else member[group]
        states = dict(following)

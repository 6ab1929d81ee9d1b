"""Slates: one placement after the other, each from what those before it have left."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random

from foundation.decision import Policy
from recommender.policies import Drawn, Eligible, draw_slate


def drawn_slates(
    policy: Policy,
    placements: Sequence[tuple[str, int]],
    eligible: Sequence[Eligible],
    placed: Mapping[str, Collection[str]],
    scores: Mapping[str, float],
    random: Random,
) -> Iterator[tuple[str, Drawn]]:
    """Yield each placement's name and its slate.

    Args:
        placements: Name and limit of each.
        eligible: In any order.
        placed: Placements of the offers that not every one may show.
        scores: Of every eligible offer.
    """
    left = eligible
    for name, limit in placements:
        allowed = left
        if placed:
            allowed = [o for o in left if o.offer_id not in placed or name in placed[o.offer_id]]
        drawn = draw_slate(policy, allowed, scores, limit, random)
        yield name, drawn
        # An answer shows an offer, and one of an exclusive group, only once.
        ids = {offer.offer_id for offer in drawn.offers}
        groups = {o.exclusive_group for o in drawn.offers if o.exclusive_group is not None}
        left = [o for o in left if o.offer_id not in ids and o.exclusive_group not in groups]

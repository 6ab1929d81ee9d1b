"""Slates: one placement after the other, each from what those before it have left."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random

from foundation.decision import Policy
from recommender.policies import Drawn, Eligible, draw_tied


def drawn_slates(
    policy: Policy,
    placements: Sequence[tuple[str, int]],
    eligible: Sequence[Eligible],
    placed: Mapping[str, Collection[str]],
    told: Sequence[float],
    random: Random,
) -> Iterator[tuple[str, Drawn]]:
    """Yield each placement's name and its slate.

    Args:
        placements: Name and limit of each.
        eligible: In the order in which ties in score go.
        placed: Placements of the offers that not every one may show.
        told: Scores of the eligible offers, in their order.
    """
    ids: set[str] = set()
    groups: set[str | None] = set()
    for name, limit in placements:
        here, scores = eligible, told
        # An answer shows an offer, and one of an exclusive group, only once.
        if ids or placed:
            left = [
                row
                for row, o in enumerate(eligible)
                if o.offer_id not in ids
                and o.exclusive_group not in groups
                and (o.offer_id not in placed or name in placed[o.offer_id])
            ]
            here, scores = [eligible[row] for row in left], [told[row] for row in left]
        drawn = draw_tied(policy, here, scores, limit, random)
        yield name, drawn
        ids |= {offer.offer_id for offer in drawn.offers}
        groups |= {offer.exclusive_group for offer in drawn.offers} - {None}

"""Slates: one placement after the other, each from what those before it have left."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random

from foundation.decision import Policy
from recommender.policies import Drawn, Eligible, after, by_score, draw_ranked


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
        eligible: In the order in which ties in score go.
        placed: Placements of the offers that not every one may show.
        scores: Of every eligible offer.
    """
    left = by_score(eligible, scores)
    for name, limit in placements:
        ranking = left
        if placed:
            ranking = [o for o in left if o.offer_id not in placed or name in placed[o.offer_id]]
        drawn = draw_ranked(policy, ranking, scores, limit, random)
        yield name, drawn
        # An answer shows an offer, and one of an exclusive group, only once.
        for offer in drawn.offers:
            left = after(left, offer)

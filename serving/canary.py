"""May a model that was just loaded serve? It is first asked about customers of the live snapshot.

A damaged file, other features or another unit of an input show in what it answers; then the model
before goes on serving. Whether a sound model is a better one is the gate's question.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import Profile
from recommender.offer_uplift import Effects
from serving.scoring import Quick, Scorer
from serving.uplift_scoring import UpliftScorer

CUSTOMERS = 100
OFFERS = 20
# The channel that is asked for: a loyalty app's, as most decisions are.
CHANNEL = "app"
# How many times the odds of its training rows a model may give on average, and how few. Customers
# and offers differ from those it was tested on: redemption odds of Complete Journey's campaigns
# (of 100 households or more) lie up to 8.5 times from those of all together. An input of another
# unit or in another place moves them further, or the model hardly heeds it.
FURTHEST = 10.0
# Effects have no odds. An average so many times what single customers differ by lies outside of
# nearly all that the model ever told; and of fewer customers nobody knows how much they differ.
FURTHEST_MEAN = 3.0
FEWEST_TO_DIFFER = 20


class FailedSelfCheck(RegularsError):
    """A model answers the live snapshot's customers nonsense."""


def check_response(
    scorer: Scorer,
    profiles: Sequence[Profile],
    offers: Sequence[Offer],
    trained_mean: float | None,
    *,
    at: datetime,
    time_zone: str,
) -> None:
    """Pass a response model whose answers are probabilities of a size it knows.

    Args:
        trained_mean: Its mean probability on rows held out at training, as its card has it; None
            for models older than that figure, whose size is not judged.

    Raises:
        FailedSelfCheck: They are not.
        RegularsError: An answer is no probability.
    """
    chosen = _asked(offers, at)
    found = scorer.scores_of_many(profiles, chosen, channel=CHANNEL, at=at, time_zone=time_zone)
    if trained_mean is None or not found.size:
        return
    told, known = _odds(float(found.mean())), _odds(trained_mean)
    if not known / FURTHEST <= told <= known * FURTHEST:
        raise FailedSelfCheck(
            f"model {scorer.name!r} answers {found.mean():.3g} on average for {len(profiles)} "
            f"customers of the live snapshot, {trained_mean:.3g} when it was trained; more than "
            f"{FURTHEST:g} times the odds is refused; see 'regulars monitor', or train again"
        )


def proved(
    scorer: Scorer,
    quick: Quick,
    profiles: Sequence[Profile],
    offers: Sequence[Offer],
    *,
    at: datetime,
    time_zone: str,
) -> bool:
    """Whether a quick way to a model answers these customers exactly as the model."""
    chosen = _asked(offers, at)
    zones = [profile.time_zone or time_zone for profile in profiles]
    return all(
        scorer.equals(quick, profile, chosen, channel=CHANNEL, at=at, time_zone=zone)
        for profile, zone in zip(profiles, zones, strict=True)
    )


def check_uplift(
    scorer: UpliftScorer,
    profiles: Sequence[Profile],
    *,
    at: datetime,
    time_zone: str,
) -> None:
    """Pass an uplift model whose effects are numbers of a size that it knows.

    Models of before that size was kept are asked for numbers alone.

    Raises:
        FailedSelfCheck: They are not of that size.
        RegularsError: An answer is no number.
    """
    if not profiles:
        return
    effects = scorer.effects_of_many(profiles, channel=CHANNEL, at=at, time_zone=time_zone)
    known = scorer.trained
    if known is None:
        return
    told, way_out = Effects.of(effects), "see whether a source changed, or train again"
    if abs(told.mean - known.mean) > FURTHEST_MEAN * known.spread:
        raise FailedSelfCheck(
            f"model {scorer.name!r} tells effects of {told.mean:.4g} on average for "
            f"{len(profiles)} customers of the live snapshot, {known.mean:.4g} when it was trained "
            f"(minor units); more than {FURTHEST_MEAN:g} times what customers differ by "
            f"({known.spread:.4g}) is refused; {way_out}"
        )
    few = len(profiles) < FEWEST_TO_DIFFER
    least, most = known.spread / FURTHEST, known.spread * FURTHEST
    if not few and not least <= told.spread <= most:
        raise FailedSelfCheck(
            f"model {scorer.name!r} tells {len(profiles)} customers of the live snapshot apart by "
            f"{told.spread:.4g}, by {known.spread:.4g} when it was trained (minor units); more "
            f"than {FURTHEST:g} times as much or as little is refused; {way_out}"
        )


def _asked(offers: Sequence[Offer], at: datetime) -> list[Offer]:
    return [offer for offer in offers if offer.valid_to > at][:OFFERS]


def _odds(probability: float) -> float:
    kept = float(np.clip(probability, 1e-9, 1 - 1e-9))
    return kept / (1 - kept)

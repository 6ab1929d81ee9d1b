"""What a model has to pass on the live snapshot before it serves; see serving.canary."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from foundation.offer import Offer
from foundation.profile import SnapshotFacts
from serving import canary
from serving.parts import LiveModel, LiveUplift, Parts
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer

Live = TypeVar("Live", bound=LiveModel | LiveUplift)


def checked(parts: Parts, live: Live, facts: SnapshotFacts, offers: Sequence[Offer]) -> Live:
    """Return a model that passed its self-check, without a quick way that is not its equal.

    Raises:
        RegularsError: It did not pass, or does not fit the snapshot.
    """
    scorer = checked_scorer(parts, live, facts, offers)
    if isinstance(live, LiveUplift) or live.quick is None or isinstance(scorer, UpliftScorer):
        return live
    profiles = parts.profiles.sample(canary.CUSTOMERS)
    at, zone = parts.clock.now(), parts.time_zone
    if not canary.proved(scorer, live.quick, profiles, offers, at=at, time_zone=zone):
        structlog.get_logger("serving").warning(
            "the model itself answers", model=live.name, reason="flat trees differ"
        )
        return replace(live, quick=None)
    return live


def checked_scorer(
    parts: Parts, live: LiveModel | LiveUplift, facts: SnapshotFacts, offers: Sequence[Offer]
) -> Scorer | UpliftScorer:
    """Return a model's scorer on the live snapshot, once it has passed its self-check.

    Raises:
        As `checked`.
    """
    profiles = parts.profiles.sample(canary.CUSTOMERS)
    at, zone = parts.clock.now(), parts.time_zone
    if isinstance(live, LiveUplift):
        uplift = UpliftScorer(live.name, live.model, facts, parts.contacts)
        canary.check_uplift(uplift, profiles, at=at, time_zone=zone)
        return uplift
    scorer = Scorer(live.name, live.model, facts)
    canary.check_response(scorer, profiles, offers, live.trained_mean, at=at, time_zone=zone)
    return scorer

"""What the snapshot holds of one customer, in words, also what was derived of her by offer."""

import math

from foundation.profile import Profile, SnapshotFacts
from recommender.affinity import NAMES as AFFINITY_NAMES
from serving.customer_messages import SnapshotExport
from serving.reasons import Reasons


def snapshot_export(profile: Profile, facts: SnapshotFacts) -> SnapshotExport:
    """Return all that a snapshot holds of her.

    Args:
        facts: Of the snapshot that the profile was read from.
    """
    reasons = Reasons(facts).of(profile, facts.offers)
    return SnapshotExport(
        version=facts.version,
        household_id=profile.household_id,
        time_zone=profile.time_zone,
        segments=profile.segments,
        features=features_of(profile, facts),
        attributes=dict(profile.attributes),
        counts=profile.counts,
        redemptions=profile.redemptions,
        remaining_value=profile.remaining_value,
        affinities=_affinities(profile, facts),
        reasons={offer_id: told for offer_id, told in reasons.items() if told},
    )


def features_of(profile: Profile, facts: SnapshotFacts) -> dict[str, float | None]:
    """Return her features by name, None where unknown."""
    return {
        name: None if math.isnan(value) else value
        for name, value in zip(facts.names, profile.vector.tolist(), strict=True)
    }


def _affinities(profile: Profile, facts: SnapshotFacts) -> dict[str, dict[str, float]]:
    # Without rows where nothing is known of her and any offer.
    found = {
        offer_id: {
            name: value
            for name, value in zip(AFFINITY_NAMES, row, strict=True)
            if not math.isnan(value)
        }
        for offer_id, row in zip(facts.offers, profile.affinity.tolist(), strict=False)
    }
    return {offer_id: known for offer_id, known in found.items() if known}

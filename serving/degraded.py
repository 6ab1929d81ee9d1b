"""Degraded: what an answer says, and the metrics count, where something was missing."""

import msgspec

from foundation.decision import DecisionRecord
from foundation.profile import LiveState
from serving import metrics
from serving.decide import Knowledge
from serving.messages import DecisionAnswer
from serving.records import Place

AWAY_CAUSE = "the database does not answer; decisions wait for it on disk, without scarce offers"
UNCOUNTED_CAUSE = "the database did not say in time what she has used; scarce offers are left out"
REFUSALS_CAUSE = "who refused the channel is not known; until the database answers nothing is shown"
UNREAD_CAUSE = "the profile store does not answer; scarce offers are left out"
PLACE_CAUSES: dict[Place, str] = {
    "spool": "the database did not take the record in time; it waits for it on disk",
    "nowhere": "neither the database nor the disk took the record; this decision is not recorded",
}


def without_profile(record: DecisionRecord) -> DecisionRecord:
    """Return the record of a decision for a customer whose profile could not be read.

    Nothing is learned from it: she was decided for as a stranger, and may be none.
    """
    causes = [*record.causes, UNREAD_CAUSE]
    return msgspec.structs.replace(record, causes=causes, propensity_valid=False)


def kept_elsewhere(answer: DecisionAnswer, place: Place) -> DecisionAnswer:
    """Return the answer whose record is not in the database."""
    return msgspec.structs.replace(
        answer,
        decision_id=None if place == "nowhere" else answer.decision_id,
        degraded=True,
        causes=[*answer.causes, PLACE_CAUSES[place]],
    )


def count_degraded(
    known: Knowledge, state: LiveState, record: DecisionRecord, place: Place
) -> None:
    """Count an answer under each of its causes; one without any costs next to nothing."""
    if record.causes:
        unknown = REFUSALS_CAUSE in record.causes
        missing = len(record.causes) - (not state.counted) - unknown
        if missing:
            metrics.DEGRADED.labels("knowledge" if known.causes else "model").inc()
        if unknown:
            metrics.DEGRADED.labels("refusals").inc()
        if not state.counted:
            unread = UNREAD_CAUSE in record.causes
            metrics.DEGRADED.labels("profile" if unread else "live_state").inc()
    if place != "kept":
        metrics.DEGRADED.labels("spooled" if place == "spool" else "not_recorded").inc()

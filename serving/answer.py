"""What a request is told of its decision."""

from msgspec import UNSET

from foundation.decision import DecisionRecord
from foundation.profile import Profile
from serving.decide import Knowledge
from serving.explain import explain
from serving.messages import (
    AnsweredExperiment,
    AnsweredOffer,
    AnsweredPlacement,
    AnsweredVersions,
    DecisionAnswer,
    DecisionRequest,
)


def answer_of(
    request: DecisionRequest, record: DecisionRecord, profile: Profile | None, known: Knowledge
) -> DecisionAnswer:
    """Return the answer that tells a request its record."""
    offers = known.catalogue.by_id
    reasons = _reasons(record, profile, known)
    return DecisionAnswer(
        decision_id=None if request.dry_run else record.decision_id,
        customer_id=record.customer_id,
        degraded=bool(record.causes),
        causes=record.causes,
        placements=[
            AnsweredPlacement(
                name=slate.placement,
                fallback=slate.fallback,
                slate_propensity=slate.slate_propensity,
                offers=[
                    AnsweredOffer(
                        offer_id=shown.offer_id,
                        title=offers[shown.offer_id].title,
                        rank=shown.rank,
                        score=shown.score,
                        propensity=shown.propensity,
                        valid_to=offers[shown.offer_id].valid_to,
                        reasons=reasons.get(shown.offer_id, []),
                    )
                    for shown in slate.offers
                ],
            )
            for slate in record.slates
        ],
        experiments=experiments_of(record),
        versions=versions_of(record),
        considered=explain(record, known.catalogue) if request.explain else UNSET,  # pyright: ignore[reportArgumentType]
    )


def experiments_of(record: DecisionRecord) -> list[AnsweredExperiment]:
    """Return the experiments she was in."""
    return [AnsweredExperiment(one.key, one.variant) for one in record.assignments]


def versions_of(record: DecisionRecord) -> AnsweredVersions:
    """Return what decided."""
    return AnsweredVersions(
        catalogue=record.versions.catalogue,
        model=record.versions.model,
        snapshot=record.versions.snapshot,
        policy=record.policy.kind,
    )


def _reasons(
    record: DecisionRecord, profile: Profile | None, known: Knowledge
) -> dict[str, list[str]]:
    """Return why the offers suit her; nothing where they were not chosen by the model explained."""
    told = known.reasons
    if profile is None or told is None or told.model != record.versions.model:
        return {}
    shown = [one.offer_id for slate in record.slates if not slate.fallback for one in slate.offers]
    return told.of(profile, shown)

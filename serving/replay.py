"""Replay: the same decision again, from its record alone.

The slates are drawn anew by the recorded policy from the recorded scores, with the recorded seed.
Neither the catalogue nor the model nor the snapshot of then is asked; which of them are not live
any more is told.
"""

from collections.abc import Sequence
from math import isclose
from random import Random

from foundation.decision import DecisionRecord, Shown, Slate, Terms
from recommender.policies import Eligible, by_tie
from serving.answer import experiments_of, versions_of
from serving.decide import Knowledge
from serving.messages import (
    ReplayAnswer,
    ReplayedOffer,
    ReplayedPlacement,
)
from serving.slates import drawn_slates

# Thompson's chances are integrals: their last digits are the machine's.
TOLERANCE = 1e-9


def replayed(record: DecisionRecord, known: Knowledge | None) -> ReplayAnswer:
    """Return a decision made again.

    Args:
        known: What is live now; None where nothing is.
    """
    slates = slates_of(record)
    return ReplayAnswer(
        decision_id=record.decision_id,
        customer_id=record.customer_id,
        at=record.at,
        same=_alike(slates, record.slates),
        gone=_gone(record, known),
        placements=[
            ReplayedPlacement(
                slate.placement,
                slate.fallback,
                [ReplayedOffer(o.offer_id, o.rank, o.score, o.propensity) for o in slate.offers],
                slate.slate_propensity,
            )
            for slate in slates
        ],
        experiments=experiments_of(record),
        versions=versions_of(record),
    )


def slates_of(record: DecisionRecord) -> list[Slate]:
    """Return the slates that a record's policy, scores and seed give."""
    usual = Terms()
    terms = {offer_id: record.terms.get(offer_id, usual) for offer_id in record.scores}
    eligible = by_tie(Eligible(i, one.priority, one.exclusive_group) for i, one in terms.items())
    drawn = drawn_slates(
        record.policy,
        [(placement.name, placement.limit) for placement in record.placements],
        eligible,
        {offer_id: one.placements for offer_id, one in terms.items() if one.placements},
        [record.scores[offer.offer_id] for offer in eligible],
        Random(record.seed),  # noqa: S311
    )
    return [
        Slate(
            name,
            [
                Shown(offer.offer_id, rank, record.scores[offer.offer_id], propensity)
                for rank, (offer, propensity) in enumerate(
                    zip(slate.offers, slate.slot_propensities, strict=True), start=1
                )
            ],
            slate.slate_propensity,
            # A fallback of one placement is one of all.
            not record.propensity_valid,
        )
        for name, slate in drawn
    ]


def _alike(drawn: Sequence[Slate], recorded: Sequence[Slate]) -> bool:
    def shown(slates: Sequence[Slate]) -> list[tuple[str, list[str]]]:
        return [(slate.placement, [o.offer_id for o in slate.offers]) for slate in slates]

    def chances(slates: Sequence[Slate]) -> list[float]:
        return [p for s in slates for p in (s.slate_propensity, *(o.propensity for o in s.offers))]

    return shown(drawn) == shown(recorded) and all(
        isclose(new, old, rel_tol=TOLERANCE)
        for new, old in zip(chances(drawn), chances(recorded), strict=True)
    )


def _gone(record: DecisionRecord, known: Knowledge | None) -> list[str]:
    """Return what the decision was made with and is not live any more."""
    if known is None:
        return ["nothing is live: the catalogue is not loaded yet"]
    then, gone = record.versions, list[str]()
    if then.catalogue != known.catalogue.version:
        gone.append(f"catalogue {then.catalogue}, {known.catalogue.version} is live")
        lost = sorted(record.scores.keys() - known.catalogue.by_id.keys())
        if lost:
            gone.append(f"offers {', '.join(lost)}")
    if then.snapshot is not None and then.snapshot != known.snapshot:
        gone.append(f"snapshot {then.snapshot}, {known.snapshot or 'none'} is live")
    live = [one.name for one in (known.scorer, known.uplift) if one is not None]
    if then.model is not None and then.model not in live:
        gone.append(f"model {then.model}, {' and '.join(live) or 'none'} is live")
    return gone

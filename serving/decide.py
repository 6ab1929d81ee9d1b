"""One decision: from a request and what is known to a drawn slate and its record. Pure.

| step | what it does | where |
| --- | --- | --- |
| identify | whose decision, by her id; her key and scope | wire, keyring |
| gather | her profile of the snapshot, her live state in one round trip | service |
| experiments | her variants: they may name the policy and restrict the offers | assign |
| contact policy | consent, quiet hours, contact caps: may she be shown anything here? | reach |
| candidates | validity, channel, store: the same for all who ask | candidates |
| eligibility, caps | her rule, her own cap, what is left, placement | eligibility |
| policy | scores of the policy's model, or a fallback and its cause | scoring |
| slate | drawn with known probability | recommender.policies |
| record | what was known, considered, refused and drawn: replays it | here |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from random import Random

import numpy as np

from foundation.contact_policy import DEFAULT_CONTACT_POLICY, ContactPolicy
from foundation.decision import (
    BasketLine,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Shown,
    Slate,
    Versions,
)
from foundation.errors import RegularsError
from foundation.money import to_minor
from foundation.offer import Offer
from foundation.profile import LiveState, Profile
from foundation.rule_profile import Facts
from foundation.uses import Held
from recommender.value import levered
from serving.assign import assign, policy_of
from serving.catalogue import Catalogue
from serving.lineup import Lineup, Lineups
from serving.messages import DecisionRequest
from serving.reach import unreachable, zone_of
from serving.reasons import Reasons
from serving.scoring import Scorer
from serving.slates import drawn_slates
from serving.steps import Lap, unwatched
from serving.uplift_scoring import UpliftScorer

# How a record holds affinities.
_RECORDED = np.dtype("<f4")


@dataclass(frozen=True)
class Knowledge:
    """What the service holds in memory while it decides; replaced whole, never changed."""

    catalogue: Catalogue
    snapshot: str | None
    feature_names: tuple[str, ...]
    scorer: Scorer | None
    default_policy: Policy
    time_zone: str
    # Uses reserved or redeemed by offer, as last read.
    held: Mapping[str, Held] = field(default_factory=dict[str, Held])
    causes: tuple[str, ...] = ()
    feature_hash: str | None = None
    # Where each offer stands in a profile's affinity.
    places: Mapping[str, int] = field(default_factory=dict[str, int])
    # The uplift model, or why there is none: only those for whom it would decide are told.
    uplift: UpliftScorer | None = None
    uplift_fault: str = "no uplift model; run 'regulars train uplift'"
    reasons: Reasons | None = None
    contact_policy: ContactPolicy = DEFAULT_CONTACT_POLICY

    @cached_property
    def lineups(self) -> Lineups:
        return Lineups(self.catalogue)

    def holding(self, held: Mapping[str, Held]) -> "Knowledge":
        """Return the same knowledge with other uses held."""
        newer = replace(self, held=held)
        # Lineups are of the catalogue, and dear to put together again twice a second.
        newer.__dict__["lineups"] = self.lineups
        return newer


def decide(
    request: DecisionRequest,
    profile: Profile | None,
    state: LiveState,
    known: Knowledge,
    *,
    decision_id: str,
    at: datetime,
    seed: int,
    lap: Lap = unwatched,
) -> DecisionRecord:
    """Decide which offers to show.

    Args:
        profile: The customer in the live snapshot; None when it does not have her.
        state: What happened to her since.
        known: Catalogue, model and policy that are live.
        seed: Chance of this decision; the same seed decides the same.
        lap: Told at the end of each step.
    """
    facts = Facts({}, {}) if profile is None else profile.facts(known.feature_names)
    assignments, variants = assign(
        request.customer_id, request.channel, profile, facts, known.catalogue
    )
    named = policy_of(variants)
    default = known.default_policy
    policy = default if named is None else named_policy(named, default.exploration)
    scored = policy.scored
    assigned = list(zip(assignments, variants, strict=True))
    zone = zone_of(profile, known.time_zone)
    barred = unreachable(known.contact_policy, request.channel, state, zone, at)
    if barred is None:
        lineup = known.lineups.of(request, profile, facts, state, assigned, known.held, at)
    else:
        lineup = Lineup((), (), dict.fromkeys(known.catalogue.by_id, barred), {})
    lap("eligibility")
    context = _context(request)
    causes = list(known.causes)
    # A lever weighs money; a response's score stays a probability.
    levers = lineup.levers if scored == "uplift" else {}
    own = None
    try:
        own = _levered(_own_scores(scored, profile, lineup, known, request, context, at), levers)
    except RegularsError as error:
        causes.append(str(error))
    unscored = scored not in (None, "popular") and own is None
    without = _without_posterior(policy, lineup.offers)
    if without is not None:
        causes.append(f"the thompson policy has no posterior for offer {without!r}; add it")
    # Without a profile, a sound model or a belief nothing can be chosen for her: the popular
    # offers, and the answer says so. A holdout's empty slate needs neither.
    fallback = unscored or without is not None
    drawn_by = Policy("popular") if fallback else policy
    # In the order of the lineup, whoever scored.
    scores = dict(lineup.popularity) if own is None else own
    near = None if profile is None else _affinities(profile, lineup, known)
    lap("score")
    slates = _slates(request, drawn_by, lineup, scores, near, fallback, known, Random(seed))  # noqa: S311
    lap("slate")
    told = None
    if profile is not None:
        told = b"" if near is None else near.astype(_RECORDED, copy=False).tobytes()
    return DecisionRecord(
        decision_id=decision_id,
        customer_id=request.customer_id,
        at=at,
        channel=request.channel,
        placements=[Placement(p.name, p.limit) for p in request.placements],
        context=context,
        known=profile is not None,
        vector=None if profile is None else _nullable(profile.vector),
        assignments=assignments,
        policy=drawn_by,
        scores=scores,
        refusals=lineup.refusals,
        slates=slates,
        seed=seed,
        propensity_valid=not fallback,
        causes=causes,
        versions=Versions(
            catalogue=known.catalogue.version,
            model=_model(scored, known),
            snapshot=known.snapshot,
            features=known.feature_hash,
        ),
        affinity=told,
        levers={} if own is None else dict(levers),
        terms=lineup.terms,
    )


def named_policy(name: str | Policy, exploration: float) -> Policy:
    """Return the policy a variant names; `none` and `random` have nothing left to explore.

    A policy that is whole explores as it says itself.
    """
    if isinstance(name, Policy):
        return name
    return _policy_of_word(name, exploration)


@lru_cache(maxsize=64)
def _policy_of_word(word: str, exploration: float) -> Policy:
    kinds: dict[str, Policy] = {
        "response": Policy("response", exploration),
        "uplift": Policy("uplift", exploration),
        "popular": Policy("popular", exploration),
        "rule": Policy("rule", exploration),
        "random": Policy("random", 1.0),
        "none": Policy("none"),
    }
    return kinds[word]


def _without_posterior(policy: Policy, eligible: Sequence[Offer]) -> str | None:
    """Return an eligible offer that the policy knows nothing of, where it needs to."""
    for part in (policy, *policy.parts):
        if part.kind == "thompson":
            for offer in eligible:
                if offer.offer_id not in part.posteriors:
                    return offer.offer_id
    return None


def _context(request: DecisionRequest) -> Context:
    basket = request.context.basket
    return Context(
        store_id=request.context.store_id,
        basket=None
        if basket is None
        else [BasketLine(b.product_id, b.quantity, to_minor(b.amount)) for b in basket],
    )


def _own_scores(
    scored: str | None,
    profile: Profile | None,
    lineup: Lineup,
    known: Knowledge,
    request: DecisionRequest,
    context: Context,
    at: datetime,
) -> dict[str, float] | None:
    """Return the scores a policy ranks by, of its own model; None where she or it is unknown.

    Raises:
        RegularsError: The model serves nothing that can be used.
    """
    scorer = {"response": known.scorer, "uplift": known.uplift}.get(scored or "")
    if scored == "uplift" and scorer is None:
        raise RegularsError(known.uplift_fault)
    if profile is None or scorer is None:
        return None
    return scorer.scores(
        profile,
        lineup.offers,
        channel=request.channel,
        at=at,
        time_zone=profile.time_zone or known.time_zone,
        basket_amounts=None if context.basket is None else [line.amount for line in context.basket],
    )


def _levered(
    scores: dict[str, float] | None, levers: Mapping[str, float]
) -> dict[str, float] | None:
    """Return the scores as the marketer weighs them.

    Raises:
        RegularsError: A lever is out of bounds.
    """
    if scores is None or not levers:
        return scores
    weighed = {offer_id: levered(scores[offer_id], lever) for offer_id, lever in levers.items()}
    return scores | weighed


def _model(scored: str | None, known: Knowledge) -> str | None:
    scorer = known.uplift if scored == "uplift" else known.scorer
    return None if scorer is None else scorer.name


def _affinities(profile: Profile, lineup: Lineup, known: Knowledge) -> np.ndarray | None:
    """Return what is known of her and each offer, whoever ranks: models learn from it later."""
    if not lineup.offers:
        return None
    near = profile.affinities_to(lineup.places_in(known.places))
    # Nearly always something is known of the first; to look at all takes ten times as long.
    if near is None or any(value == value for value in near[0].tolist()):
        return near
    return None if np.isnan(near).all() else near


def _slates(
    request: DecisionRequest,
    policy: Policy,
    lineup: Lineup,
    scores: dict[str, float],
    near: np.ndarray | None,
    fallback: bool,
    known: Knowledge,
    random: Random,
) -> list[Slate]:
    slates: list[Slate] = []
    placements = [(placement.name, placement.limit) for placement in request.placements]
    drawing = drawn_slates(
        policy, placements, lineup.eligible, known.catalogue.placed, list(scores.values()), random
    )
    for name, drawn in drawing:
        shown: list[Shown] = []
        for offer, propensity in zip(drawn.offers, drawn.slot_propensities, strict=True):
            offer_id = offer.offer_id
            affinity = _affinity(offer_id, near, lineup, known)
            shown.append(Shown(offer_id, len(shown) + 1, scores[offer_id], propensity, affinity))
        slates.append(Slate(name, shown, drawn.slate_propensity, fallback))
    return slates


def _affinity(
    offer_id: str, near: np.ndarray | None, lineup: Lineup, known: Knowledge
) -> list[float | None] | None:
    if near is None or offer_id not in known.places:
        return None
    return _nullable(near[lineup.rows[offer_id]])


def _nullable(vector: np.ndarray) -> list[float | None]:
    return [None if value != value else value for value in vector.tolist()]

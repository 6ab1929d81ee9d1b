"""Candidates: who may be sent which live offer through a channel, and what would it earn?

Rules, caps, stock and experiments are asked by the service's own code, and values come from the
uplift model as the service scores: what a batch sends is what a decision could have shown.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from foundation.contact_policy import Barred, ContactPolicy
from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.offer import Offer
from foundation.profile import LiveState, Profile, SnapshotFacts
from foundation.pseudonym import PREFIX
from foundation.uses import NOTHING_HELD, Held, uses_left
from serving.arms import arms_of
from serving.assign import assign, offers_of, policy_of
from serving.catalogue import Catalogue
from serving.eligibility import refusal, unfit
from serving.profiles import ProfileStore
from serving.reach import unreachable, zone_of
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer

BLOCK = 5_000
NOTHING_TOLD = LiveState({})


@dataclass(frozen=True)
class Running:
    """What the running service knows: catalogue, uses held by offer, what it was told of customers.

    Who is not in `states` was never told of.
    """

    catalogue: Catalogue
    held: Mapping[str, Held]
    states: Mapping[str, LiveState]


@dataclass(frozen=True)
class Scoring:
    """The models of a campaign; without `response` an offer's past redemption rate stands in."""

    uplift: UpliftScorer
    learned: tuple[str, ...]
    response: Scorer | None
    time_zone: str


@dataclass(frozen=True)
class Candidates:
    """Customers who may get at least one of the offers.

    Attributes:
        customers: Their ids, shape (n,).
        offers: Shape (m,).
        effects: What sending causes, minor units, shape (n, m); minus infinity where she may not
            get it.
        responses: Chance of a redemption, shape (n, m).
        contact_costs: What one contact costs and loses with her, minor units, shape (n,).
        considered: Customers in all.
        unvalued: Of `customers`, whose remaining value no model tells.
        left_out: Customers by reason.
    """

    customers: list[str]
    offers: list[Offer]
    effects: np.ndarray
    responses: np.ndarray
    contact_costs: np.ndarray
    considered: int
    unvalued: int
    left_out: dict[str, int]


def everyone(lake: Lake) -> list[str]:
    """Return every customer that is known or has bought and is not forgotten, by id."""
    known = lake.table("customers").select("customer_id")
    bought = lake.table("purchases").select("customer_id")
    rows = lake.fetch(known.union(bought, distinct=True).order_by("customer_id"))
    return [one for one in rows["customer_id"].to_pylist() if not one.startswith(PREFIX)]


def live_by(
    running: Running, learned: Sequence[str], channel: str, at: datetime
) -> tuple[list[Offer], dict[str, str]]:
    """Return the offers that can be sent to some customer, and why each other one cannot.

    Raises:
        NothingToDo: There is none; says why.
    """
    offers: list[Offer] = []
    refused: dict[str, str] = {}
    for offer in running.catalogue.offers:
        reason: str | None = unfit(offer, running.catalogue, at, channel, None)
        if reason is None and stock_of(offer, running) == 0:
            reason = "used_up"
        if reason is None and offer.offer_id not in learned:
            reason = "not_learned"
        if reason is None:
            offers.append(offer)
        else:
            refused[offer.offer_id] = reason
    if not offers:
        counted = Counter(refused.values())
        why = ", ".join(f"{n} {reason}" for reason, n in counted.items()) or "there are none at all"
        raise NothingToDo(
            f"no offer can be sent by {channel} at {at:%Y-%m-%d %H:%M} UTC ({why}); name another "
            "channel or time, or load offers and let 'regulars train uplift' learn them"
        )
    return offers, refused


def stock_of(offer: Offer, running: Running) -> int | None:
    """Return how many more uses an offer has, None for no limit."""
    return uses_left(offer.limits, running.held.get(offer.offer_id, NOTHING_HELD))


def candidates(
    customers: Sequence[str],
    profiles: ProfileStore,
    facts: SnapshotFacts,
    running: Running,
    offers: list[Offer],
    scoring: Scoring,
    *,
    channel: str,
    at: datetime,
    segment: str | None,
    contacts: ContactPolicy,
    advance: Callable[[int], None],
) -> Candidates:
    """Gather who may get what, and what it would earn.

    Args:
        segment: Only members of this living segment; everyone when left out.
        contacts: Consent, caps of contacts and quiet hours at the time of the sending.
    """
    left_out: Counter[str] = Counter()
    columns = [scoring.learned.index(offer.offer_id) for offer in offers]
    ids: list[str] = []
    effects: list[np.ndarray] = []
    responses: list[np.ndarray] = []
    contact_costs: list[float] = []
    unvalued = 0
    for start in range(0, len(customers), BLOCK):
        block = customers[start : start + BLOCK]
        found: list[Profile] = []
        allowed: list[list[bool]] = []
        known = _known(block, profiles, segment, left_out)
        for profile in _reachable(
            known, running, contacts, scoring.time_zone, channel, at, left_out
        ):
            may = _allowed(profile, facts, running, offers, channel)
            if may is None:
                left_out["to whom an experiment shows none"] += 1
            elif not any(may):
                left_out["who may get none of the offers"] += 1
            else:
                found.append(profile)
                allowed.append(may)
        if found:
            caused = scoring.uplift.effects_of_many(
                found, channel=channel, at=at, time_zone=scoring.time_zone
            )[:, columns]
            effects.append(np.where(allowed, caused, -np.inf))
            responses.append(_responses(scoring, found, offers, channel, at))
            ids += [profile.customer_id for profile in found]
            contact_costs += [scoring.uplift.contact(channel, one).total for one in found]
            unvalued += sum(profile.remaining_value is None for profile in found)
        advance(len(block))
    nobody = np.empty((0, len(offers)))
    return Candidates(
        ids,
        offers,
        np.concatenate(effects or [nobody]),
        np.concatenate(responses or [nobody]),
        np.array(contact_costs),
        len(customers),
        unvalued,
        dict(left_out),
    )


def _known(
    customers: Sequence[str], profiles: ProfileStore, segment: str | None, left_out: Counter[str]
) -> Iterator[Profile]:
    for customer_id in customers:
        profile = profiles.get(customer_id)
        if profile is None:
            left_out["whom the snapshot does not know"] += 1
        elif segment is not None and segment not in profile.segments:
            left_out[f"outside of segment {segment}"] += 1
        else:
            yield profile


def _reachable(
    known: Iterable[Profile],
    running: Running,
    policy: ContactPolicy,
    time_zone: str,
    channel: str,
    at: datetime,
    left_out: Counter[str],
) -> Iterator[Profile]:
    said: dict[Barred, str] = {
        "no_consent": f"without consent to {channel}",
        "quiet_hours": "in their quiet hours",
        "contact_cap_day": "contacted as often as a day allows",
        "contact_cap_week": "contacted as often as a week allows",
    }
    for profile in known:
        state = running.states.get(profile.customer_id, NOTHING_TOLD)
        reason = unreachable(policy, channel, state, zone_of(profile, time_zone), at)
        if reason is None:
            yield profile
        else:
            left_out[said[reason]] += 1


def _allowed(
    profile: Profile,
    facts: SnapshotFacts,
    running: Running,
    offers: Sequence[Offer],
    channel: str,
) -> list[bool] | None:
    """Return whether she may get each offer; None where an experiment shows her none at all."""
    hers = profile.facts(facts.names)
    _, variants = assign(profile.customer_id, channel, profile, hers, running.catalogue)
    if policy_of(variants) == "none":
        return None
    restricted = offers_of(variants)
    state = running.states.get(profile.customer_id, NOTHING_TOLD)
    arms = arms_of(profile.customer_id, profile, running.catalogue.shared)
    return [
        (restricted is None or offer.offer_id in restricted)
        and refusal(
            offer,
            running.catalogue,
            hers,
            profile,
            state,
            store_id=None,
            held=running.held,
            arm=arms.get(offer.offer_id),
        )
        is None
        for offer in offers
    ]


def _responses(
    scoring: Scoring,
    profiles: Sequence[Profile],
    offers: Sequence[Offer],
    channel: str,
    at: datetime,
) -> np.ndarray:
    if scoring.response is None:
        return np.tile([offer.popularity for offer in offers], (len(profiles), 1))
    return scoring.response.scores_of_many(
        profiles, offers, channel=channel, at=at, time_zone=scoring.time_zone
    )

"""May this offer be shown to this customer, here, now? If not, one code says why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from experiments.shared_cap import arm_exhausted
from foundation.offer import Offer
from foundation.profile import LiveState, Profile
from foundation.rule_profile import Facts
from foundation.uses import NOTHING_HELD, Arm, Exhausted, Held, exhausted
from serving.catalogue import Catalogue

Reason = Literal[
    "not_started",
    "expired",
    "wrong_channel",
    "wrong_placement",
    "wrong_store",
    "not_in_variant",
    "rule_pending",
    "rule_invalid",
    "not_eligible",
    "uncountable",
    "customer_cap_reached",
    "cap_reached",
    "budget_spent",
    "out_of_stock",
]


def refusal(
    offer: Offer,
    catalogue: Catalogue,
    facts: Facts,
    profile: Profile | None,
    state: LiveState,
    *,
    store_id: str | None,
    held: Mapping[str, Held],
    arm: Arm | None = None,
) -> Reason | None:
    """Return why a candidate may not be shown to this customer, None when it may.

    Args:
        held: Uses reserved or redeemed by offer, of all customers.
        arm: Whose part of the offer's limits is hers; None where it is not shared out.
    """
    rule = catalogue.rules.get(offer.offer_id)
    if rule is not None and not rule(facts):
        return "not_eligible"
    if not state.counted and is_scarce(offer):
        return "uncountable"
    if offer.customer_cap is not None and _used(offer, profile, state) >= offer.customer_cap:
        return "customer_cap_reached"
    if offer.offer_id in state.activated:
        # Hers is reserved, whatever others took since.
        return None
    return spent(offer, store_id, held, arm)


def spent(
    offer: Offer, store_id: str | None, held: Mapping[str, Held], arm: Arm | None
) -> Exhausted | None:
    """Return why there is no use left of an offer, None when there is one.

    Args:
        held: As of `refusal`.
        arm: As of `refusal`.
    """
    taken = held.get(offer.offer_id, NOTHING_HELD)
    left = _exhausted(offer, taken, store_id)
    return arm_exhausted(arm, offer.limits, taken) if left is None and arm is not None else left


def unfit(
    offer: Offer, catalogue: Catalogue, at: datetime, channel: str | None, store_id: str | None
) -> Reason | None:
    """Return why an offer is for nobody here and now.

    Args:
        channel: None where it does not matter which, as at a till that redeems.
    """
    if at < offer.valid_from:
        return "not_started"
    if at >= offer.valid_to:
        return "expired"
    if offer.channels and channel is not None and channel not in offer.channels:
        return "wrong_channel"
    if offer.stores and store_id is not None and store_id not in offer.stores:
        return "wrong_store"
    if offer.offer_id in catalogue.pending:
        return "rule_pending"
    return "rule_invalid" if offer.offer_id in catalogue.invalid else None


def is_scarce(offer: Offer) -> bool:
    """Whether there is a limit to how often an offer may be used."""
    return offer.customer_cap is not None or offer.limits.scarce


def inapplicable(
    offer: Offer, catalogue: Catalogue, facts: Facts, at: datetime, store_id: str | None
) -> Reason | None:
    """Return why an offer is not for this customer here and now, whatever is left of it."""
    reason = unfit(offer, catalogue, at, None, store_id)
    if reason is not None:
        return reason
    rule = catalogue.rules.get(offer.offer_id)
    return "not_eligible" if rule is not None and not rule(facts) else None


def _exhausted(offer: Offer, held: Held, store_id: str | None) -> Exhausted | None:
    if store_id is None and offer.limits.store_stock:
        # Asked from home: it may be shown while any store has a piece.
        reason = None
        for store in offer.limits.store_stock:
            reason = exhausted(offer.limits, held, store)
            if reason is None:
                return None
        return reason
    return exhausted(offer.limits, held, store_id)


def _used(offer: Offer, profile: Profile | None, state: LiveState) -> int:
    """Return how often she redeemed an offer: in loaded history, and as the service was told."""
    before = 0 if profile is None else profile.redemptions.get(offer.offer_id, 0)
    return before + state.redemptions.get(offer.offer_id, 0)

"""May this offer be shown to this customer, here, now? If not, one code says why."""

from datetime import datetime
from typing import Literal

from foundation.offer import Offer
from foundation.profile import LiveState, Profile
from foundation.rule_profile import Facts
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
    "customer_cap_reached",
]


def refusal(
    offer: Offer,
    catalogue: Catalogue,
    facts: Facts,
    profile: Profile | None,
    state: LiveState,
    *,
    at: datetime,
    channel: str,
    store_id: str | None,
    offers_of_variant: frozenset[str] | None,
) -> Reason | None:
    """Return why an offer may not be shown anywhere in this answer, None when it may."""
    if at < offer.valid_from:
        return "not_started"
    if at >= offer.valid_to:
        return "expired"
    if offer.channels and channel not in offer.channels:
        return "wrong_channel"
    if offer.stores and store_id is not None and store_id not in offer.stores:
        return "wrong_store"
    if offers_of_variant is not None and offer.offer_id not in offers_of_variant:
        return "not_in_variant"
    if offer.offer_id in catalogue.pending:
        return "rule_pending"
    if offer.offer_id in catalogue.invalid:
        return "rule_invalid"
    rule = catalogue.rules.get(offer.offer_id)
    if rule is not None and not rule(facts):
        return "not_eligible"
    if offer.customer_cap is not None and _used(offer, profile, state) >= offer.customer_cap:
        return "customer_cap_reached"
    return None


def _used(offer: Offer, profile: Profile | None, state: LiveState) -> int:
    """Return how often she redeemed an offer: in loaded history, and as the service was told."""
    before = 0 if profile is None else profile.redemptions.get(offer.offer_id, 0)
    return before + state.redemptions.get(offer.offer_id, 0)

"""Arms: whose part of a shared cap or budget does this customer's use count under?

That is her variant by the hash alone, whatever the channel and whoever is in the audience: a till
redeems what an app showed, and those outside weigh on all arms alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.assignment import assigned_variant
from experiments.design import Experiment, Variant
from foundation.offer import Offer
from foundation.profile import Profile
from foundation.uses import Arm
from serving.units import unit_of


@dataclass(frozen=True, slots=True)
class Shared:
    """An offer that several variants of an experiment show; `weights` by arm."""

    experiment: Experiment
    weights: dict[str, float]


def shared_offers(offers: Sequence[Offer], experiments: Sequence[Experiment]) -> dict[str, Shared]:
    """Return by id the limited offers that several variants show, each in one experiment.

    Where several experiments share an offer, the first one's arms are kept apart.
    """
    found: dict[str, Shared] = {}
    for offer in offers:
        limits = offer.limits
        if (limits.total_cap, limits.budget, limits.stock) == (None, None, None):
            continue
        for experiment in experiments:
            weights = {
                arm_name(experiment, variant): variant.weight
                for variant in experiment.variants
                if _shows(variant, offer.offer_id)
            }
            if len(weights) > 1:
                found[offer.offer_id] = Shared(experiment, weights)
                break
    return found


def arm_of(
    customer_id: str, profile: Profile | None, offer_id: str, shared: Mapping[str, Shared]
) -> Arm | None:
    """Return the arm that a customer's use of an offer counts under, None where there is none."""
    found = shared.get(offer_id)
    if found is None:
        return None
    unit = unit_of(found.experiment, customer_id, profile)
    variant = None if unit is None else assigned_variant(found.experiment, unit)
    if variant is None:
        return None
    name = arm_name(found.experiment, variant)
    return Arm(name, found.weights) if name in found.weights else None


def arm_name(experiment: Experiment, variant: Variant) -> str:
    """Return what an arm is called among all experiments'."""
    return f"{experiment.key}/{variant.name}"


def _shows(variant: Variant, offer_id: str) -> bool:
    if variant.policy == "none":
        return False
    return variant.offers is None or offer_id in variant.offers

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


def shares_of(
    customer_id: str, profile: Profile | None, sharing: Sequence[Experiment]
) -> tuple[str | None, ...]:
    """Return her variants in the experiments that share offers out: who has the same has the same
    arms. None where she has none.
    """
    units = [unit_of(experiment, customer_id, profile) for experiment in sharing]
    variants = [
        None if unit is None else assigned_variant(experiment, unit)
        for experiment, unit in zip(sharing, units, strict=True)
    ]
    return tuple([None if variant is None else variant.name for variant in variants])


def arms_of(
    customer_id: str, profile: Profile | None, shared: Mapping[str, Shared]
) -> dict[str, Arm]:
    """Return by offer the arm that a customer's use counts under; none where it is not known."""
    variants: dict[str, Variant | None] = {}
    found: dict[str, Arm] = {}
    for offer_id, one in shared.items():
        key = one.experiment.key
        if key not in variants:
            unit = unit_of(one.experiment, customer_id, profile)
            variants[key] = None if unit is None else assigned_variant(one.experiment, unit)
        variant = variants[key]
        if variant is None:
            continue
        name = arm_name(one.experiment, variant)
        if name in one.weights:
            found[offer_id] = Arm(name, one.weights)
    return found


def arm_name(experiment: Experiment, variant: Variant) -> str:
    """Return what an arm is called among all experiments'."""
    return f"{experiment.key}/{variant.name}"


def _shows(variant: Variant, offer_id: str) -> bool:
    if variant.policy == "none":
        return False
    return variant.offers is None or offer_id in variant.offers

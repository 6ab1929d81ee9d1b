"""Which experiments is this customer in, when she is asked for here and now?

She is in an experiment from the first decision on in which its audience held her. When she leaves
the audience she is not assigned any more and gets what everybody gets; the analysis keeps her in
her variant (intention to treat), since leaving may be the offer's own doing.
"""

from collections.abc import Sequence

from experiments.assignment import assigned_variant, variant_of
from experiments.design import Experiment, Variant
from experiments.holdout import is_held_out
from foundation.decision import Assignment, Policy
from foundation.profile import Profile
from foundation.rule_profile import Facts
from serving.catalogue import Catalogue
from serving.units import unit_of


def assign(
    customer_id: str,
    channel: str,
    profile: Profile | None,
    facts: Facts,
    catalogue: Catalogue,
) -> tuple[list[Assignment], list[Variant]]:
    """Return her assignments, and what their variants say she gets.

    A customer in the global holdout is in no other experiment.
    """
    assignments: list[Assignment] = []
    variants: list[Variant] = []
    holdout = catalogue.holdout
    if holdout is not None:
        variant = variant_of(holdout, customer_id)
        assignments.append(Assignment(holdout.key, variant.name, customer_id))
        variants.append(variant)
        if is_held_out(holdout, customer_id):
            return assignments, variants
    for experiment in catalogue.trials:
        if experiment.channels and channel not in experiment.channels:
            continue
        unit = unit_of(experiment, customer_id, profile)
        if unit is None or not _in_audience(experiment, profile, facts, catalogue):
            continue
        assigned = assigned_variant(experiment, unit)
        if assigned is not None:
            assignments.append(Assignment(experiment.key, assigned.name, unit))
            variants.append(assigned)
    return assignments, variants


def policy_of(variants: Sequence[Variant]) -> str | Policy | None:
    """Return the policy that decides for her by her variants, None where none names one."""
    return next((variant.policy for variant in variants if variant.policy is not None), None)


def offers_of(variants: Sequence[Variant]) -> frozenset[str] | None:
    """Return the offers that her variants leave, None where they leave all."""
    sets = [frozenset(v.offers) for v in variants if v.offers is not None]
    return frozenset.intersection(*sets) if sets else None


def _in_audience(
    experiment: Experiment, profile: Profile | None, facts: Facts, catalogue: Catalogue
) -> bool:
    if experiment.audience is None:
        return True
    # An audience that this snapshot cannot judge yet holds nobody.
    holds = catalogue.audiences.get(experiment.key)
    return profile is not None and holds is not None and holds(facts)

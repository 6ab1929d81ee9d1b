"""Contamination: who saw what she should not have, and who saw it without being assigned?

Both make variants more alike than the plan wanted, so that an effect looks smaller than it is.
"""

import msgspec
import pandas as pd

from experiments.design import Experiment, Variant

# Of a variant's customers: an effect that shrinks by a twentieth is well inside its interval.
MOST_CONTAMINATED = 0.05


class Contamination(msgspec.Struct, frozen=True):
    """Customers by what went wrong.

    `in_two` are seen in two variants: they moved between households or stores. `other_offers`
    counts by variant who saw an offer that only other variants have. `unassigned` saw an offer of
    the experiment and no decision was ever recorded for them. None is what cannot be told: variants
    that name no offers cannot be told apart by what was seen. `customers` are those assigned, by
    variant.
    """

    customers: dict[str, int]
    in_two: int
    other_offers: dict[str, int] | None = None
    unassigned: int | None = None


def contamination(plan: Experiment, assigned: pd.DataFrame, seen: pd.DataFrame) -> Contamination:
    """Count who was exposed to what she should not have been.

    Args:
        plan: The experiment.
        assigned: A row for each customer and variant: customer_id, variant, since.
        seen: Offers that customers saw, activated or redeemed while it ran: customer_id, offer_id,
            channel, at (the last time), and decided, whether any decision was ever recorded for
            her.
    """
    inside = seen[seen["channel"].isin(plan.channels)] if plan.channels else seen
    firsts = assigned.groupby(["customer_id", "variant"], as_index=False).agg(
        since=("since", "min")
    )
    counted = firsts["variant"].value_counts()
    customers = {one.name: int(counted.get(one.name, 0)) for one in plan.variants}
    named = {offer for one in plan.variants for offer in one.offers or ()}
    unassigned = None
    if named:
        strangers = inside[inside["offer_id"].isin(named) & ~inside["decided"]]
        strangers = strangers[~strangers["customer_id"].isin(firsts["customer_id"])]
        unassigned = int(strangers["customer_id"].nunique())
    return Contamination(
        customers=customers,
        in_two=int(firsts["customer_id"].duplicated().sum()),
        other_offers=_other_offers(plan, firsts, inside),
        unassigned=unassigned,
    )


def contamination_faults(plan: Experiment, found: Contamination) -> tuple[list[str], list[str]]:
    """Return what is wrong as faults, for which no effect may be shown, and as warnings."""
    faults: list[str] = []
    warnings: list[str] = []
    total = sum(found.customers.values())

    def judge(count: int, of: int, line: str, forgiven: bool = False) -> None:
        if count:
            much = count > MOST_CONTAMINATED * of and not forgiven
            (faults if much else warnings).append(f"{line} ({count / max(of, 1):.2%})")

    judge(
        found.in_two,
        total,
        f"contaminated: {found.in_two:,} customers were seen in two variants, having moved between "
        f"{plan.unit}s",
    )
    for variant, count in (found.other_offers or {}).items():
        judge(
            count,
            found.customers[variant],
            f"contaminated: {count:,} customers of {variant} saw offers that only others should",
            # Who has left the audience gets what everybody gets.
            forgiven=plan.audience is not None,
        )
    unassigned = found.unassigned or 0
    judge(
        unassigned,
        total + unassigned,
        f"exposed without assignment: {unassigned:,} customers saw an offer of the experiment and "
        "no decision was recorded for them",
    )
    return faults, warnings


def sees_nothing(variant: Variant) -> bool:
    """Whether a variant shows no offer at all."""
    return variant.policy == "none" or variant.offers == []


def _other_offers(
    plan: Experiment, firsts: pd.DataFrame, seen: pd.DataFrame
) -> dict[str, int] | None:
    told = {one.name: others for one in plan.variants if (others := _forbidden(plan, one)) != set()}
    if not told:
        return None
    # Seen in her variant, from her own first decision on.
    both = seen.merge(firsts, on="customer_id")
    both = both[both["at"] >= both["since"]]
    found: dict[str, int] = {}
    for name, others in told.items():
        mine = both[both["variant"] == name]
        wrong = mine if others is None else mine[mine["offer_id"].isin(others)]
        found[name] = int(wrong["customer_id"].nunique())
    return found


def _forbidden(plan: Experiment, variant: Variant) -> set[str] | None:
    """Return the offers that only other variants have, None for every offer; none: empty."""
    if sees_nothing(variant):
        return None
    if variant.offers is None:
        return set()
    others = {offer for one in plan.variants for offer in one.offers or ()}
    return others - set(variant.offers)

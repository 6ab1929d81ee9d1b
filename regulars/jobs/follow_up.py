"""Follow-up: for how long does each customer count, where a plan does not say so?

An offer often only moves a purchase forward; the dip comes after. So a plan in money that names an
end follows each customer through two purchase cycles, as long as the lake's own customers take.
"""

import math
from datetime import datetime

import ibis
import msgspec

from experiments.design import Experiment
from experiments.metric_titles import titled
from foundation.lake import Lake

CYCLES = 2
# Of fewer who came again a median says little.
LEAST_CUSTOMERS = 30
_WEEK = 7


def with_follow_up(lake: Lake, plan: Experiment, now: datetime) -> tuple[Experiment, str | None]:
    """Return a plan with its follow-up days, and what was chosen for it and why, if anything.

    What says how long, has no end, or does not decide on money stays as it is.

    Args:
        lake: Real shoppers' alone.
        plan: Not started yet.
        now: The history ends here.
    """
    if plan.follow_up_days is not None or plan.stop is None:
        return plan, None
    if not titled(plan.primary_metric).money:
        return plan, None
    cycle = purchase_cycle(lake, now)
    if cycle is None:
        return plan, (
            f"each {plan.unit} counts until the report ends: fewer than {LEAST_CUSTOMERS} "
            "customers of the lake came twice, so no purchase cycle is known"
        )
    # Whole weeks, so that each has every weekday as often.
    days = max(1, math.ceil(CYCLES * cycle / _WEEK)) * _WEEK
    told = (
        f"each {plan.unit} counts for {days} days from its first decision, two purchase cycles "
        f"(customers who come again come every {cycle:.3g} days, in the middle); write "
        "follow_up_days to choose, 0 for until the report ends"
    )
    return msgspec.structs.replace(plan, follow_up_days=days), told


def purchase_cycle(lake: Lake, now: datetime) -> float | None:
    """Return the median of customers' mean days between two purchase days; None of too few.

    Only who bought on two days has one.
    """
    lines = lake.table("purchases")
    bought = lines.filter((lines.amount > 0) & (lines["at"] < ibis.literal(now)))
    each = bought.group_by("customer_id").aggregate(
        first=bought.local_day.min(), last=bought.local_day.max(), days=bought.local_day.nunique()
    )
    again = each.filter(each.days > 1)
    gaps = again.mutate(gap=(again.last - again.first).cast("float64") / (again.days - 1))
    found = lake.fetch(gaps.aggregate(median=gaps.gap.median(), customers=gaps.count()))
    (told,) = found.to_pylist()
    return float(told["median"]) if told["customers"] >= LEAST_CUSTOMERS else None

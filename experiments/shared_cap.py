"""A shared cap or budget, split between variants, so that one arm cannot starve the other.

If both arms drew on one cap, the quicker arm would use it up, and the slower one would look worse
for having come late. Each arm therefore has a part of its own, and a part that is used up ends the
offer for that arm alone.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from foundation.errors import RegularsError
from foundation.uses import NOTHING_HELD, Arm, Exhausted, Held, Limits


class InvalidCap(RegularsError):
    """A cap cannot be split like this."""


def split_cap(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return each variant's part of a cap (uses) or a budget (minor units).

    A part is within 1 of its exact share, and the parts sum to the total. What is left after
    rounding down goes to the largest remainders, one each; of equal ones, to the first listed.

    Args:
        total: The cap, at least 0.
        weights: By the variant's name, above 0; they need not sum to 1. Only variants that show
            the offer; where customers outside the experiment use it as well, they are one more
            part, with the weight of their traffic.

    Raises:
        InvalidCap: The total is negative, there is no weight, or one is not above 0.

    Source: the largest remainder method (Hamilton); shares are exact fractions.
    """
    if total < 0:
        raise InvalidCap(f"a cap of {total} cannot be split; a cap is at least 0")
    if not weights:
        raise InvalidCap("no variant shows the offer, so its cap has no parts; name one")
    for name, weight in weights.items():
        # `not > 0` also catches NaN.
        if not weight > 0 or math.isinf(weight):
            raise InvalidCap(
                f"variant {name!r} has weight {weight} in a cap, it must be above 0; leave out "
                "variants that do not show the offer"
            )
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    all_weights = sum(exact.values())
    shares = {name: total * weight / all_weights for name, weight in exact.items()}
    parts = {name: math.floor(share) for name, share in shares.items()}
    left = total - sum(parts.values())
    # The sort keeps the order of equal ones.
    for name in sorted(shares, key=lambda name: parts[name] - shares[name])[:left]:
        parts[name] += 1
    return parts


def arm_exhausted(arm: Arm, limits: Limits, held: Held) -> Exhausted | None:
    """Return why an arm may not take one more use of an offer, None when it may.

    Shared out is what others than the arms leave of each limit: uses from before the experiment,
    and of customers outside of it, shorten all parts alike. Stock by store is not shared out.

    Args:
        arm: Who asks, and the weights of all arms.
        limits: Of the offer in all.
        held: What is used of it, by arm and in all.
    """
    arms = {name: held.by_arm.get(name, NOTHING_HELD) for name in arm.weights}
    mine = arms[arm.name]
    other_uses = held.uses - sum(one.uses for one in arms.values())
    other_cost = held.cost - sum(one.cost for one in arms.values())

    def part(total: int, others: int) -> int:
        return _parts(max(total - others, 0), tuple(arm.weights.items()))[arm.name]

    if limits.total_cap is not None and mine.uses >= part(limits.total_cap, other_uses):
        return "cap_reached"
    if limits.budget is not None and mine.cost + limits.cost > part(limits.budget, other_cost):
        return "budget_spent"
    if limits.stock is not None and mine.uses >= part(limits.stock, other_uses):
        return "out_of_stock"
    return None


@lru_cache(maxsize=4096)
def _parts(total: int, weights: tuple[tuple[str, float], ...]) -> dict[str, int]:
    # Asked for with every decision, of few totals.
    return split_cap(total, dict(weights))

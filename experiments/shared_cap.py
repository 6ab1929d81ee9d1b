"""A shared cap or budget, split between variants, so that one arm cannot starve the other.

If both arms drew on one cap, the quicker arm would use it up, and the slower one would look worse
for having come late. Each arm therefore has a part of its own, and a part that is used up ends the
offer for that arm alone.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

from foundation.errors import RegularsError


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

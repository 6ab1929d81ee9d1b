"""Contamination: who saw what she should not have, and who saw it without being assigned?

Both make variants more alike than the plan wanted, so that an effect looks smaller than it is.
"""

import msgspec


class Contamination(msgspec.Struct, frozen=True):
    """Customers by what went wrong; shares are of the customers assigned.

    `in_two` are seen in two variants: they moved between households or stores. `other_offers`
    counts by variant who saw an offer that only other variants have. `unassigned` saw an offer of
    the experiment and no decision was ever recorded for them. None is what cannot be told: variants
    that name no offers cannot be told apart by what was seen.
    """

    customers: int
    in_two: int
    other_offers: dict[str, int] | None = None
    unassigned: int | None = None

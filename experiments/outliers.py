"""Outliers: does the result rest on a handful of customers?"""

import msgspec


class TopFew(msgspec.Struct, frozen=True):
    """How much of a variant's total the few largest units hold, in absolute values.

    `share` is of all units' absolute values; `largest` that of the largest one alone.
    """

    metric: str
    variant: str
    units: int
    top: int
    share: float
    largest: float

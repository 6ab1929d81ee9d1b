"""The effect over time: what would the report have said at the end of each day?

The interval is always valid: whoever reads the whole curve looks at every day at once.
"""

import msgspec

from experiments.effect import Effect


class Day(msgspec.Struct, frozen=True):
    """A variant's effect on all that was known by the end of a day (ISO, UTC)."""

    day: str
    variant: str
    units: int
    effect: Effect


class OverTime(msgspec.Struct, frozen=True):
    """The curve of one metric, oldest day first; the last day ends with the report."""

    metric: str
    days: list[Day] = msgspec.field(default_factory=list[Day])

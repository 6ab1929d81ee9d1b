"""Novelty: does the effect last, or wear off week by week?

Compared are weeks since each unit's first decision, among units that had all of them: otherwise
late weeks would be those of early customers alone.
"""

import msgspec

from experiments.effect import Effect


class Week(msgspec.Struct, frozen=True):
    """The effect in one week since the first decision; week 1 is its first seven days."""

    week: int
    effect: Effect


class Novelty(msgspec.Struct, frozen=True):
    """A variant's effect by week, and the trend: how much it changes from one week to the next.

    `units` had all weeks. `trend.difference` is the mean change of the effect a week; below 0 the
    effect wears off. Where it cannot be judged, `trend.refused` says why.
    """

    metric: str
    variant: str
    units: int
    weeks: list[Week]
    trend: Effect

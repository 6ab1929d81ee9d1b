"""The effect on one metric: what a variant changed against the control, or why that is not said."""

import msgspec


class Effect(msgspec.Struct, frozen=True):
    """One metric in one variant beside the control, a figure per unit each.

    The difference is what to decide on; `method` says how its interval and p-value were made:
    welch, randomisation, score, order statistics, always valid, group sequential. Where the data
    cannot carry them there is none, and `refused` says why.
    """

    mean: float
    control_mean: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    refused: str | None = None
    method: str = "welch"

"""Non-inferiority: did a variant make a guardrail's metric worse by more than the plan tolerates?

Absence of proof is no proof of absence: a guardrail holds only where the interval excludes the
margin. Until then it is open, and an open one does not let a variant ship.
"""

from typing import Literal

import msgspec

Standing = Literal["holds", "broken", "open"]


class Guarded(msgspec.Struct, frozen=True):
    """A guardrail in one variant: what it may lose, what it lost, and whether that is proven.

    `margin` and the figures are in the data's unit (money: minor units), `better` says which way is
    good. The interval has `confidence`, widened for the number of variants. Without figures
    `standing` is open, and `refused` says why.
    """

    metric: str
    variant: str
    margin: float
    better: Literal["higher", "lower"]
    standing: Standing
    confidence: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    refused: str | None = None

"""Non-inferiority: did a variant make a guardrail's metric worse by more than the plan tolerates?

Absence of proof is no proof of absence: a guardrail holds only where the interval excludes the
margin. Until then it is open, and an open one does not let a variant ship.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from experiments.effect import Effect
from experiments.plan import Guardrail

Standing = Literal["holds", "broken", "open"]
# Of each metric, by variant.
Effects = Mapping[str, Mapping[str, Effect]]


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


def guarded(
    guardrails: Sequence[Guardrail],
    treatments: Sequence[str],
    measured: Callable[[float], Effects],
    confidence: float = 0.95,
) -> list[Guarded]:
    """Hold every guardrail of a plan against every variant.

    To ship, all guardrails of a variant must hold: a test of "all" needs no correction for their
    number (Berger 1982), only for that of the variants. Any one of them broken stops a variant, so
    "broken" is corrected for the number of both (Bonferroni).

    Args:
        guardrails: Of the plan, with margins in the data's unit.
        treatments: The variants other than the control.
        measured: Gives the effects on the guardrails' metrics with intervals of a confidence; a
            metric that it lacks cannot be measured.
        confidence: Of the two-sided interval of a single comparison: each of its bounds is a
            one-sided test at half the error.

    Source: the margin against the bound of a two-sided 95 % interval, ICH E9 (1998), 3.3.2.
    """
    if not guardrails or not treatments:
        return []
    holding = 1 - (1 - confidence) / len(treatments)
    breaking = 1 - (1 - confidence) / len(treatments) / len(guardrails)
    narrow, wide = measured(holding), measured(breaking)
    return [
        _stands(guardrail, variant, narrow, wide, holding)
        for guardrail in guardrails
        for variant in treatments
    ]


def _stands(
    guardrail: Guardrail, variant: str, narrow: Effects, wide: Effects, confidence: float
) -> Guarded:
    def told(standing: Standing, effect: Effect | None, refused: str | None = None) -> Guarded:
        return Guarded(
            metric=guardrail.metric,
            variant=variant,
            margin=guardrail.margin,
            better=guardrail.better,
            standing=standing,
            confidence=confidence,
            difference=None if effect is None else effect.difference,
            low=None if effect is None else effect.low,
            high=None if effect is None else effect.high,
            refused=refused,
        )

    if guardrail.metric not in narrow:
        known = ", ".join(narrow) or "none of the plan's guardrails"
        return told(
            "open",
            None,
            f"metric {guardrail.metric!r} is not measured here, only {known}; measure it, or plan "
            "a guardrail that is",
        )
    effect, wider = narrow[guardrail.metric][variant], wide[guardrail.metric][variant]
    if effect.low is None or effect.high is None or wider.low is None or wider.high is None:
        return told("open", effect, effect.refused or wider.refused)
    higher = guardrail.better == "higher"
    holds = effect.low > guardrail.margin if higher else effect.high < guardrail.margin
    broken = wider.high < guardrail.margin if higher else wider.low > guardrail.margin
    return told("holds" if holds else "broken" if broken else "open", effect)


def guardrail_words(one: Guarded, show: Callable[[float], str]) -> str:
    """Return how a guardrail stands, in one line."""
    worse = "fall" if one.better == "higher" else "rise"
    told = f"guardrail {one.metric}, {one.variant}: {one.standing}"
    allowed = f"it may {worse} by {show(abs(one.margin))}"
    if one.difference is None or one.low is None or one.high is None:
        return f"{told}, {allowed}; no comparison, {one.refused}"
    return (
        f"{told}, {allowed} and changed by {show(one.difference)} ({one.confidence * 100:.4g} % "
        f"interval {show(one.low)} to {show(one.high)})"
    )

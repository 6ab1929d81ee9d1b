"""First crossings: what a group sequential plan decides when its looks are walked in their order.

Who crossed a boundary at a look has proven its effect for good: a later look, on more data, does
not take it back, and may not be waited for. So each variant stands with its first crossing, and the
verdict is that of the first look that is not to go on. As it stopped because it was far out, what
it says of the effect's size is corrected for the looks.
"""

from collections.abc import Mapping, Sequence

import msgspec

from experiments.design import Experiment
from experiments.effect import Effect
from experiments.group_sequential import Spending, boundaries, stopped
from experiments.looks import Look
from experiments.non_inferiority import Guarded
from experiments.verdict import Verdict, verdict


class Judged(msgspec.Struct, frozen=True):
    """What was known at a look: effects on the primary metric by variant, p-values adjusted."""

    look: Look
    effects: Mapping[str, Effect]
    guardrails: Sequence[Guarded] = ()
    fault: str | None = None


class Stagewise(msgspec.Struct, frozen=True):
    """A variant's effect at its first crossing: median-unbiased, with its interval and p-value."""

    look: int
    difference: float
    low: float
    high: float
    p: float


class Decided(msgspec.Struct, frozen=True):
    """The verdict, the place of its look among those walked, and who had crossed by then."""

    verdict: Verdict
    place: int
    crossed: dict[str, Stagewise]


def first_crossing(
    plan: Experiment,
    walked: Sequence[Judged],
    minimum: float | None,
    halted: bool,
    confidence: float = 0.95,
) -> Decided:
    """Return what the looks reached so far decide, the first that decides at all.

    Args:
        plan: As locked, group sequential.
        walked: The looks in their order, one at least, each judged as of its instant.
        minimum: The plan's smallest effect worth acting on, in the data's unit.
        halted: Whether somebody stopped it after the last of them.
        confidence: 1 - the error of the decision.

    Source: first crossings, Lan and DeMets 1983; estimates, see `group_sequential.stopped`.
    """
    held: dict[str, Effect] = {}
    crossed: dict[str, Stagewise] = {}
    found = Verdict("continue", "no look has come")
    for place, judged in enumerate(walked):
        for variant, effect in judged.effects.items():
            if variant in crossed:
                continue
            held[variant] = effect
            if judged.fault is None and _crosses(effect, 1 - confidence):
                level = 1 - (1 - confidence) / len(judged.effects)
                crossed[variant] = _stagewise(plan, judged.look, effect, level, confidence)
        look = judged.look
        last = place + 1 == len(walked)
        found = verdict(
            plan,
            {name: held[name] for name in judged.effects},
            judged.guardrails,
            judged.fault,
            minimum,
            ended=look.number == look.of,
            stopped=halted and last,
            confidence=confidence,
        )
        if found.action != "continue" or last:
            return Decided(found, place, crossed)
    return Decided(found, len(walked), crossed)


def _crosses(effect: Effect, alpha: float) -> bool:
    p = effect.p if effect.p_adjusted is None else effect.p_adjusted
    return p is not None and p < alpha


def _stagewise(
    plan: Experiment, look: Look, effect: Effect, level: float, confidence: float
) -> Stagewise:
    spending: Spending = "pocock" if plan.method == "pocock" else "obrien_fleming"
    fractions = [number / look.of for number in range(1, look.number + 1)]
    amounts = look.information or tuple(fractions)
    bounds = boundaries(fractions, 1 - level, spending, information=amounts)
    # Information in parts of this look's: a drift of 1 is then one standard error.
    error, estimate = effect.standard_error or 0.0, effect.difference or 0.0
    told = stopped(
        [amount / amounts[-1] for amount in amounts],
        bounds.tolist(),
        estimate / error,
        confidence=confidence,
    )
    return Stagewise(look.number, told.drift * error, told.low * error, told.high * error, told.p)

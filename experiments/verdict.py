"""The verdict: ship, stop or continue, as the locked plan says and nothing else.

Who has the plan and the figures comes to the same verdict; nobody's hopes enter it. A variant
ships where its gain on the primary metric is proven, its likeliest size is worth acting on, and
every guardrail holds. Which way is better the metric says: fewer complaints are a gain.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from experiments.design import Experiment
from experiments.effect import Effect
from experiments.metric_titles import titled
from experiments.non_inferiority import Guarded

Action = Literal["ship", "stop", "continue"]
# What the figures of one variant call for; the first three are final.
Finding = Literal["gains", "loses", "too small", "breaks a guardrail", "guardrail open", "open"]


class Verdict(msgspec.Struct, frozen=True):
    """What to do, which variant to ship (None unless `action` is ship), and the sentence why.

    `ended` says whether the plan's end was reached; `variants` what each one's figures say, empty
    where the plan does not judge yet.
    """

    action: Action
    why: str
    variant: str | None = None
    ended: bool = False
    variants: dict[str, Finding] = msgspec.field(default_factory=dict[str, Finding])


def verdict(
    plan: Experiment,
    effects: Mapping[str, Effect],
    guardrails: Sequence[Guarded],
    fault: str | None,
    minimum: float | None,
    ended: bool,
    stopped: bool,
    confidence: float = 0.95,
) -> Verdict:
    """Return what the locked plan says to do.

    Args:
        plan: As locked.
        effects: On the primary metric by variant, p-values adjusted for their number.
        guardrails: As `guarded` returned them.
        fault: Why no figure may be read; None where health is good.
        minimum: The plan's smallest effect worth acting on, in the data's unit.
        ended: Whether the plan's end was reached.
        stopped: Whether somebody stopped it.
        confidence: 1 - the error of the decision.
    """
    if fault is not None:
        return Verdict(
            "stop", f"its figures may not be read: {fault}; mend it and start anew", ended=ended
        )
    if not effects:
        return Verdict("continue", f"{plan.primary_metric} is not measured here", ended=ended)
    unjudged = _not_judged(plan, ended, stopped)
    if unjudged is not None:
        return Verdict("stop" if stopped else "continue", unjudged, ended=ended)
    gains = {variant: _gain(effect, plan.primary_metric) for variant, effect in effects.items()}
    found: dict[str, Finding] = {
        variant: _finding(variant, effect, guardrails, minimum, 1 - confidence)
        for variant, effect in gains.items()
    }
    ready = [variant for variant, finding in found.items() if finding == "gains"]
    if ready:
        best = max(ready, key=lambda variant: gains[variant].difference or 0.0)
        held = "and every guardrail holds" if guardrails else "and the plan has no guardrails"
        also = "" if minimum is None else ", its likeliest size is worth acting on"
        why = f"{best} gains on {plan.primary_metric}{also}, {held}"
        return Verdict("ship", why, best, ended, found)
    said = "; ".join(
        _words(variant, finding, plan, effects[variant], guardrails)
        for variant, finding in found.items()
    )
    final = all(
        finding in ("loses", "too small", "breaks a guardrail") for finding in found.values()
    )
    if final:
        return Verdict("stop", said, None, ended, found)
    if ended or stopped:
        end = "the planned end has come" if ended else "it was stopped"
        return Verdict("stop", f"{end} and no variant may ship: {said}", None, ended, found)
    return Verdict("continue", said, None, ended, found)


def _not_judged(plan: Experiment, ended: bool, stopped: bool) -> str | None:
    """Say why a plan that judges once does not do so now."""
    if plan.method == "sequential" or ended:
        return None
    if plan.stop is None:
        return (
            "the plan names no end, and what is judged once is judged at a planned end: no "
            "decision follows from it; plan a stop, or the method sequential"
        )
    if plan.method == "welch":
        rest = "was stopped before it" if stopped else "it has not come"
        return f"the plan judges once, at its end, and {rest}"
    return None


def _gain(effect: Effect, metric: str) -> Effect:
    """Return an effect with what is better above 0."""
    if titled(metric).better == "higher" or effect.difference is None:
        return effect
    return msgspec.structs.replace(
        effect,
        difference=-effect.difference,
        low=None if effect.high is None else -effect.high,
        high=None if effect.low is None else -effect.low,
    )


def _finding(
    variant: str,
    effect: Effect,
    guardrails: Sequence[Guarded],
    minimum: float | None,
    alpha: float,
) -> Finding:
    standings = {one.standing for one in guardrails if one.variant == variant}
    if "broken" in standings:
        return "breaks a guardrail"
    if effect.difference is None or effect.high is None:
        return "open"
    p = effect.p if effect.p_adjusted is None else effect.p_adjusted
    proven = p is not None and p < alpha
    if proven and effect.difference < 0:
        return "loses"
    if minimum is not None and effect.high < minimum:
        return "too small"
    if not proven or (minimum is not None and effect.difference < minimum):
        return "open"
    return "guardrail open" if "open" in standings else "gains"


def _words(
    variant: str,
    finding: Finding,
    plan: Experiment,
    effect: Effect,
    guardrails: Sequence[Guarded],
) -> str:
    metric = plan.primary_metric
    mine = [one for one in guardrails if one.variant == variant]
    if finding == "breaks a guardrail":
        broken = ", ".join(one.metric for one in mine if one.standing == "broken")
        return f"{variant} breaks guardrail {broken}"
    if finding == "guardrail open":
        unproven = ", ".join(one.metric for one in mine if one.standing == "open")
        return f"{variant} gains on {metric}, but guardrail {unproven} is not proven to hold"
    if finding == "loses":
        return f"{variant} loses on {metric}"
    if finding == "too small":
        return f"{variant} changes {metric} by less than is worth acting on"
    if effect.refused is not None:
        return f"{variant} cannot be compared on {metric} yet: {effect.refused}"
    return f"{variant} has no proven gain on {metric} that is worth acting on"

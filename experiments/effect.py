"""The effect on one metric: what a variant changed against the control, or why that is not said."""

from collections.abc import Callable

import msgspec


class Effect(msgspec.Struct, frozen=True):
    """One metric in one variant beside the control, a figure per unit each.

    The difference is what to decide on; `method` says how its interval and p-value were made:
    welch, randomisation, score, order statistics, always valid, group sequential; adjusted, by what
    was before (CUPED); post-stratified. Where the data
    cannot carry them there is none, and `refused` says why; before a plan judges there is an
    interval without p. `standard_error` is the difference's own; an interval that holds at many
    looks, or by randomisation, is not 1.96 of them wide. Among several comparisons judge by
    `p_adjusted`, see multiplicity.py.
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
    p_adjusted: float | None = None
    standard_error: float | None = None


def in_words(effect: Effect, show: Callable[[float], str], confidence: float) -> str:
    """Return the difference, its interval and how it was judged; or why there is none.

    Args:
        effect: As analysed.
        show: Says a value of the metric, for example `Currency.show` where it is money.
        confidence: Of its interval.
    """
    if effect.difference is None or effect.low is None or effect.high is None:
        return f"no comparison, {effect.refused}"
    between = (
        f"{confidence * 100:.4g} % interval {_signed(effect.low, show)} to "
        f"{_signed(effect.high, show)}"
    )
    if effect.p is None:
        return f"{_signed(effect.difference, show)} ({between}, {effect.method}), not judged yet"
    adjusted = effect.p_adjusted
    also = "" if adjusted is None or adjusted == effect.p else f", adjusted {adjusted:.2g}"
    words = (
        f"{_signed(effect.difference, show)} ({between}, p {effect.p:.2g}{also}, {effect.method})"
    )
    if effect.relative is not None:
        words += f", {effect.relative:+.1%}"
        if effect.relative_low is None or effect.relative_high is None:
            words += " with no bound to give: the control's mean may be zero"
        else:
            words += f" ({effect.relative_low:+.1%} to {effect.relative_high:+.1%})"
    if effect.low <= 0 <= effect.high:
        words += "; chance alone can explain this difference"
    return words


def _signed(amount: float, show: Callable[[float], str]) -> str:
    return f"+{show(amount)}" if amount > 0 else show(amount)

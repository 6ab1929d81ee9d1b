"""The programme: what did all experiments together bring, without believing the luckiest?

Whoever adds up the experiments that won adds up their luck as well. So the sum is over all that
have ended, won or not; what was shipped stands apart, drawn back towards what experiments here
usually bring. The global holdout, where there is one, measures the whole programme at once.
"""

import math
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np

from experiments.report import Report
from experiments.verdict import Action
from foundation.scores import Z_95

MARGIN = "margin"
# Fewer comparisons say too little of how effects usually lie.
LEAST_COMPARISONS = 3


class Amount(msgspec.Struct, frozen=True):
    """Margin in minor units with its 95 % interval."""

    value: float
    low: float
    high: float


class Entry(msgspec.Struct, frozen=True):
    """An experiment in the overview.

    `incremental` is what its variants brought beyond the control while it ran; None where `refused`
    says why. `ended` ones are summed. `shipped` is the variant to ship, with what it brought and
    `shrunken` what of that is likely to last.
    """

    key: str
    started_at: datetime
    stopped_at: datetime | None
    ended: bool
    action: Action | None
    why: str
    units: int
    incremental: Amount | None = None
    refused: str | None = None
    shipped: str | None = None
    brought: Amount | None = None
    shrunken: Amount | None = None


class Programme(msgspec.Struct, frozen=True):
    """All experiments, the newest first, and their sums.

    `incremental` is over the `summed` experiments that have ended with figures; `left_out` ended
    without. `shipped` adds up what was shipped, as measured and so too high; `shrunken` is without
    the luck, None with fewer than LEAST_COMPARISONS comparisons. `holdout` is what everybody who
    was reached brought beyond who was held out.
    """

    entries: list[Entry]
    summed: int
    left_out: int
    incremental: Amount | None = None
    shipped: Amount | None = None
    shrunken: Amount | None = None
    holdout: Amount | None = None
    holdout_refused: str | None = None


class Concluded(msgspec.Struct, frozen=True):
    """What the overview needs of an experiment; without a report `refused` says why."""

    key: str
    started_at: datetime
    stopped_at: datetime | None
    report: Report | None
    refused: str | None = None


def programme(experiments: Sequence[Concluded], holdout: Concluded | None = None) -> Programme:
    """Return the overview.

    Args:
        experiments: All but the holdout, the newest first.
        holdout: The global holdout, where there is one.
    """
    entries = [_entry(one) for one in experiments]
    drawn_back = _drawn_back(experiments, entries)
    entries = [
        entry if entry.shipped is None else msgspec.structs.replace(entry, shrunken=back)
        for entry, back in zip(entries, drawn_back, strict=True)
    ]
    ended = [entry for entry in entries if entry.ended]
    measured = [entry.incremental for entry in ended if entry.incremental is not None]
    shipped = [entry for entry in ended if entry.shipped is not None]
    shrunken = [entry.shrunken for entry in shipped if entry.shrunken is not None]
    whole = None if holdout is None else _entry(holdout)
    return Programme(
        entries=entries,
        summed=len(measured),
        left_out=len(ended) - len(measured),
        incremental=_sum(measured),
        shipped=_sum([entry.brought for entry in shipped if entry.brought is not None]),
        shrunken=_sum(shrunken) if len(shrunken) == len(shipped) else None,
        holdout=None if whole is None else whole.incremental,
        holdout_refused="there is no holdout" if whole is None else whole.refused,
    )


def _entry(one: Concluded) -> Entry:
    report = one.report
    verdict = None if report is None else report.verdict
    bare = Entry(
        key=one.key,
        started_at=one.started_at,
        stopped_at=one.stopped_at,
        ended=one.stopped_at is not None or (verdict is not None and verdict.ended),
        action=None if verdict is None else verdict.action,
        why=(one.refused or "") if verdict is None else verdict.why,
        units=0 if report is None else sum(report.units.values()),
        refused=one.refused,
    )
    if report is None:
        return bare
    if not report.healthy:
        return msgspec.structs.replace(bare, refused=report.reason)
    parts = {variant: _brought(report, variant) for variant in report.metrics.get(MARGIN, {})}
    found = [part for part in parts.values() if part is not None]
    if not found or len(found) < len(parts):
        refusals = (effect.refused for effect in report.metrics.get(MARGIN, {}).values())
        why = next((words for words in refusals if words), "the margin was not measured")
        return msgspec.structs.replace(bare, refused=why)
    # Variants share one control, so their errors move together: at worst they add up.
    reach = sum((part.high - part.low) / 2 for part in found)
    total = sum(part.value for part in found)
    shipped = None if verdict is None or verdict.action != "ship" else verdict.variant
    return msgspec.structs.replace(
        bare,
        incremental=Amount(total, total - reach, total + reach),
        shipped=shipped,
        brought=None if shipped is None else parts.get(shipped),
    )


def _brought(report: Report, variant: str) -> Amount | None:
    effect = report.metrics[MARGIN][variant]
    if effect.difference is None or effect.low is None or effect.high is None:
        return None
    units = report.units[variant]
    return Amount(units * effect.difference, units * effect.low, units * effect.high)


def _drawn_back(experiments: Sequence[Concluded], entries: Sequence[Entry]) -> list[Amount | None]:
    """Return what a shipped variant brought, drawn back to what ended comparisons usually bring.

    Source: normal means by empirical Bayes, Efron and Morris 1975; the spread of true effects by
    DerSimonian and Laird 1986.
    """
    effects: list[float] = []
    errors: list[float] = []
    shipped: dict[int, int] = {}
    for place, (one, entry) in enumerate(zip(experiments, entries, strict=True)):
        if one.report is None or not entry.ended or entry.incremental is None:
            continue
        for variant, effect in one.report.metrics[MARGIN].items():
            if effect.difference is None or effect.low is None or effect.high is None:
                continue
            if variant == entry.shipped:
                shipped[place] = len(effects)
            effects.append(effect.difference)
            errors.append((effect.high - effect.low) / 2 / Z_95)
    told: list[Amount | None] = [None] * len(entries)
    if len(effects) < LEAST_COMPARISONS:
        return told
    means, spreads = shrink(np.array(effects), np.array(errors))
    for place, row in shipped.items():
        report, name = experiments[place].report, entries[place].shipped
        units = 0 if report is None or name is None else report.units[name]
        mean, reach = units * float(means[row]), units * Z_95 * float(spreads[row])
        told[place] = Amount(mean, mean - reach, mean + reach)
    return told


def shrink(effects: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest true effects and their spreads, given that all come from one normal.

    Args:
        effects, errors: Estimates and their standard errors, shape (n,).

    Source: see `_drawn_back`; the error of the middle by Morris 1983. That of the spread of true
    effects is left out.
    """
    weight = 1 / errors**2
    centre = float(weight @ effects / weight.sum())
    q = float(weight @ (effects - centre) ** 2)
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    between = max((q - (len(effects) - 1)) / scale, 0.0)
    share = between / (between + errors**2)
    both = 1 / (between + errors**2)
    middle = float(both @ effects / both.sum())
    spread = share * errors**2 + (1 - share) ** 2 / both.sum()
    return middle + share * (effects - middle), np.sqrt(spread)


def _sum(amounts: Sequence[Amount]) -> Amount | None:
    """Add up independent amounts; experiments are dealt independently of each other."""
    if not amounts:
        return None
    value = math.fsum(one.value for one in amounts)
    reach = math.sqrt(math.fsum(((one.high - one.low) / 2) ** 2 for one in amounts))
    return Amount(value, value - reach, value + reach)

"""The programme: what did all experiments together bring, without believing the luckiest?

Whoever adds up the experiments that won adds up their luck as well. So the sum is over all that
have ended, won or not; what was shipped stands apart, drawn back towards what experiments here
usually bring. The global holdout, where there is one, measures the whole programme at once.
"""

import math
from collections.abc import Sequence
from datetime import datetime

import msgspec

from experiments.report import Report
from experiments.shrinkage import LEAST_COMPARISONS, shrunken_sum
from experiments.verdict import Action

MARGIN = "margin"


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
    the luck, None with fewer than LEAST_COMPARISONS of a kind of unit. `holdout` is what everybody
    who was reached brought beyond who was held out.
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
    without_luck, shrunken = _shrunken(experiments, entries)
    entries = [
        entry if entry.shipped is None else msgspec.structs.replace(entry, shrunken=back)
        for entry, back in zip(entries, without_luck, strict=True)
    ]
    ended = [entry for entry in entries if entry.ended]
    measured = [entry.incremental for entry in ended if entry.incremental is not None]
    shipped = [entry for entry in ended if entry.shipped is not None]
    whole = None if holdout is None else _entry(holdout)
    return Programme(
        entries=entries,
        summed=len(measured),
        left_out=len(ended) - len(measured),
        incremental=_sum(measured),
        shipped=_sum([entry.brought for entry in shipped if entry.brought is not None]),
        shrunken=shrunken,
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
    total, low, high = (math.fsum(ends) for ends in zip(*map(_ends, found), strict=True))
    shipped = None if verdict is None or verdict.action != "ship" else verdict.variant
    return msgspec.structs.replace(
        bare,
        incremental=Amount(total, low, high),
        shipped=shipped,
        brought=None if shipped is None else parts.get(shipped),
    )


def _ends(amount: Amount) -> tuple[float, float, float]:
    return amount.value, amount.low, amount.high


def _brought(report: Report, variant: str) -> Amount | None:
    effect = report.metrics[MARGIN][variant]
    if effect.difference is None or effect.low is None or effect.high is None:
        return None
    units = report.units[variant]
    return Amount(units * effect.difference, units * effect.low, units * effect.high)


def _shrunken(
    experiments: Sequence[Concluded], entries: Sequence[Entry]
) -> tuple[list[Amount | None], Amount | None]:
    """Return what each shipped variant brought without the luck, and all of them together.

    A household's margin says nothing of a store's: effects are drawn back to what ended comparisons
    of their own kind of unit usually bring. A kind with too few leaves the sum without a figure.
    """
    told: list[Amount | None] = [None] * len(entries)
    sums: list[Amount | None] = []
    for kind in sorted({one.report.unit for one in experiments if one.report is not None}):
        compared = _compared(kind, experiments, entries)
        shipped = [one for one in compared if one.variant == entries[one.place].shipped]
        if not shipped:
            continue
        if len(compared) < LEAST_COMPARISONS:
            sums.append(None)
            continue
        for one in shipped:
            told[one.place] = _without_luck(compared, [one])
        sums.append(_without_luck(compared, shipped))
    found = [one for one in sums if one is not None]
    return told, _sum(found) if len(found) == len(sums) else None


class _Compared(msgspec.Struct, frozen=True):
    """A variant's effect a unit, in the experiment at a place."""

    place: int
    variant: str
    units: int
    difference: float
    standard_error: float


def _compared(
    kind: str, experiments: Sequence[Concluded], entries: Sequence[Entry]
) -> list[_Compared]:
    """Return the comparisons of ended experiments that assigned this kind of unit."""
    return [
        _Compared(
            place, variant, one.report.units[variant], effect.difference, effect.standard_error
        )
        for place, (one, entry) in enumerate(zip(experiments, entries, strict=True))
        if one.report is not None
        and one.report.unit == kind
        and entry.ended
        and entry.incremental is not None
        for variant, effect in one.report.metrics[MARGIN].items()
        if effect.difference is not None and effect.standard_error
    ]


def _without_luck(compared: Sequence[_Compared], summed: Sequence[_Compared]) -> Amount:
    return Amount(
        *shrunken_sum(
            [one.difference for one in compared],
            [one.standard_error for one in compared],
            [float(one.units) if one in summed else 0.0 for one in compared],
        )
    )


def _sum(amounts: Sequence[Amount]) -> Amount | None:
    """Add up independent amounts; experiments are dealt independently of each other.

    Source: an interval of a sum from those of its parts, each side from its own sides: Zou and
    Donner 2008.
    """
    if not amounts:
        return None
    value = math.fsum(one.value for one in amounts)
    down = math.hypot(*(one.value - one.low for one in amounts))
    up = math.hypot(*(one.high - one.value for one in amounts))
    return Amount(value, value - down, value + up)

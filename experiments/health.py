"""Health: may the figures of an experiment be read at all?

A split that is not as planned, units in two variants, units without one, variants that differed
before anything happened: each says that assignment or logging is broken, and a figure shown beside
such a warning would be read all the same. So where health fails, the reason is all there is.
"""

from collections.abc import Mapping, Sequence

import msgspec
import pandas as pd

from experiments.multiplicity import adjusted
from experiments.sample_ratio import (
    InvalidSplit,
    sample_ratio_deviation,
    sample_ratio_p_value,
)

# Stricter than 5 %: every experiment is checked, and a false alarm throws its result away.
SAMPLE_RATIO_ALARM = 0.001
# Units a variant should have in a place before its split is judged.
_LEAST_EXPECTED = 5
_NO_EFFECT = "until then no effect is shown"


class SampleRatio(msgspec.Struct, frozen=True):
    """The split as planned (shares) and observed (units); deviation as in sample_ratio.py."""

    p: float
    planned: dict[str, float]
    observed: dict[str, int]
    deviation: float

    @property
    def holds(self) -> bool:
        return self.p >= SAMPLE_RATIO_ALARM

    @property
    def figures(self) -> str:
        return f"p {self.p:.2g}, largest deviation {self.deviation:.2%} of a variant's plan"

    @property
    def reason(self) -> str:
        """What it says, in one line."""
        if self.holds:
            return f"sample ratio as planned ({self.figures})"
        total = sum(self.observed.values())
        seen = ", ".join(
            f"{name} {count:,} of {self.planned[name] * total:,.0f} planned"
            for name, count in self.observed.items()
        )
        return (
            f"sample ratio broken: {seen} ({self.figures}); assignment or logging is at fault; "
            "find which units are missing before reading any metric"
        )


class Place(msgspec.Struct, frozen=True):
    """The split of one channel, store or day; `p_adjusted` is by Holm over all places judged."""

    place: str
    value: str
    split: SampleRatio
    p_adjusted: float

    @property
    def holds(self) -> bool:
        return self.p_adjusted >= SAMPLE_RATIO_ALARM


class Health(msgspec.Struct, frozen=True):
    """Whether figures may be read; `faults` say why not, `warnings` what to bear in mind."""

    healthy: bool
    reason: str
    faults: list[str] = msgspec.field(default_factory=list[str])
    warnings: list[str] = msgspec.field(default_factory=list[str])


def sample_ratio(observed: Mapping[str, int], planned: Mapping[str, float]) -> SampleRatio:
    """Hold the units of each variant against its planned share.

    Args:
        observed: Units by variant.
        planned: Shares by variant, summing to 1.

    Raises:
        InvalidSplit: A variant got units and no share, or a share and no units; or as for
            `sample_ratio_p_value`.
    """
    for name, count in observed.items():
        if count and not planned.get(name):
            raise InvalidSplit(
                f"variant {name!r} was planned at 0 and got {count:,} units; find who assigns "
                "them, or plan its share"
            )
    for name, share in planned.items():
        if share and not observed.get(name):
            raise InvalidSplit(
                f"nobody was seen in variant {name!r}, planned at {share:g}; the units are in "
                f"{', '.join(observed)}: check its name, and that it runs"
            )
    return _split({name: observed.get(name, 0) for name in planned}, planned)


def where_it_sits(
    units: pd.DataFrame, places: Sequence[str], planned: Mapping[str, float]
) -> str | None:
    """Say in which channel, store or on which day a broken split is worst; None if in none.

    Args:
        units, places, planned: As for `split_places`.
    """
    broken = [one for one in split_places(units, places, planned) if not one.holds]
    if not broken:
        return None
    worst = broken[0]
    others = _observed(units.loc[units[worst.place].astype(str) != worst.value], planned)
    alone = sum(others.values()) > 0 and _split(others, planned).holds
    also = "elsewhere the split is as planned" if alone else f"{len(broken)} places are broken"
    return f"it is worst in {worst.place} {worst.value!r} ({worst.split.figures}), {also}"


def split_places(
    units: pd.DataFrame, places: Sequence[str], planned: Mapping[str, float]
) -> list[Place]:
    """Return the split in each channel, store and on each day, the least likely first.

    Args:
        units: One row a unit: variant, and a column for each place; gaps are in no place.
        places: Columns such as channel or day.
        planned: Shares by variant, summing to 1.

    Source: Pearson's chi-square in each value of each place, adjusted by Holm for all of them.
    """
    found: list[tuple[str, str, SampleRatio]] = []
    for place in places:
        for value, inside in units.groupby(place):
            observed = _observed(inside, planned)
            if min(planned.values()) * sum(observed.values()) >= _LEAST_EXPECTED:
                found.append((place, str(value), _split(observed, planned)))
    chances = adjusted([split.p for _, _, split in found], "holm")
    told = [
        Place(place, value, split, chance)
        for chance, (place, value, split) in zip(chances, found, strict=True)
    ]
    return sorted(told, key=lambda one: (one.p_adjusted, one.split.p))


def health_of(
    split: SampleRatio, faults: Sequence[str] = (), warnings: Sequence[str] = ()
) -> Health:
    """Return whether figures may be read, by the split and what else is known.

    Args:
        split: Of the experiment.
        faults: Each of them forbids to read any figure.
        warnings: What to bear in mind.
    """
    found = [] if split.holds else [split.reason]
    found += faults
    if found:
        return Health(False, "; ".join([*found, _NO_EFFECT]), found, list(warnings))
    return Health(True, split.reason, [], list(warnings))


def _observed(units: pd.DataFrame, planned: Mapping[str, float]) -> dict[str, int]:
    counts = units["variant"].value_counts()
    return {name: int(counts.get(name, 0)) for name in planned}


def _split(observed: Mapping[str, int], planned: Mapping[str, float]) -> SampleRatio:
    counts, shares = list(observed.values()), list(planned.values())
    return SampleRatio(
        p=sample_ratio_p_value(counts, shares),
        planned=dict(planned),
        observed=dict(observed),
        deviation=sample_ratio_deviation(counts, shares),
    )

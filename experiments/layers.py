"""Layers: which experiments may run beside each other, and on which customers?

A layer cuts [0, 1) once, by a hash of its own. Experiments of one layer take ranges of it that do
not overlap, so nobody is in two of them. Experiments of different layers meet in the same
customers, independently: each variant of one has the same mix of the other's, which is fair as
long as they do not decide the same thing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from foundation.errors import RegularsError

if TYPE_CHECKING:
    from experiments.design import Experiment


class LayerTaken(RegularsError):
    """An experiment cannot run beside those that run."""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The range [low, high) of a layer that an experiment takes; shares of the layer's units."""

    name: str
    low: float = 0.0
    high: float = 1.0

    def faults(self) -> list[str]:
        """Return a line for each broken rule."""
        if not self.name:
            return ["its layer has no name; name it"]
        # A comparison with NaN is false.
        if 0 <= self.low < self.high <= 1:
            return []
        return [
            f"layer {self.name!r} from {self.low:g} to {self.high:g} is no range of shares; "
            "write low and high with 0 <= low < high <= 1"
        ]


def check_room(new: "Experiment", running: Sequence["Experiment"]) -> None:
    """Pass an experiment that can start beside those that run (without the global holdout).

    Raises:
        LayerTaken: One line for each that it would disturb.
    """
    in_the_way = [line for other in running if (line := _conflict(new, other))]
    if new.layer is not None and not in_the_way:
        return
    if new.layer is not None and any(_overlap(new, other) for other in running):
        in_the_way.append(_room(new.layer.name, [new, *running]))
    if in_the_way:
        raise LayerTaken("\n".join(f"experiment {new.key!r} {line}" for line in in_the_way))


def _conflict(new: "Experiment", other: "Experiment") -> str | None:
    stop = f"stop it first with 'regulars experiment stop {other.key}'"
    if new.layer is None or other.layer is None:
        alone = new if new.layer is None else other
        return (
            f"cannot start while {other.key!r} runs: {alone.key!r} has no layer, so it takes every "
            f"customer for itself; give each a range of a layer, or {stop}"
        )
    if new.layer.name == other.layer.name:
        if new.unit != other.unit:
            return (
                f"assigns {new.unit}s, {other.key!r} in the same layer {other.layer.name!r} "
                f"{other.unit}s, so one customer could be in both; use the same unit, or {stop}"
            )
        if _overlap(new, other):
            return (
                f"takes {new.layer.low:g} to {new.layer.high:g} of layer {new.layer.name!r}, "
                f"{other.key!r} holds {other.layer.low:g} to {other.layer.high:g}; "
                f"take a free range, or {stop}"
            )
        return None
    if new.salt == other.salt:
        return (
            f"has salt {new.salt!r}, as {other.key!r}, which runs in another layer: their variants "
            "would be the same customers; leave the salt out to use the key"
        )
    if new.channels and other.channels and not set(new.channels) & set(other.channels):
        return None
    both = [what for what in ("policy", "offers") if _decides(new, what) and _decides(other, what)]
    if both:
        return (
            f"decides on {' and '.join(both)}, as {other.key!r} in layer {other.layer.name!r} does "
            f"for the same customers; take a range of layer {other.layer.name!r}, or {stop}"
        )
    return None


def _decides(experiment: "Experiment", what: str) -> bool:
    return any(getattr(variant, what) is not None for variant in experiment.variants)


def _overlap(one: "Experiment", other: "Experiment") -> bool:
    if one.layer is None or other.layer is None or one.layer.name != other.layer.name:
        return False
    return one.layer.low < other.layer.high and other.layer.low < one.layer.high


def _room(name: str, experiments: Sequence["Experiment"]) -> str:
    """Say how much of a layer was asked for, the new one's range first, and what is free."""
    layers = [e.layer for e in experiments if e.layer is not None and e.layer.name == name]
    asked = sum(layer.high - layer.low for layer in layers)
    edges = [(0.0, 0.0), *sorted((layer.low, layer.high) for layer in layers[1:]), (1.0, 1.0)]
    free = [f"{a:g} to {b:g}" for (_, a), (b, _) in pairwise(edges) if b > a]
    return (
        f"and the others together take {asked:.0%} of layer {name!r}, at most 100 % can be; "
        f"free is {', '.join(free) or 'nothing'}"
        if asked > 1
        else f"finds this free in layer {name!r}: {', '.join(free) or 'nothing'}"
    )

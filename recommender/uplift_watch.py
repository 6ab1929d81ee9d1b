"""Watching an uplift model: are customers and predicted effects still what it learned from, and do
offers cause what it says?

Inputs and predicted effects are compared as those of response models are (see `watch`). Effects can
be seen only where later decisions were drawn by chance, by fifths of the predicted ones and by the
gate's own figures (see `uplift_gate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from foundation.errors import TooLittleData
from recommender.arm_evidence import arm_evidence
from recommender.gate import Part
from recommender.offer_uplift import OfferUplift
from recommender.policy_value import Price, mean_interval
from recommender.reference import Distribution, Reference, distribution, once_each
from recommender.targeting import tenths
from recommender.trial import Trial
from recommender.uplift import doubly_robust_scores
from recommender.uplift_curve import Group
from recommender.uplift_gate import Told, calibrated
from recommender.watch import Moved, moved

EFFECTS = "predicted effects"
BINS = 5


@dataclass(frozen=True)
class EffectsSeen:
    """What later decisions drawn by chance say of predicted effects.

    Attributes:
        rows: How many decisions.
        bins: By fifth of the advised offer's predicted effect, the highest first.
        parts: Slope, and observed over expected gain; they fail where they surely lie outside.
    """

    rows: int
    bins: list[Group]
    parts: list[Part]


@dataclass(frozen=True)
class UpliftWatch:
    """What became of an uplift model since it was trained, the worst first, and what to do.

    `decisions` of `customers` are those of the newest days since `since`; `refused` says of each
    part why nothing can be told; `outdated` decisions were recorded under other definitions.
    """

    since: datetime
    decisions: int
    customers: int
    outdated: int
    moved: list[Moved]
    seen: EffectsSeen | None
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def advice(self) -> list[str]:
        """Say what to do, the most pressing first."""
        lines: list[str] = []
        if self.seen is not None and any(part.holds is False for part in self.seen.parts):
            lines.append(
                "offers no longer cause what the model says: run 'regulars train uplift' and "
                "'regulars promote uplift'; until then read its scores as a ranking"
            )
        far = [one.name for one in self.moved if one.level == "retrain"]
        near = [one.name for one in self.moved if one.level == "look"]
        if far:
            lines.append(
                f"{', '.join(far[:3])} moved far: look whether a source changed; if not, run "
                "'regulars train uplift' once later decisions drawn by chance are told"
            )
        elif near:
            lines.append(f"{', '.join(near[:3])} moved: look whether a source changed")
        if not lines and self.moved:
            lines.append("nothing to do")
        return lines


def uplift_reference(
    model: OfferUplift, matrix: np.ndarray, customers: Sequence[str], told_until: datetime
) -> Reference:
    """Return what a model was trained on, to tell drift by.

    Args:
        matrix: Of the decisions it learned from, shape (n, len(model.names)).
        customers: Whose they are, shape (n,).
    """
    weight = once_each(np.array(customers, dtype=object))
    inputs: dict[str, Distribution] = {
        name: distribution(matrix[:, place], weight) for place, name in enumerate(model.names)
    }
    best = model.values(matrix).max(axis=1)
    return Reference(inputs, distribution(best, weight), told_until, told_until)


def drifted(
    reference: Reference, model: OfferUplift, matrix: np.ndarray, customers: Sequence[str]
) -> list[Moved]:
    """Return how far inputs and predicted effects of later decisions moved, the worst first.

    Raises:
        TooLittleData: There are too few customers then or now.
    """
    weight = once_each(np.array(customers, dtype=object))
    known = {**reference.inputs, EFFECTS: reference.scores}
    values = {name: matrix[:, place] for place, name in enumerate(model.names)}
    values[EFFECTS] = model.values(matrix).max(axis=1) if len(matrix) else np.empty(0)
    return moved(known, {name: (told, weight) for name, told in values.items()})


def effects_seen(rows: Trial, expected: np.ndarray, told: Told, price: Price) -> EffectsSeen:
    """Return how predicted effects fit those seen on rows that the model did not learn from.

    Args:
        expected: Modelled outcome under each treatment, control first, shape (n, k + 1).

    Raises:
        TooLittleData: A treatment that the model would give, or none, has too few outcomes.
    """
    evidence, policy = arm_evidence(rows), told.policy(price)
    advised = told.effects.argmax(axis=1) + 1
    for rule in (np.zeros_like(rows.treatment), policy, advised):
        if (fault := evidence.fault(rule)) is not None:
            raise TooLittleData(fault)
    scores = doubly_robust_scores(rows, expected)
    money, place = price.money(scores.copy()), np.arange(len(scores))
    gain = mean_interval(money[place, policy] - money[:, 0], rows.unit)
    best = told.effects[place, advised - 1]
    effect = scores[place, advised] - scores[:, 0]
    return EffectsSeen(
        len(scores),
        tenths(effect, best, best, rows.unit, BINS),
        calibrated(rows, scores, told, gain, price),
    )

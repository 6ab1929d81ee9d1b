"""Watching a response model: are its inputs, scores and promises still what they were?

Inputs and scores are compared with what the model was registered with, by the population stability
index beside what chance alone gives; promises with outcomes that nobody knew then. An index above
.1 asks for a look and above .25 for a new model: a convention (Siddiqi 2006), no test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from foundation.calibration import Calibration, calibration
from foundation.drift import CONFIDENCE, LEAST_CUSTOMERS, drift
from foundation.errors import TooLittleData
from recommender.exposures import TrainingFrame
from recommender.gate import OBSERVED_EXPECTED, SLOPE
from recommender.offer_features import is_offer_feature
from recommender.reference import Distribution, Reference, once_each
from recommender.response_model import ResponseModel

# Older exposures would hide what changed last.
NEWEST_DAYS = 28
LOOK, RETRAIN = 0.1, 0.25
Level = Literal["steady", "look", "retrain"]
SCORES = "scores"


@dataclass(frozen=True, slots=True)
class Moved:
    """How far one quantity moved; `chance` is what 1 in 20 watches exceeds anywhere by chance."""

    name: str
    index: float
    chance: float
    level: Level


@dataclass(frozen=True)
class Watch:
    """What became of a model since it was registered, the worst first, and what to do about it.

    `exposures` of `customers` are those of the newest days since `since`; `outdated` counts those
    ever recorded under other definitions, which cannot be compared; `refused` says of each part
    why nothing can be told. `outcomes` counts exposures whose outcome nobody knew at training and
    is known now, `next_outcome` is when the first of the others will be.
    """

    since: datetime
    exposures: int
    customers: int
    outdated: int
    moved: list[Moved]
    calibration: Calibration | None
    refused: dict[str, str] = field(default_factory=dict[str, str])
    outcomes: int = 0
    next_outcome: datetime | None = None

    def advice(self) -> list[str]:
        """Say what to do, the most pressing first."""
        lines: list[str] = []
        found = self.calibration
        if found is not None and _off(found):
            lines.append(
                "probabilities are no longer what happens: run 'regulars train response' and "
                "'regulars promote'; until then read them as a ranking"
            )
        far = {level: [m.name for m in self.moved if m.level == level] for level in _ASKS}
        if far["retrain"]:
            named = f"{', '.join(far['retrain'][:3])} moved far: look whether a source changed"
            lines.append(f"{named}; if not, {self._learn_again()}")
        elif far["look"]:
            lines.append(f"{', '.join(far['look'][:3])} moved: look whether a source changed")
        if not lines and self.moved:
            lines.append("nothing to do")
        return lines

    def _learn_again(self) -> str:
        if self.outcomes:
            return "run 'regulars train response' and 'regulars promote'"
        told = "" if self.next_outcome is None else f", the first from {self.next_outcome:%Y-%m-%d}"
        return (
            f"wait: no outcome since its training is known yet{told}, so that a new model would "
            "learn the same; load or ingest outcomes, then look again"
        )


_ASKS: tuple[Level, ...] = ("retrain", "look")


def watch(
    reference: Reference, model: ResponseModel, frame: TrainingFrame, over: np.ndarray, seed: int
) -> Watch:
    """Compare all exposures since a model was registered with what it knew then.

    Args:
        frame: Every exposure, its window over or not.
        over: Whose outcome is known, booleans, shape (len(frame.rows),).
    """
    at = frame.rows["at"]
    since = reference.shown_until
    if len(at):
        newest = at.max().to_pydatetime() - timedelta(days=NEWEST_DAYS)
        since = max(since, newest)
    now = frame.take((at > since).to_numpy())
    refused: dict[str, str] = {}
    try:
        far = _moved(reference, model, now)
    except TooLittleData as error:
        far, refused["drift"] = [], str(error)
    if (few := _few_offers(reference, now)) is not None:
        refused["offers"] = few
    news = (frame.rows["ends"] > reference.known_until).to_numpy()
    open_until = frame.rows["ends"][news & ~over].min()
    matured = frame.take(over & news)
    try:
        judged = _calibration(model, matured, seed)
    except TooLittleData as error:
        judged, refused["calibration"] = None, str(error)
    customers = now.rows["customer_id"].nunique()
    return Watch(
        since,
        len(now.rows),
        customers,
        frame.outdated,
        far,
        judged,
        refused,
        len(matured.rows),
        None if open_until is pd.NaT else open_until.to_pydatetime(),
    )


def _moved(reference: Reference, model: ResponseModel, now: TrainingFrame) -> list[Moved]:
    customers, offers = (
        once_each(now.rows[unit].to_numpy()) for unit in ("customer_id", "offer_id")
    )
    few = _few_offers(reference, now) is not None
    matrix = now.columns(model.names)
    values = {
        name: matrix[:, place]
        for place, name in enumerate(model.names)
        if not (few and is_offer_feature(name))
    }
    known: Mapping[str, Distribution] = {**reference.inputs, SCORES: reference.scores}
    values[SCORES] = model.predict(matrix)
    return moved(
        known,
        {
            name: (told, offers if is_offer_feature(name) else customers)
            for name, told in values.items()
        },
    )


def moved(
    known: Mapping[str, Distribution], values: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> list[Moved]:
    """Return how far each quantity moved, the worst first.

    Args:
        known: How each was distributed.
        values: Its values now and their weights, shape (n,) each.

    Raises:
        TooLittleData: There are too few customers then or now.
    """
    # Bonferroni: of so many quantities some would exceed a bound of their own.
    confidence = 1 - (1 - CONFIDENCE) / max(len(values), 1)
    found: list[Moved] = []
    for name, (told, weight) in values.items():
        before, after = known[name].customers, known[name].like(told, weight)
        there = {bin_ for run in (before, after) for bin_, size in run.items() if size > 0}
        before, after = ({bin_: run.get(bin_, 0.0) for bin_ in there} for run in (before, after))
        if len(there) == 1:
            # One value then and now.
            found.append(Moved(name, 0.0, 0.0, "steady"))
            continue
        one = drift(before, after, confidence)
        found.append(Moved(name, one.index, one.chance, _level(one.index, one.drifted)))
    return sorted(found, key=lambda one: -one.index)


def _few_offers(reference: Reference, now: TrainingFrame) -> str | None:
    """Say why inputs of offers cannot be compared; None where they can, or there are none."""
    own = (told for name, told in reference.inputs.items() if is_offer_feature(name))
    known = max((round(sum(told.customers.values())) for told in own), default=None)
    shown = now.rows["offer_id"].nunique()
    if known is None or min(known, shown) >= LEAST_CUSTOMERS:
        return None
    return (
        f"{shown} offers since, {known} in training: what offers are is compared by offer, of "
        f"which {LEAST_CUSTOMERS} are needed each time"
    )


def _level(index: float, drifted: bool) -> Level:
    if not drifted or index < LOOK:
        return "steady"
    return "retrain" if index >= RETRAIN else "look"


def _calibration(model: ResponseModel, matured: TrainingFrame, seed: int) -> Calibration:
    told = model.predict(matured.columns(model.names))
    # Skill is not asked here, so that any rate does.
    rate = np.full(len(told), 0.5)
    customers = matured.rows["customer_id"].to_numpy()
    return calibration(matured.outcome, told, rate, told, customers, seed)


def _off(found: Calibration) -> bool:
    return any(
        figure.high < least or figure.low > most
        for figure, (least, most) in (
            (found.slope, SLOPE),
            (found.observed_expected, OBSERVED_EXPECTED),
        )
    )

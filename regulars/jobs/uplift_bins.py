"""Uplift bins: in which fifth of predicted uplift was everybody before an experiment began?

A model that had learned by then said whom offers would move. If it was right, the effect rises
from the lowest fifth to the highest; a model of later has seen the answer and is not asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from experiments.design import Experiment
from foundation.lake import Lake
from foundation.model_life import ModelLife, Version
from recommender.affinity import response_hash
from recommender.offer_uplift import OfferUplift
from recommender.uplift_registry import TOLD_UNTIL, UPLIFT, UpliftRegistry
from regulars.jobs.customers import customer_features, registry

SEGMENTATION = "predicted uplift"
BINS = 5


@dataclass(frozen=True)
class UpliftModels:
    """The uplift models and their life."""

    life: ModelLife
    models: UpliftRegistry


@dataclass(frozen=True)
class UpliftBins:
    """customer_id, segmentation and segment, the lowest fifth first; `refused` says why none."""

    rows: pd.DataFrame
    refused: str | None


def uplift_bins(lake: Lake, found: UpliftModels, design: Experiment, start: datetime) -> UpliftBins:
    """Return everybody's fifth by the newest model that was trained before the start.

    Predicted is what the best of the experiment's offers brings, by what was known of the customer
    at the start.
    """
    version = next((one for one in found.life.versions(UPLIFT) if _before(one, start)), None)
    if version is None:
        return _none("no uplift model had been trained when the experiment began")
    model = found.models.load(version.number)
    if model.feature_hash != response_hash(registry(lake)):
        return _none(f"model '{version.name}' was trained on other definitions of features")
    known = customer_features(lake, start)
    # Moments differ from one decision to the next: what is said of her is said of none.
    matrix = known.reindex(columns=list(model.names)).to_numpy(dtype=np.float64, na_value=np.nan)
    predicted = model.values(matrix)[:, _places(model, design)].max(axis=1)
    edges = np.unique(np.quantile(predicted, np.arange(1, BINS) / BINS))
    place = np.searchsorted(edges, predicted, side="left")
    if len(np.unique(place)) < 2:
        return _none(f"model '{version.name}' tells no customer from another")
    names = np.array([_called(number, len(edges) + 1) for number in range(len(edges) + 1)])
    rows = pd.DataFrame(
        {"customer_id": known.index, "segmentation": SEGMENTATION, "segment": names[place]}
    )
    return UpliftBins(rows, None)


def _called(number: int, of: int) -> str:
    end = {0: " (lowest)", of - 1: " (highest)"}.get(number, "")
    return f"{number + 1} of {of}{end}"


def _before(version: Version, start: datetime) -> bool:
    told = version.tags.get(TOLD_UNTIL)
    learned = version.trained_at if told is None else datetime.fromisoformat(told)
    return max(learned, version.trained_at) <= start


def _places(model: OfferUplift, design: Experiment) -> Sequence[int]:
    """Return the places of the experiment's offers among the model's; of all where it names none
    that the model knows."""
    named = {offer for one in design.variants for offer in one.offers or ()}
    found = [place for place, offer in enumerate(model.offers) if offer in named]
    return found or list(range(len(model.offers)))


def _none(why: str) -> UpliftBins:
    names = ["customer_id", "segmentation", "segment"]
    return UpliftBins(pd.DataFrame(columns=names), f"no effects by predicted uplift: {why}")

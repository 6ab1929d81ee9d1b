"""Exposures of our own decisions: what was recorded when an offer was shown, and what followed.

Inputs are the recorded ones, never computed anew; an outcome is credited to one decision only (see
credit.py). A decision whose inputs were recorded under other definitions than today's is left out
and counted: its columns mean something else.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from foundation.context import context_features
from foundation.features import Feature
from foundation.lake import Lake
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.affinity import response_hash
from recommender.credit import credited, responded
from recommender.decision_log import decision_records, time_zones
from recommender.exposures import (
    TrainingFrame,
    input_names,
    offer_matrix,
    with_history,
    with_window,
)

_COLUMNS = (
    "customer_id",
    "offer_id",
    "at",
    "channel",
    "source",
    "decision_id",
    "propensity",
    "slate_propensity",
    "propensity_valid",
)


def recorded_exposures(
    lake: Lake, features: Sequence[Feature], observed_until: datetime, time_zone: str
) -> TrainingFrame:
    """Build the training frame from the lake's decisions and the outcomes that followed.

    Customers unknown to the snapshot of then are kept, with missing values. Terms of an offer
    (reward, cost, scope) are those the lake has today.

    Args:
        features: Today's definitions.
        observed_until: Outcomes were told up to here; later windows are censored.
        time_zone: Zone of a customer who has none of her own.
    """
    definitions, width = response_hash(features), len(features)
    zones = time_zones(lake)
    facts: list[tuple[Any, ...]] = []
    inputs: list[np.ndarray] = []
    current: list[bool] = []
    for record in decision_records(lake):
        sound = record.vector is None or (
            record.versions.features == definitions and len(record.vector) == width
        )
        vector = _floats(record.vector, width) if sound else np.full(width, np.nan)
        zone = zones.get(record.customer_id) or time_zone
        basket = record.context.basket
        amounts = None if basket is None else [line.amount for line in basket]
        context = context_features(record.channel, record.at, zone, amounts)
        for slate in record.slates:
            for shown in slate.offers:
                facts.append(
                    (
                        record.customer_id,
                        shown.offer_id,
                        record.at,
                        record.channel,
                        "decision",
                        record.decision_id,
                        shown.propensity,
                        slate.slate_propensity,
                        record.propensity_valid,
                    )
                )
                affinity = _floats(shown.affinity, len(AFFINITY_NAMES))
                inputs.append(np.concatenate([vector, affinity, context]))
                current.append(sound)
    shown = pd.DataFrame(facts, columns=list(_COLUMNS))
    shown["at"] = pd.to_datetime(shown["at"], utc=True).astype("datetime64[us, UTC]")
    shown = with_window(lake, shown)
    answerable = shown["at"] < shown["ends"]
    over = shown["ends"] <= observed_until
    sound_rows = np.array(current, dtype=bool)
    chosen = (answerable & over).to_numpy() & sound_rows
    told_of = {
        name: _followed(shown, credited(lake, shown, kind))[chosen]
        for name, kind in (("outcome", "redeem"), ("activated", "activate"))
    }
    rows = shown[chosen].reset_index(drop=True).assign(as_of=lambda t: t["at"], **told_of)
    rows = with_history(lake, rows)
    offer_names, offer = offer_matrix(lake, rows["offer_id"])
    names = input_names(features, offer_names)
    told = np.array(inputs, dtype=np.float64).reshape(-1, len(names) - len(offer_names))[chosen]
    return TrainingFrame(
        rows.drop(columns="as_of"),
        np.hstack([told[:, :width], offer, told[:, width:]]),
        names,
        censored=int((answerable & ~over).sum()),
        observed_until=observed_until,
        unanswerable=int((~answerable).sum()),
        outdated=int(((answerable & over).to_numpy() & ~sound_rows).sum()),
    )


def _followed(shown: pd.DataFrame, outcomes: pd.DataFrame) -> np.ndarray:
    """Return whether an outcome lies inside each exposure's window and stays, 0 or 1."""
    windows = shown[["decision_id", "offer_id", "at", "ends"]].reset_index(names="row")
    pairs = windows.merge(outcomes, on=["decision_id", "offer_id"], suffixes=("", "_told"))
    inside = (pairs["at_told"] >= pairs["at"]) & (pairs["at_told"] < pairs["ends"])
    followed = np.zeros(len(shown), dtype=np.int64)
    followed[responded(pairs[inside], ["row"])["row"]] = 1
    return followed


def _floats(values: Sequence[float | None] | None, width: int) -> np.ndarray:
    if values is None or len(values) != width:
        return np.full(width, np.nan)
    return np.array([np.nan if value is None else value for value in values])

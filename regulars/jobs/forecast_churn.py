"""Forecast churn: each active customer's probability by the champion, and what it puts at risk."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from foundation.errors import NothingToDo, RegularsError
from segmentation.churn import churn_inputs
from segmentation.churn_reasons import churn_reasons
from segmentation.registry import LiveChurn
from segmentation.value_at_risk import value_at_risk


@dataclass(frozen=True)
class ChurnForecast:
    """One run's forecasts: rows of the contract `forecasts`, and the value at risk by segment.

    `at_risk` is by segmentation or living segment: a row a group, as of value_at_risk.
    """

    rows: pd.DataFrame
    at_risk: dict[str, pd.DataFrame]


def forecast_churn(
    values: pd.DataFrame,
    labels: pd.DataFrame,
    worth: pd.Series,
    live: LiveChurn,
    feature_hash: str,
    as_of: datetime,
) -> ChurnForecast:
    """Return the champion's forecast for each active customer.

    Args:
        values: Every customer's features as of the run, by customer_id.
        labels: Every customer's groups, to price by: a column a segmentation or living segment.
        worth: What every customer is expected to bring if she stays, in minor units.
        feature_hash: Fingerprint of the churn features' definitions.

    Raises:
        RegularsError: The champion was trained on other definitions, or on what came later.
        NothingToDo: No customer is active.
    """
    if live.feature_hash != feature_hash:
        raise RegularsError(
            f"model {live.name!r} was trained on features {live.feature_hash}, this lake has "
            f"{feature_hash}; run 'regulars train churn'"
        )
    if as_of < live.trained_until:
        raise RegularsError(
            f"model {live.name!r} knows purchases until {live.trained_until:%Y-%m-%d}, later than "
            f"{as_of:%Y-%m-%d}; a run of then must not use it"
        )
    inputs = churn_inputs(values, live.model.days, live.model.active)
    if inputs.empty:
        raise NothingToDo(
            f"no customer bought in the last {live.model.active} days, so there is none whose "
            "churn could be told; load newer purchases"
        )
    probability = pd.Series(live.model.probability(inputs), index=inputs.index)
    low, high = live.line.interval(probability.to_numpy())
    rows = pd.DataFrame(
        {
            "customer_id": inputs.index,
            "model": live.name,
            "horizon_days": live.model.days,
            "value": probability.to_numpy(),
            "low": low,
            "high": high,
            "reasons": churn_reasons(live.model, inputs).to_numpy(),
        }
    )
    told = pd.DataFrame({"probability": probability, "low": low, "high": high})
    value = worth.loc[inputs.index]
    return ChurnForecast(
        rows, {str(name): value_at_risk(told, value, labels[name]) for name in labels}
    )


def forecast_rows(forecast: ChurnForecast, made: Mapping[str, Any]) -> pd.DataFrame:
    """Return the forecasts as rows of the contract; `made` are run_id, as_of and made_at."""
    rows = forecast.rows.assign(**made)
    rows["forecast_id"] = rows["run_id"] + "|" + rows["model"] + "|" + rows["customer_id"]
    return rows

"""Churn: how likely is this customer to buy nothing in the next N days, and why?

Gradient-boosted trees over what she bought as of an origin, and over her own rhythm. All inputs
look back over fixed windows: counts since a customer was first seen grow with the history loaded,
so that a model of spring misjudges autumn. No input is demographic. Log loss makes the
probabilities calibrated by themselves; how far they are is measured, not assumed
(segmentation/churn_report.py).

Sources: LightGBM, Ke et al. 2017; contributions, Lundberg and Lee 2017 (TreeSHAP).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from foundation.errors import RegularsError, TooLittleData
from foundation.features import Events, Feature, Rows
from segmentation.lifecycle import longer_silence_chance

CHURN_FEATURES = (
    "recency_days",
    "tenure_days",
    "visit_days_365d",
    "gap_mean_365d",
    "gap_spread_365d",
    "orders_7d",
    "orders_30d",
    "orders_90d",
    "orders_trend",
    "spend_30d",
    "spend_90d",
    "basket_mean_90d",
    "categories_90d",
    "products_90d",
)
# Needed for the rhythm; as inputs they would grow with the history loaded.
_RHYTHM_ONLY = ("tenure_days", "visit_days_365d")
INPUTS = (
    *(name for name in CHURN_FEATURES if name not in _RHYTHM_ONLY),
    "silence_in_gaps",
    "longer_silence_logit",
)

FEWEST_CHURNED = 100
FEWEST_ROWS = 1000
# Small trees, each a little: chosen on origins of Complete Journey before its last six months.
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 4,
    "learning_rate": 0.03,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    # On few rows threads wait for each other longer than they work.
    "num_threads": 1,
    "verbose": -1,
}
ROUNDS = (50, 100, 200, 400)
USUAL_ROUNDS = 200


@dataclass(frozen=True)
class ChurnModel:
    """A fitted model of no purchase in the next `days`, for customers who bought in `active`."""

    trees: lightgbm.Booster
    days: int
    active: int
    rounds: int

    def probability(self, inputs: pd.DataFrame) -> np.ndarray:
        """Return each customer's probability of no purchase, shape (n,)."""
        return np.asarray(self.trees.predict(_matrix(inputs)), dtype=np.float64)

    def contributions(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """Return what each input adds to the log-odds, same index, and `average`: the rest.

        A row's sum is the logit of its probability.
        """
        found = np.asarray(self.trees.predict(_matrix(inputs), pred_contrib=True))
        return pd.DataFrame(found, index=inputs.index, columns=[*INPUTS, "average"])


def churn_features(registry: Sequence[Feature]) -> tuple[Feature, ...]:
    """Return the definitions that the model's inputs are made of, in the registry's order."""
    return tuple(feature for feature in registry if feature.name in CHURN_FEATURES)


def churn_labels(events: Events, spine: Rows, days: int) -> Rows:
    """Return who of a spine bought in the `days` from as_of on.

    Args:
        events: Source of purchases.
        spine: Distinct pairs, columns customer_id and as_of (aware).

    Returns:
        customer_id and as_of of those who did; a receipt that gives back more than it takes is no
        purchase, as for the features.
    """
    lines: Rows = events.table("purchases").select("customer_id", "at", "order_id", "amount")
    joined: Rows = spine.select("customer_id", "as_of").join(lines, "customer_id")
    age: Rows = joined["at"].epoch_seconds() - joined.as_of.epoch_seconds()
    window = timedelta(days=days).total_seconds()
    later: Rows = joined.filter((joined["at"] >= joined.as_of) & (age < window))
    orders = later.group_by("customer_id", "as_of", "order_id").aggregate(amount=later.amount.sum())
    return orders.filter(orders.amount >= 0).select("customer_id", "as_of").distinct()


def churn_inputs(features: pd.DataFrame, days: int, active: int) -> pd.DataFrame:
    """Return the model's inputs for the customers who are active as of one instant.

    Args:
        features: One row a customer, CHURN_FEATURES as of one and the same instant.
        active: A customer is active who bought within this many days.

    Returns:
        Columns INPUTS, float; rows of active customers alone, same order.
    """
    profile = features.loc[features["recency_days"] < active, list(CHURN_FEATURES)]
    profile = profile.astype("float64")
    chance = longer_silence_chance(profile, days).clip(1e-6, 1 - 1e-6)
    found = profile.drop(columns=list(_RHYTHM_ONLY))
    found["silence_in_gaps"] = profile["recency_days"] / profile["gap_mean_365d"]
    found["longer_silence_logit"] = np.log(chance / (1 - chance))
    return found[list(INPUTS)]


def fit_churn(frame: pd.DataFrame, days: int, active: int, seed: int) -> ChurnModel:
    """Fit a model on origins whose labels are known; the number of trees by the newest of them.

    Args:
        frame: A row a customer and origin: INPUTS, as_of and churned (0 or 1).
        days, active: What the rows were made with.

    Raises:
        TooLittleData: Fewer than FEWEST_ROWS rows, or than FEWEST_CHURNED of either outcome.
    """
    churned = int(frame["churned"].sum())
    if len(frame) < FEWEST_ROWS or min(churned, len(frame) - churned) < FEWEST_CHURNED:
        raise TooLittleData(
            f"a churn model on {len(frame):,} rows of active customers, {churned:,} of whom bought "
            f"nothing in {days} days: {FEWEST_ROWS:,} rows and {FEWEST_CHURNED} of either outcome "
            "are needed; load more customers or a longer history"
        )
    rounds = _best_rounds(frame, days, seed)
    return ChurnModel(_boost(frame, rounds, seed), days, active, rounds)


def _best_rounds(frame: pd.DataFrame, days: int, seed: int) -> int:
    """Choose the number of trees on the newest origins, from those known before them."""
    newest = frame["as_of"].max() - timedelta(days=days)
    recent = frame[frame["as_of"] > newest]
    past = frame[frame["as_of"] <= recent["as_of"].min() - timedelta(days=days)]
    if len(past) < FEWEST_ROWS or past["churned"].sum() < FEWEST_CHURNED:
        return USUAL_ROUNDS
    trees = _boost(past, max(ROUNDS), seed)
    matrix, outcome = _matrix(recent), recent["churned"].to_numpy(np.float64)

    def loss(rounds: int) -> float:
        p = np.asarray(trees.predict(matrix, num_iteration=rounds), dtype=np.float64)
        return float(-np.mean(outcome * np.log(p) + (1 - outcome) * np.log(1 - p)))

    return min(ROUNDS, key=loss)


def _boost(frame: pd.DataFrame, rounds: int, seed: int) -> lightgbm.Booster:
    outcome = frame["churned"].to_numpy(np.float64)
    data = lightgbm.Dataset(_matrix(frame), outcome, feature_name=list(INPUTS))
    return lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=rounds)


def _matrix(inputs: pd.DataFrame) -> np.ndarray:
    if missing := [name for name in INPUTS if name not in inputs.columns]:
        raise RegularsError(
            f"the churn model needs input {missing[0]!r}, which these rows lack; make them with "
            "churn_inputs"
        )
    return inputs[list(INPUTS)].to_numpy(np.float64)

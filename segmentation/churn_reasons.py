"""Why is a customer's churn probability what it is? The facts that weigh most, as short sentences.

Contributions to the log-odds are added up by topic, and the topics that push a customer furthest
the way she stands off the average are told: above the average they raise the risk, below it they
lower it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from segmentation.churn import ChurnModel

REASONS = 2


def _silence(row: Any) -> str:
    told = f"has not bought for {row.recency_days:.0f} days"
    if np.isnan(row.gap_mean_365d):
        return f"{told}, and only on one day in the last year"
    usual = max(row.gap_mean_365d, 1)
    if row.recency_days <= usual:
        told = f"bought {row.recency_days:.0f} days ago"
    return f"{told}, usually every {usual:.0f}"


def _steadiness(row: Any) -> str:
    if np.isnan(row.gap_spread_365d):
        return "has too few visits to show a rhythm"
    return f"gaps between visits vary by {row.gap_spread_365d:.0f} days"


def _frequency(row: Any) -> str:
    return (
        f"orders: {row.orders_7d:.0f} in the last 7 days, {row.orders_30d:.0f} in 30, "
        f"{row.orders_90d:.0f} in 90"
    )


def _spend(row: Any) -> str:
    if row.spend_90d <= 0:
        return "spent nothing in the last 90 days"
    return f"spent {row.spend_30d / row.spend_90d:.0%} of the last 90 days' money in the last 30"


def _variety(row: Any) -> str:
    return (
        f"bought {row.products_90d:.0f} products of {row.categories_90d:.0f} categories in the "
        "last 90 days"
    )


TOPICS: tuple[tuple[tuple[str, ...], Callable[[Any], str]], ...] = (
    (("recency_days", "gap_mean_365d", "silence_in_gaps", "longer_silence_logit"), _silence),
    (("gap_spread_365d",), _steadiness),
    (("orders_7d", "orders_30d", "orders_90d", "orders_trend"), _frequency),
    (("spend_30d", "spend_90d", "basket_mean_90d"), _spend),
    (("categories_90d", "products_90d"), _variety),
)


def churn_reasons(model: ChurnModel, inputs: pd.DataFrame) -> pd.Series:
    """Return each customer's strongest reasons.

    Args:
        inputs: As ChurnModel.probability takes them.

    Returns:
        Lists of at most REASONS sentences, the strongest first, same index; empty where nothing
        moves the probability off the average.
    """
    found = model.contributions(inputs).drop(columns="average")
    topics = np.column_stack([found[list(names)].sum(axis=1) for names, _ in TOPICS])
    # Positive: pushes the way the customer stands off the average.
    push = topics * np.sign(topics.sum(axis=1))[:, None]
    strongest = np.argsort(-push, axis=1, kind="stable")[:, :REASONS]
    told = [
        [TOPICS[topic][1](row) for topic in order if pushes[topic] > 0]
        for row, order, pushes in zip(inputs.itertuples(), strongest, push, strict=True)
    ]
    return pd.Series(told, index=inputs.index, dtype=object, name="reasons")

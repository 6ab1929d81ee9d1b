"""What would somebody without a model forecast? The plain forecasts that a model has to beat."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from segmentation.purchase_summary import DAYS_A_WEEK

Floats = np.ndarray
# Rows of summarise_days and weeks ahead, to purchases of each row, shape (n,).
Forecast = Callable[[pd.DataFrame, float], Floats]


def as_often_as_so_far(summary: pd.DataFrame, weeks: float) -> Floats:
    """Purchases go on at each customer's own rate so far, shape (n,)."""
    x, T = summary["x"].to_numpy(), summary["T"].to_numpy()
    return np.where(T > 0, x / np.maximum(T, 1 / DAYS_A_WEEK), 0.0) * weeks


def everybody_alike(summary: pd.DataFrame, weeks: float) -> Floats:
    """Everybody goes on at the rate of all customers together so far, shape (n,)."""
    seen = float(summary["T"].sum())
    rate = float(summary["x"].sum()) / seen if seen > 0 else 0.0
    return np.full(len(summary), rate * weeks)


def nobody_buys(summary: pd.DataFrame, _weeks: float) -> Floats:
    """Nobody comes back, shape (n,)."""
    return np.zeros(len(summary))


PLAIN: dict[str, Forecast] = {
    "as often as so far": as_often_as_so_far,
    "everybody alike": everybody_alike,
    "nobody buys": nobody_buys,
}
# Of a customer who most likely buys nothing, nothing is the median: it has the lowest MAE that
# there is, below that of the true expectation. So it is a rival in RMSE alone.
RIVALS_IN_MAE = ("as often as so far", "everybody alike")

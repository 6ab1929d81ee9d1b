"""What purchase-count models need to know of a customer: how often, how recently, how long seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from foundation.errors import TooLittleData

DAYS_A_WEEK = 7.0


@dataclass(frozen=True)
class PurchaseSummary:
    """Customers grouped by identical history; times in weeks.

    `x` counts days with a purchase after the first, `t_x` is the age at the last of them, `T` the
    age at the end of observation, all of shape (n_groups,); `count` customers share a group and
    `group` gives each customer's, shape (n_customers,).
    """

    x: np.ndarray
    t_x: np.ndarray
    T: np.ndarray
    count: np.ndarray
    group: np.ndarray

    def __post_init__(self) -> None:
        if len(self.group) == 0:
            raise TooLittleData("no customer has bought anything; load more purchases")


def group_histories(x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> PurchaseSummary:
    """Group customers of identical history: likelihoods then cost one row a group.

    Args:
        x, t_x, T: As in PurchaseSummary, one value a customer, shape (n_customers,).
    """
    rows = np.column_stack([x, t_x, T]).astype(np.float64)
    unique, group, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return PurchaseSummary(unique[:, 0], unique[:, 1], unique[:, 2], count, group.reshape(-1))


def summarise_days(purchases: pd.DataFrame, end_day: int) -> pd.DataFrame:
    """Summarise purchases up to and including a day; purchases of one day count as one.

    A day on which a customer got back more than she paid is a return: no purchase, but it lowers
    what her purchases brought.

    Args:
        purchases: Columns customer_id, day (whole days of any calendar count), amount.
        end_day: Last day of observation.

    Returns:
        Index customer_id, who bought by then; x, t_x and T in weeks, and `spend`, the mean amount
        of a repeat purchase day net of returns (NaN without one), in the amounts' own unit.
    """
    days = _days(purchases[purchases["day"] <= end_day])
    bought = days[days["amount"] >= 0]
    by_customer = bought.groupby("customer_id")["day"].agg(["min", "max", "size"])
    first = days["customer_id"].map(by_customer["min"])
    after_first = days[days["day"] > first].groupby("customer_id")["amount"].sum()
    x = (by_customer["size"] - 1).astype(float)
    return pd.DataFrame(
        {
            "x": x,
            "t_x": (by_customer["max"] - by_customer["min"]) / DAYS_A_WEEK,
            "T": (end_day - by_customer["min"]) / DAYS_A_WEEK,
            "spend": after_first.reindex(by_customer.index) / x.where(x > 0),
        }
    )


def purchases_after(purchases: pd.DataFrame, day: int, customers: pd.Index) -> np.ndarray:
    """Count each customer's purchase days after a day, shape (n_customers,)."""
    days = _days(purchases[purchases["day"] > day])
    counted = days[days["amount"] >= 0].groupby("customer_id").size()
    return counted.reindex(customers, fill_value=0).to_numpy(np.float64)


def _days(purchases: pd.DataFrame) -> pd.DataFrame:
    return purchases.groupby(["customer_id", "day"])["amount"].sum().reset_index()

"""What purchase-count models need to know of a customer: how often, how recently, how long seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from foundation.errors import TooLittleData

DAYS_A_WEEK = 7.0

# Amounts with decimals add up with rounding: less than this is nothing in any unit.
LEAST_AMOUNT = 1e-6

# A shop has begun when so many of its customers, and at least so few, have bought.
BEGUN_SHARE = 0.01
BEGUN_CUSTOMERS = 10


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

    Returns lower the day they undo (kept_days); a later return is not known yet.

    Args:
        purchases: As for kept_days.
        end_day: Last day of observation.

    Returns:
        Index customer_id, who bought by then and kept something; x, t_x and T in weeks, and
        `spend`, the mean amount of a repeat purchase day net of returns (NaN without one), in the
        amounts' own unit.
    """
    days = kept_days(purchases[purchases["day"] <= end_day])
    by_customer = days.groupby("customer_id")["day"].agg(["min", "max", "size"])
    first = days.groupby("customer_id")["day"].transform("min")
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


def first_day(purchases: pd.DataFrame) -> int:
    """Return the day by which the shop had begun: 1 % of its customers, at least 10, had bought.

    Lines before it belong to the history as any other, but it is not measured by them: one slip of
    a date would make it a hundred years long.

    Args:
        purchases: As for kept_days, at least one row.
    """
    bought = purchases[purchases["amount"] >= 0]
    first = np.sort(bought.groupby("customer_id")["day"].min().to_numpy())
    if not len(first):
        return int(purchases["day"].min())
    begun = max(int(np.ceil(BEGUN_SHARE * len(first))), BEGUN_CUSTOMERS)
    return int(first[min(begun, len(first)) - 1])


def purchases_after(purchases: pd.DataFrame, day: int, customers: pd.Index) -> np.ndarray:
    """Count each customer's purchase days after a day, shape (n_customers,).

    Args:
        purchases: As for kept_days, those up to the day too: returns may undo them.
    """
    days = kept_days(purchases)
    counted = days[days["day"] > day].groupby("customer_id").size()
    return counted.reindex(customers, fill_value=0).to_numpy(np.float64)


def kept_days(purchases: pd.DataFrame) -> pd.DataFrame:
    """Return the days on which a customer bought something that she did not wholly give back.

    A return is charged to the day it undoes where that is known. Else it is taken from its own day
    and then from the days before it, the latest first: what was bought long ago is seldom brought
    back. What is left over undoes purchases before the history. A day on which nothing was paid,
    with points for example, is a purchase; one of which returns left nothing is none.

    Args:
        purchases: Columns customer_id, day (whole days of any calendar count), amount (below 0 in
            a return) and, where returns name their purchase, `undoes`: its day, null elsewhere.

    Returns:
        Columns customer_id, day, amount (what was left), a row a customer and day, in order.
    """
    undoes = purchases.get("undoes", pd.Series(np.nan, index=purchases.index))
    named = undoes.notna()
    nameless = (purchases["amount"] < 0) & ~named
    bought = purchases[~named & ~nameless]
    days = bought.groupby(["customer_id", "day"])["amount"].sum()
    left = days.to_numpy(np.float64, copy=True)
    touched = np.zeros(len(left), dtype=bool)
    if named.any():
        undone = purchases[named].groupby(["customer_id", "undoes"])["amount"].sum()
        place = days.index.get_indexer(undone.index)
        left[place[place >= 0]] += undone.to_numpy(np.float64)[place >= 0]
        touched[place[place >= 0]] = True
    # Where nothing was bought there is nothing to give back.
    if nameless.any() and len(left):
        _take_back(purchases[nameless], days.index, left, touched)
    found = days.index.to_frame(index=False).assign(amount=left)
    return found[(left > LEAST_AMOUNT) | ~touched].reset_index(drop=True)


def _take_back(
    returns: pd.DataFrame, days: pd.Index, left: np.ndarray, touched: np.ndarray
) -> None:
    """Take returns from what is left of the days before them, in place, the latest first."""
    owed = -returns.groupby(["customer_id", "day"])["amount"].sum()
    customers = pd.Index(days.get_level_values("customer_id"))
    returned_by, returned_on = (owed.index.get_level_values(level) for level in (0, 1))
    first = customers.searchsorted(returned_by, side="left")
    after = customers.searchsorted(returned_by, side="right")
    bought_on = days.get_level_values("day").to_numpy()
    rows = zip(first, after, returned_on, owed.to_numpy(np.float64), strict=True)
    for start, stop, day, amount in rows:
        last = start + np.searchsorted(bought_on[start:stop], day, side="right") - 1
        for place in range(last, start - 1, -1):
            if amount <= 0:
                break
            taken = min(amount, max(left[place], 0.0))
            touched[place] |= taken > 0
            left[place] -= taken
            amount -= taken

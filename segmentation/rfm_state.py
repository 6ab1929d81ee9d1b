"""What RFM needs of the past, in a form that a day's new lines can be merged into.

The state is one row a receipt: who, when, and the sum of its lines. Recency, frequency and money
follow from it for any instant and any window. All of it is whole numbers and sums, so a merge is
exact and its order does not matter: late lines, later parts of a receipt and returns included.
"""

from datetime import datetime, timedelta
from typing import Any

import ibis

RECEIPT = ("customer_id", "order_id", "at")

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any


def summarise_receipts(lines: ibis.Table) -> ibis.Table:
    """Sum lines up to receipts.

    Args:
        lines: Columns customer_id, order_id, at, amount (minor units; negative for a return).

    Returns:
        One row a receipt and instant: customer_id, order_id, at, amount.
    """
    rows: Rows = lines
    return rows.group_by(*RECEIPT).aggregate(amount=rows.amount.sum().cast("int64"))


def merge_receipts(state: ibis.Table, fresh: ibis.Table) -> ibis.Table:
    """Return the receipts that new lines touch, with their new sums.

    Args:
        state: Receipts of all lines before.
        fresh: Receipts of the new lines alone.
    """
    touched = state.semi_join(fresh, RECEIPT).select(*RECEIPT, "amount")
    return summarise_receipts(touched.union(fresh.select(*RECEIPT, "amount")))


def rfm_profile(receipts: ibis.Table, as_of: datetime, window_days: int) -> ibis.Table:
    """Return recency, frequency and money of every customer with a receipt before an instant.

    Args:
        receipts: As from summarise_receipts.
        as_of: Receipts at or after it are not known yet.
        window_days: Frequency and money look this far back.

    Returns:
        customer_id; recency_days, days since the last order (null without one); orders in the
        window; lifetime_orders, all there ever were; spend in the window, in minor units, returns
        lower it. A receipt that gives back more than it takes is a return and not an order.
    """
    # Ages count whole seconds, as those of features.py do.
    now = as_of.replace(microsecond=0)
    since = ibis.literal(now - timedelta(days=window_days) + timedelta(seconds=1))
    past: Rows = receipts
    past = past.filter(past["at"] < ibis.literal(as_of))
    orders = past.group_by("customer_id", "order_id").aggregate(
        first=past["at"].min(),
        amount=past.amount.sum(),
        inside=past.amount.sum(where=past["at"] >= since),
    )
    real = orders.amount >= 0
    found = orders.group_by("customer_id").aggregate(
        newest=orders["first"].max(where=real),
        # Counted and not summed: DuckDB sums to 128 bits, which cost a conversion on the way out.
        lifetime=orders.count(where=real),
        orders=orders.count(where=real & (orders["first"] >= since)),
        spend=orders.inside.sum(),
    )
    return found.select(
        "customer_id",
        recency_days=_days(now, found.newest),
        orders=found.orders,
        lifetime_orders=found.lifetime,
        spend=found.spend.fill_null(0).cast("int64"),
    )


def _days(later: datetime, earlier: Rows) -> Rows:
    return (int(later.timestamp()) - earlier.epoch_seconds().floor()) / 86_400

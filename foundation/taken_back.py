"""Taken back: which redemptions were reversed, and since when is that known?

A reversal takes back the latest redemption before it, of the same customer and offer, that no other
reversal took back. That depends on nothing after the reversal, so one answer holds for every
instant: as of T a redemption stands that was not taken back before T.
"""

from typing import Any

import ibis

# What takes an event of a kind back.
TAKEN_BACK = {"redeem": "reverse"}

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any


def with_taken_back(interactions: Rows) -> Rows:
    """Return events without reversals, each with `taken_back_at`, null where it never was.

    Args:
        interactions: Among others customer_id, offer_id, kind and at.
    """
    columns, uses_and_back = interactions.columns, ("redeem", TAKEN_BACK["redeem"])
    uses = interactions.filter(interactions.kind.isin(uses_and_back))
    redeemed = uses.kind == "redeem"
    # Of one instant, what is taken back was redeemed first: the kinds are in this order.
    so_far = ibis.window(
        group_by=["customer_id", "offer_id"], order_by=["at", "kind"], preceding=None, following=0
    )
    uses = uses.mutate(level=redeemed.ifelse(1, -1).sum().over(so_far))
    # As brackets do: one that closes lies as deep as the one that it closes.
    uses = uses.mutate(depth=(uses.kind == "redeem").ifelse(uses.level, uses.level + 1))
    as_deep = ibis.window(group_by=["customer_id", "offer_id", "depth"], order_by=["at", "kind"])
    # Of the last one there is none, whatever Ibis takes a lead of what is never null for.
    instant = interactions["at"].type().copy(nullable=True)
    uses = uses.mutate(taken_back_at=uses["at"].lead().over(as_deep).cast(instant))
    uses = uses.filter(uses.kind == "redeem").select(*columns, "taken_back_at")
    others = interactions.filter(interactions.kind.notin(uses_and_back))
    return others.mutate(taken_back_at=ibis.null(instant)).union(uses)


def standing(events: Rows, as_of: Rows) -> Rows:
    """Return events that were not taken back before an instant.

    Args:
        events: As from with_taken_back.
        as_of: An instant, or a column of the events.
    """
    return events.filter(events.taken_back_at.isnull() | (events.taken_back_at >= as_of))

"""Counted events: how often did a customer do something in a window before T?

An event is a purchase or a kind of interaction, narrowed to values of its fields. The window is
[T - days, T) with days of exactly 24 hours, whatever the clocks do: a count depends on instants
and not on zones. Without days it is the whole past.

A purchase counts distinct orders in which at least one fitting line was bought and kept. A line is
bought when it returns nothing and its quantity is above 0. It is kept until lines that return it,
before T, give back its whole quantity; a return that names no line takes nothing back, since
nobody knows which. Interactions count as often as they were told.
"""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from hashlib import blake2b
from typing import Any, Literal, Protocol, Self, get_args

import ibis

from foundation.among import among
from foundation.contracts.tables import INTERACTION_KINDS

Source = Literal["purchase", "interaction"]
SOURCES: tuple[Source, ...] = get_args(Source)

# Told purchases and returns are purchase lines too: counted there, with the loaded ones.
EVENTS = ("purchase", *(kind for kind in INTERACTION_KINDS if kind not in ("purchase", "return")))

FIELDS: dict[Source, tuple[str, ...]] = {
    "purchase": ("category", "subcategory", "brand", "product", "store", "channel"),
    "interaction": ("offer", "channel", "touchpoint"),
}

# Weights add up with rounding: less than this of a line is nothing.
LEAST_QUANTITY = 1e-9

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any


class Events(Protocol):
    """The tables that events are counted in; a lake is one."""

    def table(self, name: str) -> ibis.Table: ...


@dataclass(frozen=True, slots=True)
class Count:
    """An event, the values its fields may have (a field not named may have any), and the window.

    `where` is ordered by field and its values are too, so that equal counts are equal.
    """

    event: str
    where: tuple[tuple[str, tuple[str, ...]], ...]
    days: int | None

    @classmethod
    def of(cls, event: str, where: Mapping[str, Sequence[str]], days: int | None) -> Self:
        """Return a count in its canonical form."""
        ordered = sorted((name, tuple(sorted(set(values)))) for name, values in where.items())
        return cls(event, tuple(ordered), days)

    @property
    def source(self) -> Source:
        return "purchase" if self.event == "purchase" else "interaction"

    @property
    def name(self) -> str:
        """The count's column: the same for the same count in every rule and run."""
        told = json.dumps([self.event, self.where, self.days])
        return f"count_{blake2b(told.encode(), digest_size=8).hexdigest()}"


def kept_lines(events: Events, as_of: datetime) -> ibis.Table:
    """Return the purchase lines that count at an instant.

    Returns:
        A row a line: customer_id, order_id, at, and purchase's FIELDS.
    """
    lines: Rows = events.table("purchases")
    lines = lines.filter(lines["at"] < _instant(as_of))
    returned = lines.filter(lines.returns_line_id.notnull())
    back = returned.group_by(line_id=returned.returns_line_id).aggregate(
        back=-returned.quantity.sum()
    )
    bought = lines.filter(lines.returns_line_id.isnull() & (lines.quantity > 0))
    kept = bought.left_join(back, "line_id").drop("line_id_right")
    kept = kept.filter(kept.back.isnull() | (kept.quantity - kept.back > LEAST_QUANTITY))
    products = events.table("products").select("product_id", "category", "subcategory", "brand")
    told = kept.left_join(products, "product_id").drop("product_id_right")
    return told.select(
        "customer_id",
        "order_id",
        "at",
        "category",
        "subcategory",
        "brand",
        "channel",
        product=told.product_id,
        store=told.store_id,
    )


def told_interactions(events: Events, as_of: datetime) -> ibis.Table:
    """Return the interactions before an instant.

    Returns:
        A row an interaction: customer_id, event_id, kind, at, and interaction's FIELDS.
    """
    told: Rows = events.table("interactions")
    return told.filter(told["at"] < _instant(as_of)).select(
        "customer_id", "event_id", "kind", "at", "channel", "touchpoint", offer=told.offer_id
    )


def with_counts(
    people: ibis.Table, events: Events, counts: Sequence[Count], as_of: datetime
) -> ibis.Table:
    """Return people with a column a count, int64; 0 where nothing of it happened.

    Args:
        people: A row a customer, column customer_id.
        counts: Distinct counts.
        as_of: Aware instant T.
    """
    sources: dict[Source, Rows] = {
        "purchase": kept_lines(events, as_of),
        "interaction": told_interactions(events, as_of),
    }
    result: Rows = people
    for source, rows in sources.items():
        asked = [count for count in counts if count.source == source]
        if not asked:
            continue
        times = {count.name: _times(rows, count, as_of) for count in asked}
        found = rows.group_by("customer_id").aggregate(**times)
        result = result.left_join(found, "customer_id").drop("customer_id_right")
        result = result.mutate(**{name: result[name].fill_null(0) for name in times})
    return result


def _times(rows: Rows, count: Count, as_of: datetime) -> Rows:
    fits: list[Rows] = [among(rows[name], values) for name, values in count.where]
    if count.source == "interaction":
        fits.append(rows.kind == count.event)
    if count.days is not None:
        fits.append(rows["at"] >= _instant(as_of - timedelta(days=count.days)))
    one = rows.order_id if count.source == "purchase" else rows.event_id
    return one.nunique(where=reduce(operator.and_, fits) if fits else None)


def _instant(at: datetime) -> ibis.Value:
    return ibis.literal(at).cast("timestamp('UTC')")

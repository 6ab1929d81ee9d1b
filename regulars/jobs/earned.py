"""Earned: what each unit of an experiment earned and did, in all, by day and by week.

A receipt may already be net of an offer: where it tells the offer's discount, that is what the
offer cost, and only what the declared cost goes beyond it is charged on top.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import ibis
import pandas as pd
import pyarrow as arrow

from experiments.metrics import Column, Mean, Metric, Proportion
from foundation.errors import RegularsError
from foundation.lake import Lake
from regulars.assumptions import margin_rate

# What is measured, by name; the margin is adjusted by that of the days before (CUPED).
MEASURED: dict[str, Metric] = {
    "margin": Mean(Column("margin"), Column("margin_before")),
    "orders": Mean(Column("orders")),
    "redeemed": Proportion(Column("redeemed")),
}
METRICS = tuple(MEASURED)
# Two purchase cycles of most customers.
DAYS_BEFORE = 56
MONEY = ("margin",)
# Days since 1970-01-01 (UTC), or weeks since the unit was assigned, from 0.
Period = Literal["day", "week"]
_DAY_SECONDS = 86_400
_UNIT = ("unit_id", "variant")


def with_metrics(
    lake: Lake,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
) -> pd.DataFrame:
    """Return one row a unit and variant with its metrics; a unit without purchases earns 0.

    `margin_before` is what she earned in the DAYS_BEFORE days before she was assigned.

    Args:
        units: As of `assigned_units`.
        until: Where all end, or where each row of `units` does.
        contact_costs: What a message that was sent costs by channel, in minor units.
        known: Until when what was bought before a unit's end may come back and count as returned.
    """
    spine = spine_of(lake, units, until)
    bought = _bought(lake, _lines(lake, spine, known), _UNIT)
    before = _bought(lake, _before(spine, lake.table("purchases")), _UNIT)
    before = before.rename(columns={"earned": "margin_before"}).drop(columns="orders")
    redeemed = _redeemed(lake, spine)
    contacted = _contacted(lake, spine, contact_costs or {})
    keys = [*_UNIT]
    metrics = (
        units[keys]
        .drop_duplicates()
        .merge(bought, on=keys, how="left")
        .merge(redeemed, on=keys, how="left")
        .merge(contacted, on=keys, how="left")
        .merge(before, on=keys, how="left")
        .fillna(
            dict.fromkeys(("earned", "orders", "uses", "cost", "contacts", "margin_before"), 0.0)
        )
    )
    metrics["margin"] = metrics["earned"] - metrics["cost"] - metrics["contacts"]
    metrics["redeemed"] = (metrics["uses"] > 0).astype(float)
    return metrics[[*keys, *METRICS, "margin_before"]]


def margin_by(
    lake: Lake,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    period: Period,
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
) -> pd.DataFrame:
    """Return what each unit's margin changed by in each period in which it did: unit_id, the
    period's number by its name, and value.

    A unit's periods add up to its margin in `with_metrics`.
    """
    spine = spine_of(lake, units, until)
    keys = (*_UNIT, period)
    bought = _bought(lake, _numbered(_lines(lake, spine, known), period), keys)
    cost = _redeemed(lake, spine, period)
    contacted = _contacted(lake, spine, contact_costs or {}, period)
    both = pd.concat(
        [
            bought.rename(columns={"earned": "value"}),
            cost.assign(value=-cost["cost"]),
            contacted.assign(value=-contacted["contacts"]),
        ]
    )
    summed = both.groupby([*keys], as_index=False).agg(value=("value", "sum"))
    return summed[["unit_id", period, "value"]]


def daily_changes(
    lake: Lake,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    metric: str,
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
) -> pd.DataFrame:
    """Return what each unit's metric changed by on each day on which it did: unit_id, day, value.

    A unit's days add up to its metric in `with_metrics`.
    """
    if metric == "margin":
        return margin_by(lake, units, until, "day", contact_costs, known)
    spine = spine_of(lake, units, until)
    if metric == "orders":
        return _orders_by_day(lake, spine)
    uses = _redeemed(lake, spine, "day").sort_values([*_UNIT, "day"], ignore_index=True)
    reached = (uses.groupby([*_UNIT])["uses"].cumsum() > 0).astype(float)
    before = reached.groupby([uses[name] for name in _UNIT]).shift(fill_value=0.0)
    return uses.assign(value=reached - before)[["unit_id", "day", "value"]]


def _orders_by_day(lake: Lake, spine: ibis.Table) -> pd.DataFrame:
    lines = during(spine, lake.table("purchases"))
    # An order past midnight is one all the same.
    begun = (
        lines.filter(lines.amount > 0).group_by(*_UNIT, "order_id").aggregate(at=lines["at"].min())
    )
    counted = _numbered(begun, "day").group_by("unit_id", "day")
    return _frame(lake, counted.aggregate(value=lambda t: t.count().cast("float64")))


def spine_of(lake: Lake, units: pd.DataFrame, until: "datetime | pd.Series") -> ibis.Table:
    """Return unit_id, variant, customer_id, and since when until when each counts."""
    first = units.groupby(["unit_id", "variant"])["since"].transform("min")
    # Tills write minutes: what she bought because of the decision may bear its minute's start.
    first = pd.to_datetime(first, utc=True).dt.floor("min")
    last = units["since"].map(lambda _: until) if isinstance(until, datetime) else until
    return lake.memory(
        arrow.table(
            {
                "unit_id": units["unit_id"].to_numpy(dtype=object),
                "variant": units["variant"].to_numpy(dtype=object),
                "customer_id": units["customer_id"].to_numpy(dtype=object),
                "since": arrow.array(first, type=arrow.timestamp("us", tz="UTC")),
                "ends": arrow.array(
                    pd.to_datetime(last, utc=True), type=arrow.timestamp("us", tz="UTC")
                ),
            }
        )
    )


def during(spine: ibis.Table, events: ibis.Table) -> ibis.Table:
    """Return the events of the spine's customers while they count."""
    joined = spine.join(events, "customer_id")
    at = joined["at"]
    return joined.filter((at >= joined.since) & (at < joined.ends))


def _lines(lake: Lake, spine: ibis.Table, known: datetime | None) -> ibis.Table:
    """Return the lines bought while units count, and those that took them back later."""
    purchases = lake.table("purchases")
    lines = during(spine, purchases)
    if known is None:
        return lines
    joined = spine.join(purchases, "customer_id")
    later = joined.filter(
        (joined["at"] >= joined.ends)
        & (joined["at"] < ibis.literal(known))
        & joined.returns_line_id.notnull()
    )
    bought = lines.select(*_UNIT, returns_line_id=lines.line_id).distinct()
    return lines.union(later.semi_join(bought, [*_UNIT, "returns_line_id"]))


def _before(spine: ibis.Table, events: ibis.Table) -> ibis.Table:
    joined = spine.join(events, "customer_id")
    at = joined["at"]
    start = joined.since - ibis.interval(days=DAYS_BEFORE)
    return joined.filter((at < joined.since) & (at >= start))


def _numbered(events: ibis.Table, period: Period | None) -> ibis.Table:
    if period is None:
        return events
    seconds = events["at"].epoch_seconds()
    if period == "day":
        return events.mutate(day=seconds // _DAY_SECONDS)
    return events.mutate(week=(seconds - events.since.epoch_seconds()) // (7 * _DAY_SECONDS))


def _bought(lake: Lake, lines: ibis.Table, keys: tuple[str, ...]) -> pd.DataFrame:
    rates = lake.table("products").select("product_id", "margin_rate")
    lines = lines.left_join(rates, "product_id")
    rate = lines.margin_rate.fill_null(margin_rate(lake))
    # A rate is of the price before the offer, whose discount is then the offer's cost.
    expected = (lines.amount + lines.offer_discount) * rate - lines.offer_discount
    earned = lines.margin.cast("float64").fill_null(expected)
    return _frame(
        lake,
        lines.mutate(earned=earned)
        .group_by(*keys)
        .aggregate(
            earned=lambda t: t.earned.sum(),
            orders=lambda t: t.order_id.nunique(where=t.amount > 0).cast("float64"),
        ),
    )


def _redeemed(lake: Lake, spine: ibis.Table, period: Period | None = None) -> pd.DataFrame:
    """Return uses and their cost beyond what receipts told, by unit, variant and period."""
    offer = [*_UNIT, "offer_id"]
    keys = [*_UNIT] if period is None else [*_UNIT, period]
    uses = lake.table("interactions").filter(lambda t: t.kind.isin(("redeem", "reverse")))
    used = _frame(
        lake,
        _numbered(during(spine, uses), period)
        .group_by(*keys, "offer_id")
        .aggregate(uses=lambda t: (t.kind == "redeem").sum() - (t.kind == "reverse").sum()),
    )
    lines = lake.table("purchases").filter(lambda t: t.offer_discount > 0)
    told = _frame(
        lake,
        _numbered(during(spine, lines), period)
        .group_by(*keys, "offer_id")
        .aggregate(told=lambda t: t.offer_discount.sum()),
    )
    costs = _frame(lake, lake.table("offers").select("offer_id", "cost"))
    unknown = used.loc[~used["offer_id"].isin(costs["offer_id"])]
    if len(unknown):
        raise RegularsError(
            f"{int(unknown['uses'].sum())} redemption(s) are of offers that the lake does not "
            f"know, first {unknown['offer_id'].iloc[0]!r}: their cost is unknown; load the offers, "
            "then report again"
        )
    both = pd.concat([used.assign(told=0.0), told.assign(uses=0.0)])
    merged = both.groupby([*keys, "offer_id"], as_index=False)[["uses", "told"]].sum()
    merged = merged.merge(costs, on="offer_id", how="left").fillna({"cost": 0.0})
    merged = merged.sort_values(keys, ignore_index=True)
    # What is told or given back in a later period settles what was charged in an earlier one.
    so_far = merged.assign(due=merged["uses"] * merged["cost"]).groupby(offer)[["due", "told"]]
    reached = so_far.cumsum()
    charged = (reached["due"] - reached["told"]).clip(lower=0)
    before = charged.groupby([merged[name] for name in offer]).shift(fill_value=0.0)
    merged["cost"] = charged - before
    summed = merged.groupby(keys, as_index=False)[["uses", "cost"]].sum()
    return summed.astype({"uses": "float64", "cost": "float64"})


def _contacted(
    lake: Lake, spine: ibis.Table, costs: Mapping[str, float], period: Period | None = None
) -> pd.DataFrame:
    """Return what messages sent cost, by unit, variant and period: `contacts`."""
    keys = [*_UNIT] if period is None else [*_UNIT, period]
    sent = lake.table("interactions").filter(lambda t: t.kind == "sent")
    counted = _frame(
        lake,
        _numbered(during(spine, sent), period)
        .group_by(*keys, "channel")
        .aggregate(times=lambda t: t.count().cast("float64")),
    )
    each = counted["channel"].map(dict(costs)).astype("float64").fillna(0.0)
    counted["contacts"] = counted["times"].astype("float64") * each
    return counted.groupby(keys, as_index=False)[["contacts"]].sum()


def _frame(lake: Lake, table: ibis.Table) -> pd.DataFrame:
    return lake.fetch(table).to_pandas()

"""Earned: what each unit of an experiment earned and did, in all, by day and by week.

A receipt may already be net of an offer: where it tells the offer's discount, that is what the
offer cost, and only what the declared cost goes beyond it is charged on top.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import reduce
from typing import Any, Literal

import ibis
import pandas as pd
import pyarrow as arrow

from experiments.metric_catalogue import BEFORE, MEMBERS
from foundation.errors import RegularsError
from foundation.lake import Lake
from regulars.assumptions import margin_rate

# Two purchase cycles of most customers.
DAYS_BEFORE = 56
# What is measured where nobody asks for more.
USUAL_COLUMNS = ("margin", "orders", "redeemed", "margin_before")
# Columns that lines of receipts sum up to, and those of people who said something.
_BOUGHT = ("earned", "spend", "orders", "items", "sold", "returned", "bought")
_ANSWERED = ("nps_points", "nps_answers", "csat_satisfied", "csat_answers")
_SAID = ("complained", "opted_out", *_ANSWERED)
# NPS: on 0-10, from 9 on a promoter, up to 6 a detractor. CSAT: 4 or 5 of 5 is satisfied.
NPS_SCALE, PROMOTER, DETRACTOR = 10, 9, 6
SATISFIED = 0.8
# Days since 1970-01-01 (UTC), or weeks since the unit was assigned, from 0.
Period = Literal["day", "week"]
_DAY_SECONDS = 86_400
_UNIT = ("unit_id", "variant")
_PERSON = (*_UNIT, "customer_id")


def unit_columns(
    lake: Lake,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    columns: Collection[str],
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
) -> ibis.Table:
    """Return one row a unit and variant with columns of what it did; 0 where it did nothing.

    Columns with BEFORE are of the DAYS_BEFORE days before she was assigned. `members` counts a
    unit's customers; `redeemed`, `bought`, `complained` and `opted_out` those who did so at all.

    Args:
        units: As of `assigned_units`.
        until: Where all end, or where each row of `units` does.
        columns: Which.
        contact_costs: What a message that was sent costs by channel, in minor units.
        known: Until when what was bought before a unit's end may come back and count as returned.

    Raises:
        RegularsError: An offer was redeemed that the lake does not know.
    """
    spine = spine_of(lake, units, until)
    asked = set(columns)
    whole = spine.group_by(*_UNIT).aggregate(members=spine.customer_id.nunique().cast("float64"))
    if asked & {"margin", *_BOUGHT}:
        whole = _with(whole, _sums(lake, _lines(lake, spine, known)), _BOUGHT)
    if "margin" in asked:
        _check_known(lake, spine)
        whole = _with(whole, _charged(lake, spine), ("cost",))
        whole = _with(whole, _contacts(lake, spine, contact_costs or {}), ("contacts",))
        whole = whole.mutate(margin=whole.earned - whole.cost - whole.contacts)
    if "redeemed" in asked:
        whole = _with(whole, _redeemers(lake, spine), ("redeemed",))
    earlier = {name for name in asked if name.endswith(BEFORE)}
    if earlier:
        sums = _sums(lake, _before(spine, lake.table("purchases")))
        named = {f"{'margin' if one == 'earned' else one}{BEFORE}": sums[one] for one in _BOUGHT}
        whole = _with(whole, sums.select(*_UNIT, **named), tuple(named))
    for name in _SAID:
        if name in asked:
            whole = _with(whole, _said(lake, spine, name), (name,))
    return whole.select(*_UNIT, *dict.fromkeys(columns))


def with_metrics(
    lake: Lake,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
    columns: Collection[str] = USUAL_COLUMNS,
) -> pd.DataFrame:
    """Return the rows of `unit_columns`, by unit and variant."""
    table = unit_columns(lake, units, until, columns, contact_costs, known)
    return _frame(lake, table.order_by(*_UNIT))


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
    lines = _numbered(_valued(lake, _lines(lake, spine, known)), period)
    bought = _frame(lake, lines.group_by(*keys).aggregate(value=lines.earned.sum()))
    cost = _charged_by(lake, spine, period)
    contacted = _contacts_by(lake, spine, contact_costs or {}, period)
    both = pd.concat(
        [
            bought,
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
    columns: Collection[str],
    contact_costs: Mapping[str, float] | None = None,
    known: datetime | None = None,
) -> pd.DataFrame:
    """Return what each unit's columns changed by on each day on which one did: unit_id, day and
    the columns.

    A unit's days add up to its columns in `with_metrics`. What does not change by the day (what was
    before, `members`) is left out.
    """
    spine = spine_of(lake, units, until)
    parts = [
        one.rename(columns={"value": name})
        for name in dict.fromkeys(columns)
        if name != MEMBERS and not name.endswith(BEFORE)
        for one in [_daily(lake, spine, units, until, name, contact_costs, known)]
    ]
    if not parts:
        return pd.DataFrame({"unit_id": pd.Series(dtype=object), "day": pd.Series(dtype="int64")})
    return pd.concat(parts).fillna(0.0).groupby(["unit_id", "day"], as_index=False).sum()


def _daily(
    lake: Lake,
    spine: ibis.Table,
    units: pd.DataFrame,
    until: "datetime | pd.Series",
    column: str,
    contact_costs: Mapping[str, float] | None,
    known: datetime | None,
) -> pd.DataFrame:
    """Return unit_id, day and value of one column."""
    if column == "margin":
        return margin_by(lake, units, until, "day", contact_costs, known)
    if column == "redeemed":
        return _redeemers_by_day(lake, spine)
    if column in ("spend", "items", "sold", "returned"):
        lines = _numbered(_valued(lake, _lines(lake, spine, known)), "day")
        return _by_day(lake, lines, lambda t: _line_sums(t)[column])
    if column in ("orders", "bought"):
        lines = during(spine, lake.table("purchases"))
        paid = lines.filter(lines.amount > 0)
        # An order past midnight is one all the same, and she buys for the first time once.
        of = "order_id" if column == "orders" else "customer_id"
        begun = paid.group_by(*_UNIT, of).aggregate(at=paid["at"].min())
        return _by_day(lake, _numbered(begun, "day"), lambda t: t.count())
    events = _told(lake, spine, column)
    if column in _ANSWERED:
        return _by_day(lake, _numbered(events, "day"), lambda t: t.told.sum())
    first = events.group_by(*_PERSON).aggregate(at=events["at"].min())
    return _by_day(lake, _numbered(first, "day"), lambda t: t.count())


def _by_day(lake: Lake, events: ibis.Table, value: Any) -> pd.DataFrame:
    summed = events.group_by("unit_id", "day").aggregate(value=value(events).cast("float64"))
    return _frame(lake, summed)


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


def _numbered(events: ibis.Table, period: Period) -> ibis.Table:
    seconds = events["at"].epoch_seconds()
    if period == "day":
        return events.mutate(day=seconds // _DAY_SECONDS)
    return events.mutate(week=(seconds - events.since.epoch_seconds()) // (7 * _DAY_SECONDS))


def _valued(lake: Lake, lines: ibis.Table) -> ibis.Table:
    """Return lines with what each earned."""
    rates = lake.table("products").select("product_id", "margin_rate")
    lines = lines.left_join(rates, "product_id")
    rate = lines.margin_rate.fill_null(margin_rate(lake))
    # A rate is of the price before the offer, whose discount is then the offer's cost.
    expected = (lines.amount + lines.offer_discount) * rate - lines.offer_discount
    return lines.mutate(earned=lines.margin.cast("float64").fill_null(expected))


def _line_sums(lines: ibis.Table) -> dict[str, Any]:
    """Return the sums of lines that add up line by line."""
    paid = lines.amount > 0
    return {
        "earned": lines.earned.sum(),
        "spend": lines.amount.sum(),
        "items": lines.quantity.sum(),
        "sold": paid.ifelse(lines.amount, 0).sum(),
        "returned": paid.ifelse(0, -lines.amount).sum(),
    }


def _sums(lake: Lake, lines: ibis.Table) -> ibis.Table:
    """Return the columns of _BOUGHT by unit."""
    valued = _valued(lake, lines)
    paid = valued.amount > 0
    sums = _line_sums(valued) | {
        "orders": valued.order_id.nunique(where=paid),
        "bought": valued.customer_id.nunique(where=paid),
    }
    return valued.group_by(*_UNIT).aggregate(
        **{name: value.cast("float64") for name, value in sums.items()}
    )


def _with(whole: ibis.Table, part: ibis.Table, columns: Collection[str]) -> ibis.Table:
    """Return units with more columns; 0 where the part has nothing of one."""
    joined = whole.left_join(part, list(_UNIT))
    found = {name: joined[name].fill_null(0.0) for name in columns}
    return joined.select(*whole.columns, **found)


def _uses(lake: Lake, spine: ibis.Table) -> ibis.Table:
    """Return uses of offers: +1 for one that was redeemed, -1 for one taken back."""
    events = lake.table("interactions").filter(lambda t: t.kind.isin(("redeem", "reverse")))
    used = during(spine, events)
    return used.mutate(use=(used.kind == "redeem").ifelse(1.0, -1.0))


def _redeemers(lake: Lake, spine: ibis.Table) -> ibis.Table:
    used = _uses(lake, spine)
    each = used.group_by(*_PERSON).aggregate(uses=used.use.sum())
    reached = each.filter(each.uses > 0)
    return reached.group_by(*_UNIT).aggregate(redeemed=reached.count().cast("float64"))


def _redeemers_by_day(lake: Lake, spine: ibis.Table) -> pd.DataFrame:
    used = _numbered(_uses(lake, spine), "day")
    uses = _frame(lake, used.group_by(*_PERSON, "day").aggregate(uses=used.use.sum()))
    uses = uses.sort_values([*_PERSON, "day"], ignore_index=True)
    reached = (uses.groupby([*_PERSON])["uses"].cumsum() > 0).astype(float)
    before = reached.groupby([uses[name] for name in _PERSON]).shift(fill_value=0.0)
    changed = uses.assign(value=reached - before)
    return changed.groupby(["unit_id", "day"], as_index=False)[["value"]].sum()


def _check_known(lake: Lake, spine: ibis.Table) -> None:
    used = _uses(lake, spine)
    counted = _frame(lake, used.group_by("offer_id").aggregate(uses=used.use.sum()))
    known = _frame(lake, lake.table("offers").select("offer_id"))
    unknown = counted.loc[~counted["offer_id"].isin(known["offer_id"])]
    if len(unknown):
        raise RegularsError(
            f"{int(unknown['uses'].sum())} redemption(s) are of offers that the lake does not "
            f"know, first {unknown['offer_id'].iloc[0]!r}: their cost is unknown; load the offers, "
            "then report again"
        )


def _due(lake: Lake, spine: ibis.Table, period: Period | None = None) -> ibis.Table:
    """Return uses, and what receipts told of their cost, by unit, offer and period."""
    keys = [*_UNIT, "offer_id"] if period is None else [*_UNIT, "offer_id", period]
    used = _uses(lake, spine)
    lines = lake.table("purchases").filter(lambda t: t.offer_discount > 0)
    given = during(spine, lines)
    if period is not None:
        used, given = _numbered(used, period), _numbered(given, period)
    nothing = ibis.literal(0.0)
    both = used.select(*keys, uses=used.use, told=nothing).union(
        given.select(*keys, uses=nothing, told=given.offer_discount.cast("float64"))
    )
    return both.group_by(*keys).aggregate(uses=both.uses.sum(), told=both.told.sum())


def _charged(lake: Lake, spine: ibis.Table) -> ibis.Table:
    """Return what uses cost beyond what receipts told, by unit: `cost`."""
    due = _due(lake, spine).left_join(lake.table("offers").select("offer_id", "cost"), "offer_id")
    beyond = due.uses * due.cost.cast("float64").fill_null(0.0) - due.told
    each = due.mutate(beyond=ibis.greatest(beyond, ibis.literal(0.0)))
    return each.group_by(*_UNIT).aggregate(cost=each.beyond.sum())


def _charged_by(lake: Lake, spine: ibis.Table, period: Period) -> pd.DataFrame:
    """Return the same by period: what is told or given back in a later one settles what was
    charged in an earlier one."""
    offer, keys = [*_UNIT, "offer_id"], [*_UNIT, period]
    costs = _frame(lake, lake.table("offers").select("offer_id", "cost"))
    merged = _frame(lake, _due(lake, spine, period)).merge(costs, on="offer_id", how="left")
    # What no offer is named for was never charged.
    merged = merged.dropna(subset=["offer_id"]).fillna({"cost": 0.0})
    merged = merged.sort_values(keys, ignore_index=True)
    so_far = merged.assign(due=merged["uses"] * merged["cost"]).groupby(offer)[["due", "told"]]
    reached = so_far.cumsum()
    charged = (reached["due"] - reached["told"]).clip(lower=0)
    before = charged.groupby([merged[name] for name in offer]).shift(fill_value=0.0)
    merged["cost"] = charged - before
    return merged.groupby(keys, as_index=False)[["cost"]].sum().astype({"cost": "float64"})


def _contacts(lake: Lake, spine: ibis.Table, costs: Mapping[str, float]) -> ibis.Table:
    """Return what messages sent cost, by unit: `contacts`."""
    sent = _sent(lake, spine, costs)
    return sent.group_by(*_UNIT).aggregate(contacts=sent.price.sum())


def _contacts_by(
    lake: Lake, spine: ibis.Table, costs: Mapping[str, float], period: Period
) -> pd.DataFrame:
    sent = _numbered(_sent(lake, spine, costs), period)
    return _frame(lake, sent.group_by(*_UNIT, period).aggregate(contacts=sent.price.sum()))


def _sent(lake: Lake, spine: ibis.Table, costs: Mapping[str, float]) -> ibis.Table:
    sent = during(spine, lake.table("interactions").filter(lambda t: t.kind == "sent"))
    prices = ((sent.channel == name).ifelse(float(each), 0.0) for name, each in costs.items())
    price: Any = reduce(lambda a, b: a + b, prices, ibis.literal(0.0))
    return sent.mutate(price=price)


def _told(lake: Lake, spine: ibis.Table, column: str) -> ibis.Table:
    """Return the events that a column of _SAID counts; what an answer counts as is `told`."""
    if column == "complained":
        return during(spine, lake.table("interactions").filter(lambda t: t.kind == "complaint"))
    if column == "opted_out":
        return during(spine, lake.table("consents").filter(lambda t: ~t.granted))
    surveys = lake.table("surveys")
    if column.startswith("nps"):
        asked = (surveys.instrument == "nps") & (surveys.scale == NPS_SCALE)
    else:
        asked = surveys.instrument == "csat"
    answers = during(spine, surveys.filter(asked))
    one = ibis.literal(1.0)
    counted: dict[str, Any] = {
        "nps_points": (answers.score >= PROMOTER).ifelse(
            100.0, (answers.score <= DETRACTOR).ifelse(-100.0, 0.0)
        ),
        "csat_satisfied": (answers.score >= SATISFIED * answers.scale).ifelse(1.0, 0.0),
    }
    return answers.mutate(told=counted.get(column, one))


def _said(lake: Lake, spine: ibis.Table, column: str) -> ibis.Table:
    """Return a column of _SAID by unit: answers add up, of the rest each customer counts once."""
    events = _told(lake, spine, column)
    value: Any = events.told.sum() if column in _ANSWERED else events.customer_id.nunique()
    return events.group_by(*_UNIT).aggregate(**{column: value.cast("float64")})


def _frame(lake: Lake, table: ibis.Table) -> pd.DataFrame:
    return lake.fetch(table).to_pandas()

"""Report: what an experiment earned, by intention to treat, from the lake alone.

Every customer (household, store) that was assigned counts in its variant from the minute of the
first decision on, whatever she did, and whether or not the audience still holds her. Her margin is
what all her purchases earned since, over all products, less the cost of what she redeemed. A
household's or store's is that of all its customers, asked for or not.

A receipt may already be net of an offer: where it tells the offer's discount, that is what the
offer cost, and only what the declared cost goes beyond it is charged on top.
"""

import json
from datetime import datetime

import ibis
import msgspec
import pandas as pd
import pyarrow as arrow

from experiments.design import Experiment
from experiments.health import where_it_sits
from experiments.looks import newest_look
from experiments.metrics import Column, Mean, Metric, Proportion
from experiments.report import Report, analyse
from foundation.errors import NothingToDo, RegularsError
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
# Where a customer's unit stands in the customers table.
UNIT_COLUMNS = {"customer": "customer_id", "household": "household_id", "store": "home_store_id"}


def experiment_report(lake: Lake, design: Experiment, until: datetime) -> Report:
    """Analyse an experiment on everything the lake knows up to an instant.

    Raises:
        NothingToDo: Nobody was assigned yet.
        RegularsError: An offer was redeemed that the lake does not know.
    """
    units = assigned_units(lake, design)
    if units.empty:
        raise NothingToDo(
            f"experiment {design.key!r} has assigned nobody yet; run 'regulars ingest' after "
            "some decisions"
        )
    keys = ["unit_id", "variant"]
    first = pd.to_datetime(units.groupby(keys)["since"].transform("min"), utc=True)
    look = newest_look(design, first[~units.duplicated(keys)], until)
    if look is not None:
        # A look judges what was known at its instant.
        until = look.at
        units = units[first < until]
    report = analyse(design, with_metrics(lake, units, until), MEASURED, look=look)
    return report if report.healthy else _located(lake, design, report, until)


def _located(lake: Lake, design: Experiment, report: Report, until: datetime) -> Report:
    """Say where a broken split sits, by channel and day of each unit's first decision."""
    decisions = assigned_decisions(lake, design)
    seen = decisions[pd.to_datetime(decisions["at"], utc=True) < until].sort_values("at")
    first = seen.drop_duplicates(["unit_id", "variant"])
    first = first.assign(day=pd.to_datetime(first["at"], utc=True).dt.strftime("%Y-%m-%d"))
    sits = where_it_sits(first, ("channel", "day"), report.sample_ratio.planned)
    if sits is None:
        return report
    return msgspec.structs.replace(report, reason=f"{report.reason}; {sits}")


def assigned_units(lake: Lake, design: Experiment) -> pd.DataFrame:
    """Return who was assigned: unit_id, customer_id, variant and since when.

    A unit seen in two variants has a row in each, for the analysis to refuse. A household or store
    has a row for each of its customers, with those for whom nobody asked.
    """
    decisions = assigned_decisions(lake, design)
    asked = decisions.groupby(["unit_id", "customer_id", "variant"], as_index=False).agg(
        since=("at", "min")
    )
    return asked if design.unit == "customer" else _with_members(lake, design.unit, asked)


def assigned_decisions(lake: Lake, design: Experiment) -> pd.DataFrame:
    """Return the decisions of an experiment.

    decision_id, unit_id, customer_id, variant, at and channel.
    """
    decisions = lake.table("decisions")
    named = decisions.filter(decisions.experiments.contains(json.dumps(design.key)))
    rows = lake.fetch(
        named.select("decision_id", "customer_id", "at", "channel", "experiments")
    ).to_pylist()
    found = [
        (
            row["decision_id"],
            assigned["unit"],
            row["customer_id"],
            assigned["variant"],
            row["at"],
            row["channel"],
        )
        for row in rows
        for assigned in json.loads(row["experiments"])
        if assigned["key"] == design.key
    ]
    names = ["decision_id", "unit_id", "customer_id", "variant", "at", "channel"]
    return pd.DataFrame(found, columns=names)


def _with_members(lake: Lake, unit: str, asked: pd.DataFrame) -> pd.DataFrame:
    column = UNIT_COLUMNS[unit]
    customers = lake.table("customers")
    homes = customers.filter(customers[column].notnull())
    members = lake.fetch(homes.select("customer_id", unit_id=column)).to_pandas()
    # Who was asked for counts where she was assigned, also when she has moved since.
    others = members[~members["customer_id"].isin(asked["customer_id"])]
    first = asked.groupby(["unit_id", "variant"], as_index=False).agg(since=("since", "min"))
    joined = first.merge(others, on="unit_id")
    return pd.concat([asked, joined[list(asked.columns)]], ignore_index=True)


def with_metrics(lake: Lake, units: pd.DataFrame, until: "datetime | pd.Series") -> pd.DataFrame:
    """Return one row a unit and variant with its metrics; a unit without purchases earns 0.

    `margin_before` is what she earned in the DAYS_BEFORE days before she was assigned.

    Args:
        units: As of `assigned_units`.
        until: Where all end, or where each row of `units` does.
    """
    first = units.groupby(["unit_id", "variant"])["since"].transform("min")
    # Tills write minutes: what she bought because of the decision may bear its minute's start.
    first = pd.to_datetime(first, utc=True).dt.floor("min")
    last = units["since"].map(lambda _: until) if isinstance(until, datetime) else until
    spine = lake.memory(
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
    bought = _bought(lake, _during(spine, lake.table("purchases")))
    before = _bought(lake, _before(spine, lake.table("purchases")))
    before = before.rename(columns={"earned": "margin_before"}).drop(columns="orders")
    redeemed = _redeemed(lake, spine)
    keys = ["unit_id", "variant"]
    metrics = (
        units[keys]
        .drop_duplicates()
        .merge(bought, on=keys, how="left")
        .merge(redeemed, on=keys, how="left")
        .merge(before, on=keys, how="left")
        .fillna({"earned": 0.0, "orders": 0.0, "uses": 0.0, "cost": 0.0, "margin_before": 0.0})
    )
    metrics["margin"] = metrics["earned"] - metrics["cost"]
    metrics["redeemed"] = (metrics["uses"] > 0).astype(float)
    return metrics[[*keys, *METRICS, "margin_before"]]


def _bought(lake: Lake, lines: ibis.Table) -> pd.DataFrame:
    rates = lake.table("products").select("product_id", "margin_rate")
    lines = lines.left_join(rates, "product_id")
    rate = lines.margin_rate.fill_null(margin_rate(lake))
    # A rate is of the price before the offer, whose discount is then the offer's cost.
    expected = (lines.amount + lines.offer_discount) * rate - lines.offer_discount
    earned = lines.margin.cast("float64").fill_null(expected)
    return _frame(
        lake,
        lines.mutate(earned=earned)
        .group_by("unit_id", "variant")
        .aggregate(
            earned=lambda t: t.earned.sum(),
            orders=lambda t: t.order_id.nunique(where=t.amount > 0).cast("float64"),
        ),
    )


def _redeemed(lake: Lake, spine: ibis.Table) -> pd.DataFrame:
    keys = ["unit_id", "variant", "offer_id"]
    uses = lake.table("interactions").filter(lambda t: t.kind.isin(("redeem", "reverse")))
    used = _frame(
        lake,
        _during(spine, uses)
        .group_by(keys)
        .aggregate(uses=lambda t: (t.kind == "redeem").sum() - (t.kind == "reverse").sum()),
    )
    lines = lake.table("purchases").filter(lambda t: t.offer_discount > 0)
    told = _frame(
        lake,
        _during(spine, lines).group_by(keys).aggregate(told=lambda t: t.offer_discount.sum()),
    )
    costs = _frame(lake, lake.table("offers").select("offer_id", "cost"))
    merged = used.merge(costs, on="offer_id", how="left").merge(told, on=keys, how="left")
    unknown = merged.loc[merged["cost"].isna()]
    if len(unknown):
        raise RegularsError(
            f"{int(unknown['uses'].sum())} redemption(s) are of offers that the lake does not "
            f"know, first {unknown['offer_id'].iloc[0]!r}: their cost is unknown; load the offers, "
            "then report again"
        )
    beyond = merged["uses"] * merged["cost"] - merged["told"].fillna(0)
    merged["cost"] = beyond.clip(lower=0)
    summed = merged.groupby(["unit_id", "variant"], as_index=False)[["uses", "cost"]].sum()
    return summed.astype({"uses": "float64", "cost": "float64"})


def _during(spine: ibis.Table, events: ibis.Table) -> ibis.Table:
    joined = spine.join(events, "customer_id")
    at = joined["at"]
    return joined.filter((at >= joined.since) & (at < joined.ends))


def _before(spine: ibis.Table, events: ibis.Table) -> ibis.Table:
    joined = spine.join(events, "customer_id")
    at = joined["at"]
    start = joined.since - ibis.interval(days=DAYS_BEFORE)
    return joined.filter((at < joined.since) & (at >= start))


def _frame(lake: Lake, table: ibis.Table) -> pd.DataFrame:
    return lake.fetch(table).to_pandas()

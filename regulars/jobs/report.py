"""Report: what an experiment earned, by intention to treat, from the lake alone.

Every customer (or household) that was assigned counts in its variant from the first decision on,
whatever she did. Her margin is what all her purchases earned since, over all products, less the
cost of what she redeemed. A household's is that of all its members, asked for or not.
"""

import json
from datetime import datetime

import ibis
import pandas as pd
import pyarrow as arrow

from experiments.design import Experiment
from experiments.report import Report, analyse
from foundation.errors import NothingToDo
from foundation.lake import Lake
from regulars.assumptions import margin_rate

METRICS = ("margin", "orders", "redeemed")
MONEY = ("margin",)


def experiment_report(lake: Lake, design: Experiment, until: datetime) -> Report:
    """Analyse an experiment on everything the lake knows up to an instant.

    Raises:
        NothingToDo: Nobody was assigned yet.
    """
    units = assigned_units(lake, design)
    if units.empty:
        raise NothingToDo(
            f"experiment {design.key!r} has assigned nobody yet; run 'regulars ingest' after "
            "some decisions"
        )
    return analyse(design, with_metrics(lake, units, until), METRICS)


def assigned_units(lake: Lake, design: Experiment) -> pd.DataFrame:
    """Return who was assigned: unit_id, customer_id, variant and since when.

    A unit seen in two variants has a row in each, for the analysis to refuse. A household has a
    row for each member, with those for whom nobody asked.
    """
    decisions = lake.table("decisions")
    named = decisions.filter(decisions.experiments.contains(json.dumps(design.key)))
    rows = lake.fetch(named.select("customer_id", "at", "experiments")).to_pylist()
    found = [
        (assignment["unit"], row["customer_id"], assignment["variant"], row["at"])
        for row in rows
        for assignment in json.loads(row["experiments"])
        if assignment["key"] == design.key
    ]
    frame = pd.DataFrame(found, columns=["unit_id", "customer_id", "variant", "since"])
    asked = frame.groupby(["unit_id", "customer_id", "variant"], as_index=False).agg(
        since=("since", "min")
    )
    return _with_members(lake, asked) if design.unit == "household" else asked


def _with_members(lake: Lake, asked: pd.DataFrame) -> pd.DataFrame:
    customers = lake.table("customers")
    homes = customers.filter(customers.household_id.notnull())
    members = lake.fetch(homes.select("customer_id", unit_id="household_id")).to_pandas()
    # Who was asked for counts where she was assigned, also when she has moved since.
    others = members[~members["customer_id"].isin(asked["customer_id"])]
    first = asked.groupby(["unit_id", "variant"], as_index=False).agg(since=("since", "min"))
    joined = first.merge(others, on="unit_id")
    return pd.concat([asked, joined[list(asked.columns)]], ignore_index=True)


def with_metrics(lake: Lake, units: pd.DataFrame, until: datetime) -> pd.DataFrame:
    """Return one row a unit and variant with its metrics; a unit without purchases earns 0."""
    first = units.groupby(["unit_id", "variant"])["since"].transform("min")
    spine = lake.memory(
        arrow.table(
            {
                "unit_id": units["unit_id"].to_numpy(dtype=object),
                "variant": units["variant"].to_numpy(dtype=object),
                "customer_id": units["customer_id"].to_numpy(dtype=object),
                "since": arrow.array(first, type=arrow.timestamp("us", tz="UTC")),
            }
        )
    )
    bought = _bought(lake, spine, until)
    redeemed = _redeemed(lake, spine, until)
    keys = ["unit_id", "variant"]
    metrics = (
        units[keys]
        .drop_duplicates()
        .merge(bought, on=keys, how="left")
        .merge(redeemed, on=keys, how="left")
        .fillna({"earned": 0.0, "orders": 0.0, "uses": 0.0, "cost": 0.0})
    )
    metrics["margin"] = metrics["earned"] - metrics["cost"]
    metrics["redeemed"] = (metrics["uses"] > 0).astype(float)
    return metrics[[*keys, *METRICS]]


def _bought(lake: Lake, spine: ibis.Table, until: datetime) -> pd.DataFrame:
    lines = _during(spine, lake.table("purchases"), until)
    rates = lake.table("products").select("product_id", "margin_rate")
    lines = lines.left_join(rates, "product_id")
    rate = lines.margin_rate.fill_null(margin_rate(lake))
    earned = lines.margin.cast("float64").fill_null(lines.amount * rate)
    return _frame(
        lake,
        lines.mutate(earned=earned)
        .group_by("unit_id", "variant")
        .aggregate(
            earned=lambda t: t.earned.sum(),
            orders=lambda t: t.order_id.nunique(where=t.amount > 0).cast("float64"),
        ),
    )


def _redeemed(lake: Lake, spine: ibis.Table, until: datetime) -> pd.DataFrame:
    uses = lake.table("interactions").filter(lambda t: t.kind == "redeem")
    costs = lake.table("offers").select("offer_id", "cost")
    during = _during(spine, uses, until).left_join(costs, "offer_id")
    return _frame(
        lake,
        during.group_by("unit_id", "variant").aggregate(
            uses=lambda t: t.count().cast("float64"),
            cost=lambda t: t.cost.sum().cast("float64"),
        ),
    )


def _during(spine: ibis.Table, events: ibis.Table, until: datetime) -> ibis.Table:
    joined = spine.join(events, "customer_id")
    at = joined["at"]
    return joined.filter((at >= joined.since) & (at < ibis.literal(until)))


def _frame(lake: Lake, table: ibis.Table) -> pd.DataFrame:
    return lake.fetch(table).to_pandas()

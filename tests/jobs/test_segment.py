"""Segmenting keeps every run, publishes one profile a customer, and ranks offers by their past."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from foundation.contracts import CUSTOMERS, INTERACTIONS, OFFERS, PURCHASES
from foundation.errors import NothingToDo
from foundation.settings import Settings
from recommender.affinity import BASKET, affinities
from regulars.jobs.segment import SegmentReport, segment
from regulars.progress import Progress
from regulars.wiring import House
from serving.basket import with_basket
from tests.benchmarks.test_journey_baskets import PUBLISHED, paired_shop
from tests.deployment import Shelf
from tests.snapshots import opened


@pytest.fixture
def shop(small_house: House, tmp_path: Path) -> DuckDbLake:
    shutil.copytree(small_house.settings.lake_folder, tmp_path / "lake")
    return DuckDbLake(tmp_path / "lake")


@pytest.fixture
def paired(lake: DuckDbLake) -> DuckDbLake:
    return paired_shop(lake)


def run(lake: DuckDbLake, folder: Path, at: datetime, shelf: Shelf, silent: Progress):
    return segment(
        lake, partial(publish_snapshot, folder), shelf, Settings(home=folder), at, silent
    )


def sizes_in_lake(lake: DuckDbLake, report: SegmentReport) -> dict[str, int]:
    rows = lake.table("segments").filter(lambda t: t.run_id == report.run_id)
    counted = lake.fetch(rows.group_by("rfm").aggregate(n=rows.count())).to_pylist()
    return {row["rfm"]: row["n"] for row in counted}


def test_two_runs_of_one_instant_are_both_kept_whole(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    at = datetime.now(UTC)

    first = run(shop, tmp_path / "snapshots", at, Shelf(), silent)
    second = run(shop, tmp_path / "snapshots", at, Shelf(), silent)

    assert first.run_id != second.run_id
    assert sizes_in_lake(shop, first) == first.rfm
    assert sizes_in_lake(shop, second) == second.rfm == first.rfm
    assert sum(first.rfm.values()) == sum(first.lifecycle.values()) == first.customers == 400


def test_the_snapshot_has_every_customer_with_her_groups(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    report = run(shop, tmp_path / "snapshots", datetime.now(UTC), Shelf(), silent)

    profiles = opened(tmp_path / "snapshots")
    facts = profiles.facts()
    assert facts is not None
    assert (facts.version, facts.customers) == (report.snapshot.version, 400)
    rows = shop.fetch(shop.table("segments").filter(lambda t: t.run_id == report.run_id))
    for row in rows.to_pylist():
        profile = profiles.get(row["customer_id"])
        assert profile is not None
        assert profile.segments == {k: row[k] for k in ("rfm", "lifecycle", "cluster")}
        assert profile.vector.shape == (len(facts.names),)


def test_a_profile_holds_the_affinities_that_training_would_see(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    at = datetime.now(UTC)

    run(shop, tmp_path / "snapshots", at, Shelf(), silent)

    profiles = opened(tmp_path / "snapshots")
    facts = profiles.facts()
    assert facts is not None
    assert "live-coffee" in facts.places
    assert not any(offer_id.startswith("past-") for offer_id in facts.offers)
    for number in (1, 7, 300):
        customer_id = f"c-{number:04}"
        profile = profiles.get(customer_id)
        assert profile is not None
        asked = pd.DataFrame({"customer_id": [customer_id], "offer_id": "live-coffee", "as_of": at})
        served = profile.affinity_to(facts.places["live-coffee"])
        assert served is not None
        np.testing.assert_allclose(served, affinities(shop, asked)[0], rtol=1e-5)


def test_an_offer_that_is_seen_and_not_redeemed_becomes_less_popular(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    at, before, after = datetime.now(UTC), Shelf(), Shelf()
    run(shop, tmp_path / "snapshots", at, before, silent)
    views = [
        {
            "event_id": f"view-{n}",
            "customer_id": f"viewer-{n}",
            "at": at - timedelta(hours=1),
            "channel": "app",
            "kind": "view",
            "offer_id": "live-coffee",
        }
        for n in range(200)
    ]
    with shop.write() as write:
        write.merge(INTERACTIONS.name, INTERACTIONS.from_rows(views))

    run(shop, tmp_path / "snapshots", at, after, silent)

    assert after.popularity["live-coffee"] < before.popularity["live-coffee"] / 2
    assert all(0 <= rate <= 1 for rate in after.popularity.values())


def test_a_profile_counts_loaded_redemptions_of_capped_offers_and_not_told_ones(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    at = datetime.now(UTC)
    offers = shop.fetch(shop.table("offers")).to_pylist()
    capped = next(row for row in offers if row["offer_id"] == "live-coffee")
    redeemed = [("r-1", "live-coffee"), ("r-2", "live-coffee"), ("r-3", "uncapped")]
    rows = [
        {
            "event_id": event_id,
            "customer_id": "c-0001",
            "at": at,
            "channel": "till",
            "kind": "redeem",
            "offer_id": offer_id,
        }
        for event_id, offer_id in redeemed
    ]
    with shop.write() as write:
        write.merge(INTERACTIONS.name, INTERACTIONS.from_rows(rows))
        free = {**capped, "offer_id": "uncapped", "customer_cap": None}
        write.merge(OFFERS.name, OFFERS.from_rows([free]))

    run(shop, tmp_path / "snapshots", at, Shelf(told=["r-2", "elsewhere"]), silent)

    profile = opened(tmp_path / "snapshots").get("c-0001")
    assert profile is not None
    live = {o: n for o, n in profile.redemptions.items() if not o.startswith("past-")}
    assert live == {"live-coffee": 1}


def test_an_empty_lake_says_what_to_do(lake: DuckDbLake, tmp_path: Path, silent: Progress) -> None:
    with pytest.raises(NothingToDo, match="no customers; load some with 'regulars load'"):
        run(lake, tmp_path / "snapshots", datetime.now(UTC), Shelf(), silent)


def test_a_lake_of_purchases_alone_is_segmented_without_clusters(
    lake: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    lines = [
        {
            "line_id": f"l-{customer}-{n}",
            "customer_id": f"c-{customer}",
            "order_id": f"o-{customer}-{n}",
            "product_id": "p-1",
            "channel": "store",
            "at": at - timedelta(days=7 * n + customer),
            "local_day": 20_573 - 7 * n - customer,
            "local_hour": 9,
            "quantity": 1.0,
            "amount": 450,
            "discount": 0,
            "offer_discount": 0,
        }
        for customer in range(1, 13)
        for n in range(5)
    ]
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows(lines))

    report = run(lake, tmp_path / "snapshots", at, Shelf(), silent)

    assert report.cluster == {"not clustered": 12}
    assert report.silhouette is None
    assert report.unclustered is not None
    assert "12 customers" in report.unclustered
    assert sum(report.rfm.values()) == report.snapshot.customers == 12


def test_the_snapshot_knows_which_offers_name_what_goes_with_a_product(
    paired: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    with paired.write() as write:
        people = [{"customer_id": f"c-{n}"} for n in range(60)]
        write.merge("customers", CUSTOMERS.from_rows(people))

    report = run(paired, tmp_path / "snapshots", PUBLISHED, Shelf(), silent)

    assert report.complements >= 2
    snapshot = opened(tmp_path / "snapshots")
    goods = asyncio.run(snapshot.next_products(["coffee", "tea"]))
    coffee = goods.products["coffee"]
    assert {one.product_id: one.offers for one in coffee.complements} == {
        "milk": (report.snapshot.places["dairy"],)
    }
    her = snapshot.get("c-7")
    assert her is not None
    # Nobody knows at night what will lie in a basket.
    assert np.isnan(her.affinity[:, BASKET]).all()
    offers = len(report.snapshot.offers)
    near = with_basket(her, ["tea"], goods, offers).affinity[:, BASKET]
    assert [name for name, one in zip(report.snapshot.offers, near, strict=True) if one > 0] == [
        "fruit"
    ]

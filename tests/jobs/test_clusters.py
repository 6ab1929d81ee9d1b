"""Clusters night by night: labels stay, models are stored with them, and a refit has a reason."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from regulars.jobs.clusters import (
    REFIT_AFTER,
    CustomerClusters,
    cluster_customers,
    store_model,
    stored_model,
)
from tests.segmentation.shoppers import crowd, shoppers

SEED = 7
FIRST = datetime(2026, 5, 1, 3, tzinfo=UTC)


def night(
    lake: DuckDbLake, values: pd.DataFrame, at: datetime, *, refit: bool = False
) -> CustomerClusters:
    found = cluster_customers(lake, values, at, SEED, refit=refit)
    with lake.write() as write:
        store_model(write, at.isoformat(), found)
    return found


@pytest.fixture
def values() -> pd.DataFrame:
    return shoppers(40, 0)[0]


def test_the_next_night_assigns_old_and_new_customers_by_the_stored_model(
    lake: DuckDbLake, values: pd.DataFrame
) -> None:
    first = night(lake, values, FIRST)
    newcomers = shoppers(20, 9)[0].add_prefix("new-", axis=0)
    grown = pd.concat([newcomers, values.sample(frac=1, random_state=1)])
    second = night(lake, grown, FIRST + timedelta(days=1))

    assert (first.refitted, second.refitted) == ("the first", None)
    assert first.stored is not None
    assert second.stored == first.stored
    pd.testing.assert_series_equal(second.labels.loc[values.index], first.labels)
    assert lake.fetch(lake.table("cluster_models")).num_rows == 1


def test_an_old_model_is_refitted_and_its_clusters_keep_ids_and_names(
    lake: DuckDbLake, values: pd.DataFrame
) -> None:
    first = night(lake, values, FIRST)
    later = values.sample(frac=0.9, random_state=2)
    again = night(lake, later, FIRST + REFIT_AFTER)

    assert again.refitted == "the last fit is 28 days old"
    assert first.stored is not None
    assert again.stored is not None
    assert again.stored.fitted_at == FIRST + REFIT_AFTER
    ids = [{c.id: c.name for c in run.model.clusters} for run in (first.stored, again.stored)]
    assert ids[0] == ids[1]
    assert (again.labels == first.labels.loc[later.index]).all()


def test_a_refit_may_be_asked_for(lake: DuckDbLake, values: pd.DataFrame) -> None:
    night(lake, values, FIRST)
    assert night(lake, values, FIRST + timedelta(days=1), refit=True).refitted == "asked for"


def test_customers_who_left_the_borders_behind_make_a_refit(
    lake: DuckDbLake, values: pd.DataFrame
) -> None:
    first = night(lake, values, FIRST)
    # Shares drawn by lot, so that only visits and baskets still tell the ways of shopping apart.
    mixed = values.copy()
    random = np.random.default_rng(0)
    for share in ("discount_share_365d", "weekend_share_365d"):
        mixed[share] = random.uniform(0, 1, len(values))
    moved = night(lake, mixed, FIRST + timedelta(days=1))

    assert first.silhouette is not None
    assert moved.refitted is not None
    assert moved.refitted.startswith(f"the silhouette fell from {first.silhouette:.2f} to ")


def test_without_stable_clusters_all_share_one_label_and_the_last_model_stays_stored(
    lake: DuckDbLake, values: pd.DataFrame
) -> None:
    first = night(lake, values, FIRST)
    shapeless = night(lake, crowd(100, 0), FIRST + REFIT_AFTER)

    assert set(shapeless.labels) == {"no stable clusters"}
    assert (shapeless.stored, shapeless.silhouette) == (None, None)
    assert shapeless.unclustered is not None
    assert "adjusted Rand index" in shapeless.unclustered
    assert stored_model(lake, FIRST + REFIT_AFTER) == first.stored
    # The search took long: it is made again when a refit is due, or when asked for.
    next_night = night(lake, values, FIRST + REFIT_AFTER + timedelta(days=1))
    assert set(next_night.labels) == {"no stable clusters"}
    assert next_night.unclustered is not None
    assert next_night.unclustered.startswith(shapeless.unclustered)
    assert "tried on 2026-05-29, again on 2026-06-26" in next_night.unclustered
    # Stable again: those who shop as before are called as before.
    back = night(lake, values, FIRST + REFIT_AFTER + timedelta(days=1), refit=True)
    pd.testing.assert_series_equal(back.labels, first.labels)


def test_a_refusal_older_than_the_stored_fit_holds_no_refit_back(
    lake: DuckDbLake, values: pd.DataFrame
) -> None:
    refused = night(lake, crowd(100, 0), FIRST)
    assert refused.refused is not None
    night(lake, values, FIRST + timedelta(days=1), refit=True)
    # Half the ways of shopping are gone: the stored borders are worn the night after.
    mixed = values.copy()
    random = np.random.default_rng(0)
    for share in ("discount_share_365d", "weekend_share_365d"):
        mixed[share] = random.uniform(0, 1, len(values))
    worn = night(lake, mixed, FIRST + timedelta(days=2))

    assert worn.refitted is not None
    assert worn.refitted.startswith("the silhouette fell")


def test_a_night_in_the_past_knows_no_later_model(lake: DuckDbLake, values: pd.DataFrame) -> None:
    night(lake, values, FIRST)
    assert stored_model(lake, FIRST - timedelta(days=1)) is None
    assert night(lake, values, FIRST - timedelta(days=1)).refitted == "the first"
    latest = stored_model(lake, FIRST + timedelta(days=1))
    assert latest is not None
    assert latest.fitted_at == FIRST

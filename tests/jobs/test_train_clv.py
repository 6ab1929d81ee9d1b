"""Training keeps the better model of value, says when there is none, and segments are priced."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from adapters.mlflow_values import MlflowValues
from foundation.contracts import PURCHASES
from foundation.errors import NothingToDo, TooLittleData
from foundation.scores import Interval
from foundation.settings import Settings
from regulars.assumptions import margin_rate
from regulars.jobs.living_segments import save
from regulars.jobs.segment import Champions, segment
from regulars.jobs.train_clv import ClvTraining, train_clv
from regulars.jobs.value import purchase_days
from regulars.progress import Progress
from segmentation import likelihood
from segmentation.clv_champion import CANDIDATES, expected, fit_candidates
from segmentation.living import Draft
from segmentation.purchase_summary import kept_days, summarise_days
from segmentation.spend_model import fit_spend
from segmentation.two_stage import TwoStage, redraw
from segmentation.value_model import ValueModel, from_text, judge_money, to_text
from tests.deployment import Shelf
from tests.shoppers_known import known_purchases
from tests.snapshots import opened

CUSTOMERS = 600
NOW = datetime(2026, 5, 1, tzinfo=UTC)
TODAY = int(NOW.timestamp() // 86_400)
DAYS = 400


def line(number: int, customer: str, day: int, amount: int) -> dict[str, Any]:
    return {
        "line_id": f"l-{number}",
        "customer_id": customer,
        "order_id": f"o-{number}",
        "product_id": "p-1",
        "channel": "store",
        "at": NOW - timedelta(days=TODAY - day, hours=-9),
        "local_day": day,
        "local_hour": 9,
        "quantity": 1.0 if amount > 0 else -1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
    }


def fill(lake: DuckDbLake, purchases: pd.DataFrame) -> None:
    start = TODAY - DAYS
    rows = [
        line(number, str(row.customer_id), start + int(row.day), round(row.amount * 100))
        for number, row in enumerate(purchases.itertuples())
    ]
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows(rows))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> DuckDbLake:
    lake = DuckDbLake(tmp_path_factory.mktemp("shop") / "lake")
    fill(lake, known_purchases(CUSTOMERS, DAYS, 5))
    return lake


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> MlflowValues:
    folder = tmp_path_factory.mktemp("models")
    return MlflowValues(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")


@pytest.fixture(scope="module")
def trained(shop: DuckDbLake, models: MlflowValues, silent: Progress) -> ClvTraining:
    return train_clv(shop, models, NOW, silent)


def test_the_champion_is_registered_with_its_held_out_error_beside_the_plain_forecast(
    trained: ClvTraining, models: MlflowValues
) -> None:
    assert trained.report is not None
    assert set(trained.report.errors) | set(trained.report.refused) == set(CANDIDATES)
    found = models.champion()
    assert found is not None
    assert (found.version, found.kind) == (1, trained.report.choice.champion)
    assert found.metrics["mae_low"] < found.metrics["mae"] < found.metrics["mae_high"]
    assert found.metrics["mae"] < found.metrics["baseline_mae"]
    assert found.metrics["rmse_gain_low"] > 0
    # A quarter of 400 days.
    assert found.metrics["weeks_held_out"] == pytest.approx(99 / 7)
    # 600 customers: 80 % within four standard errors.
    assert 0.74 < found.metrics["coverage_80"] < 0.86
    assert to_text(models.load(found)) == to_text(trained.report.model)


def test_every_segment_is_priced_by_the_champion(
    trained: ClvTraining,
    shop: DuckDbLake,
    models: MlflowValues,
    tmp_path: Path,
    silent: Progress,
) -> None:
    publish = partial(publish_snapshot, tmp_path / "snapshots")
    settings = Settings(home=tmp_path)
    frequent = {"feature": "orders_365d", "is": ">=", "value": 3}
    draft = Draft("frequent", "Frequent", frequent, "ana", None, "active")
    save(shop, draft, ["orders_365d"], NOW)
    report = segment(shop, publish, Shelf(), settings, NOW, silent, Champions(values=models))
    assert report.value is not None
    assert trained.champion is not None
    assert report.value["model"] == trained.champion.name == "clv@1"
    rows = shop.fetch(shop.table("values").filter(lambda t: t.run_id == report.run_id)).to_pandas()
    assert len(rows) == CUSTOMERS
    assert (rows["value_low"] <= rows["value_high"]).all()
    # What she would take with her if she opted out is served as margin.
    served = opened(tmp_path / "snapshots")
    rate = margin_rate(shop)
    for row in rows.head(20).to_dict("records"):
        profile = served.get(row["customer_id"])
        assert profile is not None
        assert profile.remaining_value == pytest.approx(row["value"] * rate, abs=1)
    assert report.value["groups"].keys() == {"rfm", "lifecycle", "cluster", "frequent"}
    assert report.value["groups"]["frequent"]["member"]["customers"] == report.living["frequent"]
    for groups in report.value["groups"].values():
        assert sum(group["customers"] for group in groups.values()) == CUSTOMERS
        # Each customer's value is a whole number of cents.
        total = sum(group["value"] for group in groups.values())
        assert total == pytest.approx(rows["value"].sum(), abs=CUSTOMERS)
        assert all(group["low"] <= group["high"] for group in groups.values())


def test_a_run_of_a_time_before_the_models_data_says_why_it_has_no_values(
    trained: ClvTraining,
    shop: DuckDbLake,
    models: MlflowValues,
    tmp_path: Path,
    silent: Progress,
) -> None:
    publish = partial(publish_snapshot, tmp_path / "snapshots")
    before = NOW - timedelta(days=30)
    settings = Settings(home=tmp_path)
    report = segment(shop, publish, Shelf(), settings, before, silent, Champions(values=models))

    assert report.value is None
    assert report.unvalued is not None
    assert "'clv@1' knows purchases until" in report.unvalued


def test_a_training_that_does_not_converge_keeps_the_last_champion(
    trained: ClvTraining,
    shop: DuckDbLake,
    models: MlflowValues,
    silent: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A bar no search can meet: every likelihood is judged to rise still.
    monkeypatch.setattr(likelihood, "FLAT", 0.0)
    again = train_clv(shop, models, NOW, silent)
    assert again.report is None
    assert again.kept_because is not None
    assert "the likelihood still rises" in again.kept_because
    assert again.champion == trained.champion == models.champion()


@pytest.mark.parametrize("error", ["mae", "rmse"])
def test_a_model_that_is_not_surely_better_than_the_plain_forecast_is_no_champion(
    error: str, trained: ClvTraining, models: MlflowValues
) -> None:
    assert trained.report is not None
    assert trained.report.faults == ()
    gains = trained.report.judged.gains
    assert gains["mae"].low > 0
    # The same training, had its interval of one error held 0.
    unsure = gains | {error: Interval(0.01, -0.001, 0.02)}
    worse = replace(trained.report, judged=replace(trained.report.judged, gains=unsure))
    assert f"its {error.upper()} is not surely below" in worse.verdict()
    found = models.register(worse, "digest", NOW)
    assert trained.champion is not None
    assert found.version > trained.champion.version
    assert models.champion() == trained.champion


def test_a_model_whose_money_cannot_be_judged_is_no_champion(
    trained: ClvTraining, models: MlflowValues
) -> None:
    assert trained.report is not None
    # All that was paid in the held-out days was given back.
    nothing = judge_money(np.zeros(CUSTOMERS), np.ones(CUSTOMERS))
    worse = replace(trained.report, money=nothing)
    assert "net sales cannot be judged: forecast error of 600 customers" in worse.verdict()
    found = models.register(worse, "digest", NOW)
    assert models.champion() == trained.champion
    assert "money_bias" not in found.metrics


def test_customers_of_unknown_spend_are_left_out_of_the_money_and_counted() -> None:
    paid, forecast = np.full(40, 5.0), np.full(40, 6.0)
    forecast[:3] = np.nan
    found = judge_money(paid, forecast)
    assert found.error is not None
    assert (found.error.customers, found.unjudged) == (37, 3)
    assert found.error.bias.value == pytest.approx(0.2)
    assert found.told().endswith("3 customers not judged")
    forecast[5] = np.inf
    assert "no number for 1 of 37 customers" in judge_money(paid, forecast).fault


@pytest.mark.slow
def test_a_shop_of_one_price_is_valued(lake: DuckDbLake, tmp_path: Path, silent: Progress) -> None:
    fill(lake, known_purchases(CUSTOMERS, DAYS, 6).assign(amount=5.0))
    own = MlflowValues(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    found = train_clv(lake, own, NOW, silent)
    assert found.report is not None
    p, q, v = found.report.model.spend.parameters
    # A day of several receipts brings a multiple of the price.
    assert p * v / (q - 1) == pytest.approx(500, rel=0.2)


def test_too_little_to_learn_from_is_refused(
    lake: DuckDbLake, models: MlflowValues, silent: Progress
) -> None:
    with pytest.raises(NothingToDo, match="no purchases; load some"):
        train_clv(lake, models, NOW, silent)
    fill(lake, known_purchases(40, 30, 5))
    with pytest.raises(TooLittleData, match="days are too few to choose"):
        train_clv(lake, models, NOW, silent)


def test_returns_keep_the_day_they_undo_and_what_was_paid_with_points_counts(
    lake: DuckDbLake,
) -> None:
    rows = [
        line(1, "a", TODAY - 9, 500),
        line(2, "a", TODAY - 9, -500),
        line(3, "a", TODAY - 8, 700),
        line(4, "a", TODAY - 6, -700) | {"returns_line_id": "l-3"},
        line(5, "a", TODAY - 5, 0) | {"quantity": 1.0},
        line(6, "a", TODAY - 4, 900),
        # A line of hers is not named here: of nobody, of another customer, of later.
        line(7, "a", TODAY - 3, -10) | {"returns_line_id": "l-99"},
        line(8, "a", TODAY - 3, -20) | {"returns_line_id": "l-10"},
        line(9, "a", TODAY - 3, -30) | {"returns_line_id": "l-11"},
        line(10, "b", TODAY - 4, 20),
        line(11, "a", TODAY - 2, 40),
    ]
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows(rows))
    found = purchase_days(lake, NOW)
    undoing = found[found["undoes"].notna()]
    assert undoing[["day", "amount", "undoes"]].to_numpy().tolist() == [
        [TODAY - 6, -700, TODAY - 8]
    ]
    assert kept_days(found).to_numpy().tolist() == [
        ["a", TODAY - 5, 0.0],
        ["a", TODAY - 4, 840.0],
        ["a", TODAY - 2, 40.0],
        ["b", TODAY - 4, 20.0],
    ]
    # What came back on a day is not known before it.
    assert TODAY - 8 in set(kept_days(purchase_days(lake, NOW - timedelta(days=7)))["day"])


def test_every_kind_of_model_is_read_as_it_was_written() -> None:
    purchases = known_purchases(CUSTOMERS, 300, 5)
    summary = summarise_days(purchases, 299)
    spend = fit_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    fitted, refused = fit_candidates(purchases, 299, 20.0, 7)
    assert refused == {}
    for kind, model in fitted.items():
        read = from_text(to_text(ValueModel(kind, model, spend, 17, 1.4)))
        assert (read.kind, read.spend.parameters, read.rank) == (kind, spend.parameters, 17)
        assert read.widening == 1.4
        if isinstance(model, TwoStage):
            sure = redraw(model, purchases, 299, 20.0, 7)
            read = from_text(to_text(ValueModel(kind, sure, spend, 17, 1.4)))
            assert isinstance(read.purchases, TwoStage)
            for one, other in zip(read.purchases.redrawn, sure.redrawn, strict=True):
                assert np.array_equal(
                    read.purchases.stages(summary, 20.0, one), sure.stages(summary, 20.0, other)
                )
        assert np.array_equal(
            expected(read.purchases, summary, 20.0), expected(model, summary, 20.0)
        )

"""Churn from the lake: no look ahead, a registered champion, forecasts kept with their run."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from adapters.mlflow_churn import MlflowChurn
from foundation.calibration import RecalibrationLine
from foundation.contracts import PURCHASES
from foundation.errors import NothingToDo, RegularsError, TooLittleData
from foundation.settings import Settings
from regulars.jobs.forecast_churn import forecast_churn
from regulars.jobs.segment import Champions, segment
from regulars.jobs.train_churn import (
    churn_frame,
    churn_origins,
    inputs_as_of,
    train_churn,
)
from regulars.jobs.value import worth_of
from regulars.progress import Progress
from regulars.wiring import House
from segmentation.churn import CHURN_FEATURES, INPUTS, fit_churn
from segmentation.origins import Origins
from segmentation.registry import LiveChurn
from tests.deployment import Shelf

DAYS, ACTIVE = 30, 90
AT = datetime(2026, 5, 1, tzinfo=UTC)


def line(customer: str, days_from_at: float, amount: int = 450) -> dict[str, Any]:
    at = AT + timedelta(days=days_from_at)
    order = f"{customer}|{days_from_at}"
    return {
        "line_id": f"{order}|{amount}",
        "customer_id": customer,
        "order_id": order,
        "product_id": "p-1",
        "channel": "store",
        "at": at,
        "local_day": (at - datetime(1970, 1, 1, tzinfo=UTC)).days,
        "local_hour": 9,
        "quantity": 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
    }


def write(lake: DuckDbLake, lines: Sequence[dict[str, Any]]) -> None:
    with lake.write() as writing:
        writing.merge(PURCHASES.name, PURCHASES.from_rows(lines))


def frame_at(lake: DuckDbLake, silent: Progress) -> pd.DataFrame:
    with silent.step("churn") as step:
        return churn_frame(lake, Origins((AT,), (AT,), DAYS), ACTIVE, step)


def test_the_label_is_no_purchase_from_the_origin_up_to_the_windows_end(
    lake: DuckDbLake, silent: Progress
) -> None:
    later = {"at-once": 0.0, "late": 29.99, "too-late": 30.0, "never": None, "returns": 5.0}
    past = [line(c, -d) for c in later for d in (3, 20, 40)]
    future = [
        line(c, d, -450 if c == "returns" else 450) for c, d in later.items() if d is not None
    ]
    write(lake, [*past, *future, line("asleep", -90.5), line("unknown-yet", 1)])

    found = frame_at(lake, silent).set_index("customer_id")["churned"].to_dict()

    assert found == {"at-once": 0, "late": 0, "too-late": 1, "never": 1, "returns": 1}


def test_events_at_or_after_the_origin_change_no_input(lake: DuckDbLake) -> None:
    write(lake, [line(f"c-{n}", -d * (n + 1)) for n in range(30) for d in (1, 2, 3, 5, 8)])
    before = inputs_as_of(lake, AT, DAYS, ACTIVE)

    write(lake, [line(f"c-{n}", d, 90_000) for n in range(40) for d in (0, 0.5, 3)])

    after = inputs_as_of(lake, AT, DAYS, ACTIVE)
    assert len(before) == 30
    pd.testing.assert_frame_equal(before, after)


def test_events_after_the_windows_end_change_no_training_row(
    lake: DuckDbLake, silent: Progress
) -> None:
    write(lake, [line(f"c-{n}", d) for n in range(30) for d in (-40, -9 - n, -2, 8 + n)])
    before = frame_at(lake, silent)

    write(lake, [line(f"c-{n}", d) for n in range(40) for d in (30, 31, 60)])

    assert 0 < before["churned"].sum() < 30
    pd.testing.assert_frame_equal(before, frame_at(lake, silent))


def test_an_empty_lake_and_a_young_one_are_refused(lake: DuckDbLake) -> None:
    with pytest.raises(NothingToDo, match="no purchases; load some with 'regulars load'"):
        churn_origins(lake, DAYS, ACTIVE, before=AT + timedelta(days=1))

    write(lake, [line("c", -100), line("c", 0)])

    with pytest.raises(TooLittleData, match="100 days of purchases"):
        churn_origins(lake, DAYS, ACTIVE, before=AT + timedelta(days=1))


# ------------------------------------------------------------------------------- the forecast


@pytest.fixture(scope="module")
def live() -> LiveChurn:
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({name: draw.gamma(2, 10, 2000) for name in INPUTS})
    frame["churned"] = (draw.random(2000) < frame["recency_days"] / 100).astype(int)
    model = fit_churn(frame.assign(as_of=AT), DAYS, ACTIVE, 7)
    return LiveChurn(3, model, "91bc", RecalibrationLine(0.0, 1.0, np.eye(2) * 0.01), AT)


def profiles(recency: Sequence[float]) -> pd.DataFrame:
    ids = pd.Index([f"c-{i}" for i in range(len(recency))], name="customer_id")
    values = pd.DataFrame(10.0, index=ids, columns=[*CHURN_FEATURES, "spend_365d"])
    return values.assign(recency_days=list(recency), tenure_days=200.0, spend_365d=-5.0)


def everybody(values: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"one": "all"}, index=values.index)


def test_value_at_risk_is_told_by_every_segmentation(live: LiveChurn) -> None:
    values = profiles([1, 50, 80]).assign(spend_365d=[100.0, 200.0, 400.0])
    labels = pd.DataFrame(
        {"cluster": ["x", "x", "y"], "vips": ["member", "not member", "member"]}, values.index
    )

    found = forecast_churn(values, labels, values["spend_365d"], live, "91bc", AT)

    loss = found.rows["value"].to_numpy() * [100, 200, 400]
    told = {name: rows["at_risk"].to_dict() for name, rows in found.at_risk.items()}
    assert told["cluster"] == pytest.approx({"x": loss[0] + loss[1], "y": loss[2]})
    assert told["vips"] == pytest.approx({"member": loss[0] + loss[2], "not member": loss[1]})


def test_each_active_customer_has_one_forecast_with_bounds_and_reasons(live: LiveChurn) -> None:
    values = profiles([1, 50, 89.9, 90, np.nan]).assign(spend_365d=1000.0)

    found = forecast_churn(values, everybody(values), worth_of(values, None)[0], live, "91bc", AT)

    rows = found.rows
    assert rows["customer_id"].tolist() == ["c-0", "c-1", "c-2"]
    assert set(rows["model"]) == {"churn@3"}
    assert (rows["low"] < rows["value"]).all()
    assert (rows["value"] < rows["high"]).all()
    assert rows["reasons"].str.len().min() >= 1
    assert found.at_risk["one"].loc["all", "at_risk"] == pytest.approx(1000 * rows["value"].sum())


def test_who_returned_more_than_she_bought_puts_nothing_at_risk(live: LiveChurn) -> None:
    values = profiles([1, 50])

    found = forecast_churn(values, everybody(values), worth_of(values, None)[0], live, "91bc", AT)

    assert found.at_risk["one"].loc["all", "at_risk"] == 0


def test_a_model_of_other_features_is_refused(live: LiveChurn) -> None:
    values = profiles([1, 50])

    with pytest.raises(RegularsError, match=r"'churn@3' was trained on features 91bc.* has 0000"):
        forecast_churn(values, everybody(values), worth_of(values, None)[0], live, "0000", AT)


def test_a_run_of_a_time_before_the_models_data_does_not_use_it(live: LiveChurn) -> None:
    values = profiles([1, 50])

    with pytest.raises(RegularsError, match=r"'churn@3' knows purchases until 2026-05-01"):
        forecast_churn(
            values, everybody(values), values["spend_365d"], live, "91bc", AT - timedelta(days=1)
        )


def test_where_nobody_is_active_nothing_is_forecast(live: LiveChurn) -> None:
    values = profiles([95, np.nan])

    with pytest.raises(NothingToDo, match="no customer bought in the last 90 days"):
        forecast_churn(values, everybody(values), worth_of(values, None)[0], live, "91bc", AT)


# ------------------------------------------------------------- from purchases to kept forecasts


@pytest.mark.slow
def test_training_crowns_a_model_whose_forecasts_are_kept_with_each_run(
    small_house: House, tmp_path: Path, silent: Progress
) -> None:
    shutil.copytree(small_house.settings.lake_folder, tmp_path / "lake")
    lake = DuckDbLake(tmp_path / "lake")
    models = MlflowChurn(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    assert models.champion() is None

    trained = train_churn(lake, models, datetime.now(UTC), silent)

    live = models.champion()
    assert trained.champion
    assert live is not None
    assert live.name == f"churn@{trained.version}"
    at = datetime.now(UTC)
    inputs = inputs_as_of(lake, at, DAYS, ACTIVE)
    ours, theirs = (model.probability(inputs) for model in (live.model, trained.report.model))
    assert (ours == theirs).all()
    publish = partial(publish_snapshot, tmp_path / "snapshots")
    settings = Settings(home=tmp_path)
    report = segment(lake, publish, Shelf(), settings, at, silent, Champions(churn=models))
    assert report.unforecast is None
    assert report.churn is not None
    kept = lake.fetch(lake.table("forecasts").filter(lambda t: t.run_id == report.run_id))
    assert kept.num_rows == report.churn.customers == len(inputs)
    assert sum(kept["value"].to_pylist()) == pytest.approx(report.churn.expected)
    assert {"rfm", "lifecycle", "cluster"} <= report.churn.at_risk.keys()
    for groups in report.churn.at_risk.values():
        assert sum(row["customers"] for row in groups.values()) == report.churn.customers

"""The benchmark of value tells every model's error, and holds the champion to what it must show."""

import argparse
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.clv import PUBLISHED, bars, measure
from foundation.errors import RegularsError
from tests.shoppers_known import known_purchases

START = date(2021, 3, 1)


def options(folder: Path, purchases: pd.DataFrame, end: date) -> argparse.Namespace:
    path = folder / "shop.csv"
    days = [START + timedelta(days=int(day)) for day in purchases["day"]]
    purchases.assign(date=days)[["customer_id", "date", "amount"]].to_csv(path, index=False)
    unnamed = dict.fromkeys(("customer", "date", "amount", "date_format"))
    return argparse.Namespace(data=path, calibration_end=end, seed=7, **unnamed)


@pytest.fixture(scope="module")
def purchases() -> pd.DataFrame:
    return known_purchases(800, 400, 3)


@pytest.fixture(scope="module")
def figures(purchases: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measure(options(tmp_path_factory.mktemp("shop"), purchases, date(2021, 11, 30)))


def failing(figures: dict[str, Any]) -> list[str]:
    return [bar.name for bar in bars(figures) if not bar.holds]


def test_every_model_has_its_held_out_error_beside_the_plain_forecasts(
    figures: dict[str, Any],
) -> None:
    told = [*figures["models"].values(), figures["champion"], figures["plain"]["everybody alike"]]
    for model in told:
        assert model["mae_low"] < model["mae"] < model["mae_high"]
        assert model["bias_low"] < model["bias"] < model["bias_high"]
    assert failing(figures) == []
    assert figures["champion"]["faults"] == ()


def test_a_calibration_must_end_inside_the_file(purchases: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match="must lie inside the file's days"):
        measure(options(tmp_path, purchases, date(2025, 1, 1)))


def test_a_champion_that_is_off_by_a_third_fails_though_it_beats_the_plain_forecasts(
    figures: dict[str, Any],
) -> None:
    off = figures | {"champion": figures["champion"] | {"bias": 0.33}}
    assert failing(off) == ["champion absolute bias on any file"]


def test_a_day_held_out_is_too_little_to_hold_a_bar_and_unknown_amounts_take_no_other_figure(
    purchases: pd.DataFrame, tmp_path: Path
) -> None:
    last = START + timedelta(days=int(purchases["day"].max()))
    found = measure(options(tmp_path, purchases.assign(amount=0.0), last - timedelta(days=1)))
    assert "half width of the bias (wider: too few purchases to judge)" in failing(found)
    assert any("too few to judge" in fault for fault in found["champion"]["faults"])
    assert found["gamma_gamma"] is None
    assert "spend of 0 repeat buyers" in found["refused"]["gamma_gamma"]


def test_the_next_best_model_stands_in_for_a_champion_that_cannot_be_fitted_at_the_end(
    purchases: pd.DataFrame,
    figures: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = figures["champion"]["name"]

    def without(fit: Any) -> Any:
        def refused(*arguments: Any) -> Any:
            fitted, reasons = fit(*arguments)
            fitted.pop(best)
            return fitted, reasons | {best: f"{best}: the likelihood still rises"}

        return refused

    # The last fit alone: the choice inside the history keeps its own.
    monkeypatch.setattr(
        "benchmarks.clv.fit_candidates", without(measure.__globals__["fit_candidates"])
    )
    found = measure(options(tmp_path, purchases, date(2021, 11, 30)))
    scores = found["inner"]["scores"]
    assert found["champion"]["name"] == sorted(scores, key=lambda name: scores[name])[1]
    assert found["refused"][best].endswith("still rises")


@pytest.fixture
def published() -> dict[str, Any]:
    """Figures that hold every bar of the CDNOW sample, as the papers print them."""
    fitted = {
        name: {"parameters": parameters, "log_likelihood": likelihood}
        for name, (parameters, likelihood) in PUBLISHED.items()
    }
    gain = {"value": 0.2, "low": 0.1, "high": 0.3}
    return {
        "file": {
            "rows": 6_919,
            "first": "1997-01-01",
            "last": "1998-06-30",
            "amount_total": 244_091.94,
        },
        "calibration_end": "1997-09-30",
        "customers": 2_357,
        "repeat_purchases": 2_457,
        "held_out_purchases": 1_882,
        "gamma_gamma": fitted.pop("gamma_gamma"),
        "models": fitted,
        "champion": {
            "mae": 0.7545,
            "rmse": 1.603,
            "bias": -0.115,
            "bias_half_width": 0.07,
            "rivals": {"mae": "as often as so far", "rmse": "nobody buys"},
            "gains": {"mae": gain, "rmse": gain},
        },
    }


def test_published_figures_hold_all_bars(published: dict[str, Any]) -> None:
    assert failing(published) == []
    assert len(bars(published)) == 4 + 3 + 8 + 3


@pytest.mark.parametrize("count", ["customers", "repeat_purchases", "held_out_purchases"])
def test_cdnow_miscounted_is_still_cdnow(count: str, published: dict[str, Any]) -> None:
    assert failing(published | {count: published[count] + 1}) == [count]


def test_cdnow_with_a_model_missing_fails_its_bars(published: dict[str, Any]) -> None:
    published["gamma_gamma"] = None
    published["models"].pop("bg_nbd")
    assert len(failing(published)) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"rows": 6_918},
        {"first": "1997-01-02"},
        {"last": "1998-06-29"},
        {"amount_total": 244_091.93},
    ],
)
def test_another_file_is_not_held_to_published_figures(
    other: dict[str, Any], published: dict[str, Any]
) -> None:
    changed = published | {"file": published["file"] | other, "customers": 5}
    assert failing(changed) == []
    assert len(bars(changed)) == 4


def test_another_calibration_is_not_held_to_published_figures(published: dict[str, Any]) -> None:
    assert len(bars(published | {"calibration_end": "1997-10-01"})) == 4

"""The benchmark of churn: figures under their names, each held to its own bar."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from benchmarks import churn
from foundation.calibration import calibration
from foundation.contracts import PURCHASES
from regulars.progress import Progress
from tests.shoppers_known import known_purchases


def figures(probability: np.ndarray, happened: np.ndarray) -> dict[str, float]:
    n = len(happened)
    rate, recency = np.full(n, happened.mean()), np.random.default_rng(2).random(n)
    return churn._figures(calibration(happened, probability, rate, recency, np.arange(n), 7))


def test_figures_have_their_names_and_true_probabilities_hold_every_bar() -> None:
    draw = np.random.default_rng(1)
    # Mostly near 0 or 1, as of customers who are nearly all told apart.
    probability = draw.beta(0.3, 0.5, 8_000)
    happened = (draw.random(8_000) < probability).astype(float)
    found = figures(probability, happened)

    named = {"ece", "slope", "observed_expected", "brier_skill", "auc", "recency_auc", "n"}
    assert named <= found.keys()
    assert all(bar.holds for bar in churn.bars(found))
    # Squeezed towards a half: in the right order, and miscalibrated.
    squeezed = churn.bars(figures(0.25 + probability / 2, happened))
    assert {bar.name for bar in squeezed if not bar.holds} >= {"ece", "slope"}
    # A constant is calibrated, and knows nothing of anyone.
    constant = churn.bars(found | {"brier_skill": 0.0, "auc": 0.5})
    assert {bar.name for bar in constant if not bar.holds} == {"brier_skill", "auc"}


def test_small_data_go_through_the_whole_benchmark(lake: DuckDbLake, silent: Progress) -> None:
    first, days = datetime(2026, 1, 1, 12, tzinfo=UTC), 270
    # Customers who buy at a rate of their own until they stop, one day in thirty on average.
    bought = known_purchases(400, days, seed=3, planted=(2.0, 2.0, 2.0, 30.0))
    lines = [
        {
            "line_id": f"l-{n}", "customer_id": who, "order_id": f"o-{n}", "product_id": "p",
            "channel": "store", "at": first + timedelta(days=day), "local_day": 20_454 + day,
            "local_hour": 7, "quantity": 1.0, "amount": round(100 * amount), "discount": 0,
            "offer_discount": 0,
        }
        for n, (who, day, amount) in enumerate(bought.itertuples(index=False))
    ]  # fmt: skip
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows(lines))
    parser = ArgumentParser()
    churn.add_options(parser)
    options = parser.parse_args(["--active", "60"])

    found = churn.forecast(lake, options, first + timedelta(days=days), silent)

    assert found["origins"] == 5
    assert len(found["by_origin"]) == 5
    assert sum(one["n"] for one in found["by_origin"].values()) == found["n"] > 300
    # What is planted can be told: whoever shops often and stays away has stopped.
    assert found["auc_low"] > 0.6
    assert found["observed_expected"] == pytest.approx(1, abs=0.25)
    assert [bar.name for bar in churn.bars(found)] == [
        "ece", "slope", "observed_expected", "brier_skill", "auc",
    ]  # fmt: skip

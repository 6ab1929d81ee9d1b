"""A forecast serves only if it surely tells more than somebody without a model, and is not off."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from segmentation.clv_champion import expected, fit_candidates, judged
from segmentation.forecast_gate import Judged, judge
from segmentation.plain_forecast import PLAIN, everybody_alike, nobody_buys
from segmentation.purchase_models import expected_purchases
from tests.shoppers_known import PLANTED, known_purchases

END, LAST = 300, 399
PURCHASES = known_purchases(1_500, LAST + 1, 8)


def truth(summary: pd.DataFrame, weeks: float, planted: tuple[float, ...] = PLANTED) -> np.ndarray:
    """What is expected by the parameters that the customers were drawn with."""
    x, t_x, T = (summary[column].to_numpy() for column in ("x", "t_x", "T"))
    return expected_purchases("pareto_nbd", planted, x, t_x, T, weeks)


def of(forecast: object, last: int = LAST) -> Judged:
    return judged(forecast, PURCHASES, END, last, 7)  # pyright: ignore[reportArgumentType]


def test_the_truth_passes() -> None:
    assert of(truth).faults() == ()


def test_a_fitted_model_passes() -> None:
    model = fit_candidates(PURCHASES, END, 14.0, 7)[0]["pareto_nbd"]
    assert of(lambda summary, weeks: expected(model, summary, weeks)).faults() == ()


@pytest.mark.parametrize("name", PLAIN)
def test_no_plain_forecast_passes(name: str) -> None:
    assert of(PLAIN[name]).faults()


def test_a_forecast_of_nothing_is_refused_though_its_mae_is_below_the_truths() -> None:
    # A shop of customers who come every other year, while they come.
    rarely = (0.3, 30.0, 0.7, 12.0)
    purchases = known_purchases(3_000, LAST + 1, 5, rarely)
    nothing, known = (
        judged(forecast, purchases, END, LAST, 7)
        for forecast in (nobody_buys, partial(truth, planted=rarely))
    )
    assert known.faults() == ()
    # It is the median of most customers, so MAE alone would crown it.
    assert nothing.ours.mae.value < known.ours.mae.value
    assert nothing.gains["mae"].low > 0
    assert nothing.rivals["mae"] != "nobody buys"
    faults = " ".join(nothing.faults())
    assert "its RMSE is not surely below" in faults
    assert "it misses all purchases by -100.0%" in faults


def test_a_truth_a_third_too_high_is_refused_for_its_bias_alone() -> None:
    found = of(lambda summary, weeks: truth(summary, weeks) * 4 / 3)
    assert [fault.split(" by ")[0] for fault in found.faults()] == ["it misses all purchases"]


def test_a_day_with_a_handful_of_purchases_judges_nothing() -> None:
    found = of(truth, END + 1)
    assert found.ours.actual_total < 12
    assert any("held-out purchases are too few to judge it" in fault for fault in found.faults())


def test_the_rival_in_rmse_is_the_best_of_all_plain_forecasts() -> None:
    draw = np.random.default_rng(1)
    actual = draw.poisson(3.0, 500).astype(float)
    plain = {
        "as often as so far": draw.poisson(3.0, 500).astype(float),
        "everybody alike": np.full(500, 3.0),
        "nobody buys": np.zeros(500),
    }
    found = judge(actual, actual + draw.normal(0, 0.1, 500), plain, 3)
    assert dict(found.rivals) == {"mae": "everybody alike", "rmse": "everybody alike"}
    assert found.faults() == ()
    # Where those who expect purchases expect far too many, expecting none is what must be beaten.
    too_many = {"as often as so far": np.full(500, 9.0), "everybody alike": np.full(500, 8.0)}
    found = judge(actual, actual, plain | too_many, 3)
    assert dict(found.rivals) == {"mae": "everybody alike", "rmse": "nobody buys"}


def test_everybody_alike_goes_on_at_the_rate_of_all_together() -> None:
    summary = pd.DataFrame({"x": [0.0, 6.0], "T": [10.0, 20.0]})
    assert everybody_alike(summary, 5.0).tolist() == [1.0, 1.0]
    assert everybody_alike(summary.assign(T=0.0), 5.0).tolist() == [0.0, 0.0]

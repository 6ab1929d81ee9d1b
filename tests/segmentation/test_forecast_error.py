"""Forecast errors: closed forms, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from foundation.errors import TooLittleData
from segmentation.forecast_error import NoForecast, forecast_error, mae_gain, rmse_gain


def test_errors_are_those_of_their_definitions() -> None:
    actual = np.array([0.0, 2.0] * 10)
    found = forecast_error(actual, np.array([1.0, 3.0] * 10))
    assert (found.mae.value, found.rmse.value, found.bias.value) == pytest.approx((1, 1, 1))
    # Every customer misses by 1: no other sample would differ in MAE.
    assert (found.mae.low, found.mae.high) == pytest.approx((1, 1))
    assert (found.customers, found.actual_total) == (20, 20.0)


def test_the_interval_of_the_bias_holds_the_truth_in_95_of_100_samples() -> None:
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        rate = draw.gamma(1.0, 2.0, 300)
        # Forecast 10 % too low.
        bias = forecast_error(draw.poisson(rate).astype(float), 0.9 * rate).bias
        held += bias.low <= -0.1 <= bias.high
    # Binomial(1000, .95): outside 929-970 once in a few hundred seeds.
    assert 929 <= held <= 970


def test_a_period_in_which_nobody_bought_has_no_error() -> None:
    with pytest.raises(
        TooLittleData, match=r"20 customers whose actual total is 0.*hold out a longer"
    ):
        forecast_error(np.zeros(20), np.ones(20))


def test_the_paired_gain_agrees_with_the_paired_t_interval() -> None:
    draw = np.random.default_rng(3)
    actual = draw.poisson(3, 2_000).astype(float)
    ours, plain = np.full(2_000, 3.0), actual + draw.normal(0, 2, 2_000)
    found = mae_gain(actual, ours, plain, 1)
    gain = np.abs(actual - plain) - np.abs(actual - ours)
    # Independent implementation: scipy's t interval of the mean of differences.
    theirs = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(gain.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_the_paired_gain_in_rmse_agrees_with_the_delta_method() -> None:
    draw = np.random.default_rng(4)
    actual = draw.poisson(3, 4_000).astype(float)
    ours, plain = np.full(4_000, 3.0), actual + draw.normal(0, 2, 4_000)
    found = rmse_gain(actual, ours, plain, 1)
    squares = np.column_stack([(actual - plain) ** 2, (actual - ours) ** 2])
    theirs, own = np.sqrt(squares.mean(axis=0))
    # Each customer's share in the difference of roots.
    part = squares[:, 0] / (2 * theirs) - squares[:, 1] / (2 * own)
    half = 1.96 * part.std() / np.sqrt(4_000)
    assert found.value == pytest.approx(theirs - own)
    assert (found.low, found.high) == pytest.approx(
        (theirs - own - half, theirs - own + half), abs=0.006
    )


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_has_no_error(unknown: float) -> None:
    actual, forecast = np.ones(20), np.r_[np.ones(19), unknown]
    for figure in (
        lambda: forecast_error(actual, forecast),
        lambda: mae_gain(actual, forecast, actual, 1),
        lambda: rmse_gain(actual, actual, forecast, 1),
    ):
        with pytest.raises(NoForecast, match="no number for 1 of 20 customers"):
            figure()


def test_a_bias_in_parts_of_next_to_nothing_is_refused() -> None:
    draw = np.random.default_rng(5)
    # Returns took nearly all of it: the total is above 0 by chance.
    paid = draw.normal(0.1, 10.0, 200)
    with pytest.raises(TooLittleData, match="not surely above 0, so no bias can be told"):
        forecast_error(paid, np.ones(200))
    with pytest.raises(TooLittleData, match="not surely above 0"):
        forecast_error(-np.ones(200), np.ones(200))
    assert forecast_error(paid + 20, np.full(200, 20.0)).bias.value == pytest.approx(0, abs=0.1)

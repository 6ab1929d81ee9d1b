"""Forecast errors: closed forms, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from foundation.errors import TooLittleData
from segmentation.forecast_error import forecast_error, mae_gain


def test_errors_are_those_of_their_definitions() -> None:
    actual = np.array([0.0, 2.0] * 10)
    found = forecast_error(actual, np.array([1.0, 3.0] * 10))
    assert (found.mae.value, found.rmse.value, found.bias.value) == pytest.approx((1, 1, 1))
    # Every customer misses by 1: no other sample would differ in MAE.
    assert (found.mae.low, found.mae.high) == pytest.approx((1, 1))
    assert (found.customers, found.purchases) == (20, 20)


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
    with pytest.raises(TooLittleData, match=r"20 customers with 0 purchases.*hold out a longer"):
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

"""Do rates of return and their differences have the published intervals, and refuse too few?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.natural_return import LEAST_RETURNED, natural_return, returned
from foundation.errors import RegularsError, TooLittleData


def test_the_rate_has_wilson_s_interval() -> None:
    # Newcombe 1998a, table I: 81 of 263 gives .2553 to .3662.
    found = returned([True] * 81 + [False] * 182, np.zeros(263)).rate
    assert found.value == 81 / 263
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_difference_of_rates_has_newcombe_s_interval() -> None:
    # Newcombe 1998b, table II, method 10: 56 of 70 against 48 of 80 gives .0524 to .3339.
    came = [True] * 56 + [False] * 14 + [True] * 48 + [False] * 32
    found = natural_return(came, np.arange(150.0), [False] * 70 + [True] * 80).rate_difference
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_spend_is_a_mean_over_all_who_slept_with_student_s_and_welch_s_intervals() -> None:
    # Independent: scipy's own intervals of one mean and of two.
    draw = np.random.default_rng(1)
    came = draw.random(300) < 0.4
    spend = np.where(came, draw.gamma(2, 900, 300), 0)
    held = np.arange(300) < 100

    one, two = returned(came, spend), natural_return(came, spend, held)

    told = stats.ttest_1samp(spend, 0).confidence_interval()
    assert one.spend is not None
    assert (one.spend.low, one.spend.high) == pytest.approx((told.low, told.high))
    welch = stats.ttest_ind(spend[~held], spend[held], equal_var=False)
    told = welch.confidence_interval()
    assert two.spend_difference is not None
    gap = spend[~held].mean() - spend[held].mean()
    assert two.spend_difference.value == pytest.approx(gap)
    assert (two.spend_difference.low, two.spend_difference.high) == pytest.approx(
        (told.low, told.high)
    )


def test_the_interval_of_rates_holds_the_planted_difference_as_often_as_stated() -> None:
    # Known truth: .12 of the offered and .08 of the held out come back.
    draw = np.random.default_rng(2)
    held = np.arange(900) < 300
    inside = 0
    for _ in range(300):
        came = draw.random(900) < np.where(held, 0.08, 0.12)
        found = natural_return(came, came * 100.0, held).rate_difference
        inside += found.low <= 0.04 <= found.high
    # Binomial around .95 with a standard error of .013.
    assert 0.91 < inside / 300 < 0.99


def test_a_mean_of_a_handful_of_baskets_is_refused_and_the_rate_is_not() -> None:
    came = np.arange(100) < LEAST_RETURNED - 1
    found = returned(came, came * 500)
    assert found.rate.value == 0.09
    assert found.spend is None
    assert found.refused == (
        "9 sleepers came back, a mean of their spend needs 10; allow more days, or wait"
    )
    both = natural_return(np.r_[came, came], np.r_[came, came], np.arange(200) < 100)
    assert both.spend_difference is None
    assert both.rate_difference.low < 0 < both.rate_difference.high


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TooLittleData, match="nobody slept"):
        returned([], [])
    with pytest.raises(TooLittleData, match="no sleeper of 2 was held out"):
        natural_return([True, False], [1, 0], [False, False])
    with pytest.raises(RegularsError, match="2 sleepers have 1 amounts of spend"):
        returned([True, False], [1])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1), st.booleans())
def test_a_rate_lies_in_its_interval_and_differences_mirror(
    rows: list[tuple[bool, bool]], first: bool
) -> None:
    came, held = np.array([*rows, (first, True), (False, False)]).T
    there = natural_return(came, came * 10.0, held).rate_difference
    back = natural_return(came, came * 10.0, ~held).rate_difference
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))

import math

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from experiments.welch import InvalidMoments, Moments, difference, relative
from foundation.errors import TooLittleData

# Source: reference/experiments.md (sum, sum of squares, n).
A = Moments.from_sums(1396.87, 52377.9767, 3407)
B = Moments.from_sums(2422.7, 134698.29, 3461)

SAMPLES = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=40)


def spread(values):
    return float(np.var(values))


def test_reference_difference_to_the_digits_shown():
    result = difference(B, A)
    assert round(result.estimate, 2) == 0.29
    assert round(result.low, 5) == 0.04538
    assert round(result.high, 5) == 0.53462
    assert round(result.p, 5) == 0.02016


def test_reference_relative_effect_by_fieller_to_the_digits_shown():
    result = relative(B, A)
    assert result.estimate is not None
    assert result.low is not None
    assert result.high is not None
    assert round(result.estimate, 5) == 0.70732
    assert round(result.low, 3) == 0.094
    assert round(result.high, 3) == 1.708


@given(SAMPLES, SAMPLES, st.sampled_from([0.8, 0.95, 0.999]))
def test_scipy_agrees(treatment, control, confidence):
    assume(spread(treatment) > 1e-6)
    assume(spread(control) > 1e-6)
    ours = difference(Moments.from_values(treatment), Moments.from_values(control), confidence)
    theirs = stats.ttest_ind(treatment, control, equal_var=False)
    interval = theirs.confidence_interval(confidence)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-6)
    assert ours.df == pytest.approx(theirs.df, rel=1e-6)
    scale = 1e-9 * (1 + abs(ours.low) + abs(ours.high))
    assert ours.low == pytest.approx(interval.low, rel=1e-6, abs=scale)
    assert ours.high == pytest.approx(interval.high, rel=1e-6, abs=scale)


def test_tea_tasting_agrees_also_far_in_the_tail():
    # Source: tea-tasting 1.14, Mean without a covariate is Welch's test.
    rng = np.random.default_rng(11)
    for shift in (0.0, 0.05, 1.0):
        control = rng.gamma(0.5, 20.0, 3_000) / 10
        treatment = rng.gamma(0.5, 22.0, 2_000) / 10 + shift
        data = pd.DataFrame(
            {
                "variant": np.repeat([0, 1], [3_000, 2_000]),
                "spend": np.concatenate([control, treatment]),
            }
        )
        theirs = tt.Experiment(spend=tt.Mean("spend")).analyze(data)["spend"]
        ours = difference(Moments.from_values(treatment), Moments.from_values(control))
        assert ours.p == pytest.approx(theirs.pvalue, rel=1e-6)
        assert ours.low == pytest.approx(theirs.effect_size_ci_lower, rel=1e-9)
        assert ours.high == pytest.approx(theirs.effect_size_ci_upper, rel=1e-9)


def test_the_tail_is_a_survival_function():
    # Closed form: Student's t with 2 degrees of freedom has the two-sided tail
    # 1 - t / sqrt(2 + t**2), which is 1 / t**2 for large t.
    arm = Moments(n=2, mean=0.0, variance=2.0)
    far = Moments(n=2, mean=math.sqrt(2) * 1e40, variance=2.0)
    assert difference(far, arm).p == pytest.approx(1e-80, rel=1e-9)


def test_sums_and_values_give_the_same_moments():
    values = np.random.default_rng(3).lognormal(size=1_000)
    from_values = Moments.from_values(values)
    from_sums = Moments.from_sums(float(values.sum()), float((values**2).sum()), 1_000)
    assert from_sums.mean == pytest.approx(from_values.mean, rel=1e-12)
    assert from_sums.variance == pytest.approx(from_values.variance, rel=1e-9)
    assert from_values.variance == pytest.approx(float(pd.Series(values).var()), rel=1e-12)


@given(SAMPLES, SAMPLES, st.integers(-(10**6), 10**6))
def test_a_shift_of_both_arms_changes_nothing(treatment, control, shift):
    treatment, control = np.round(treatment, 2), np.round(control, 2)
    assume(spread(treatment) > 0.01)
    assume(spread(control) > 0.01)
    here = difference(Moments.from_values(treatment), Moments.from_values(control))
    there = difference(Moments.from_values(treatment + shift), Moments.from_values(control + shift))
    for field in ("estimate", "low", "high", "p"):
        assert getattr(there, field) == pytest.approx(getattr(here, field), rel=1e-5, abs=1e-5)


@given(SAMPLES, SAMPLES)
def test_swapping_the_arms_turns_the_sign(treatment, control):
    assume(spread(treatment) + spread(control) > 1e-6)
    t, c = Moments.from_values(treatment), Moments.from_values(control)
    ahead, back = difference(t, c), difference(c, t)
    assert (ahead.estimate, ahead.low, ahead.high, ahead.p) == pytest.approx(
        (-back.estimate, -back.high, -back.low, back.p)
    )


@given(SAMPLES, SAMPLES)
def test_interval_and_p_agree_about_zero(treatment, control):
    assume(spread(treatment) + spread(control) > 1e-6)
    result = difference(Moments.from_values(treatment), Moments.from_values(control))
    assume(abs(result.p - 0.05) > 1e-9)
    assert (result.low > 0 or result.high < 0) == (result.p < 0.05)


@given(SAMPLES, SAMPLES)
def test_below_a_thousand_units_fieller_and_the_difference_agree_about_zero(treatment, control):
    t = Moments.from_values(np.asarray(treatment) + 1e4)
    c = Moments.from_values(np.asarray(control) + 1e4)
    assume(t.variance + c.variance > 1e-6)
    absolute, share = difference(t, c), relative(t, c)
    assume(abs(absolute.p - 0.05) > 1e-6)
    if share.low is not None and share.high is not None:
        assert share.estimate is not None
        assert share.low <= share.estimate <= share.high
        assert (share.low > 0 or share.high < 0) == (absolute.p < 0.05)


def test_fieller_solves_its_own_definition():
    # Source: the definition; at each bound, treatment - r control is q standard errors from 0.
    t, c = Moments(2_000, 12.0, 40.0), Moments(1_500, 10.0, 30.0)
    q = stats.norm.isf(0.025)
    result = relative(t, c)
    for bound, sign in ((result.low, 1), (result.high, -1)):
        assert bound is not None
        r = 1 + bound
        error = math.sqrt(t.variance / t.n + r**2 * c.variance / c.n)
        assert (t.mean - r * c.mean) / error == pytest.approx(sign * q, rel=1e-9)


def test_fieller_covers_the_truth_where_the_control_is_noisy():
    # Simulation with known truth: means 1 and 1.5, so the relative effect is .5; seed fixed.
    # The control's mean is 5 standard errors from zero, where the delta method is crooked.
    rng = np.random.default_rng(5)
    draws = [
        relative(
            Moments(100, float(t), 4.0),
            Moments(100, float(c), 4.0),
        )
        for t, c in zip(rng.normal(1.5, 0.2, 4_000), rng.normal(1.0, 0.2, 4_000), strict=True)
    ]
    bounded = [one for one in draws if one.low is not None and one.high is not None]
    hits = [one.low <= 0.5 <= one.high for one in bounded]
    assert len(bounded) > 3_900
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_a_control_that_may_be_zero_gives_no_bounds():
    result = relative(Moments(100, 1.0, 4.0), Moments(100, 0.2, 4.0))
    assert result.estimate == pytest.approx(4.0)
    assert result.low is None
    assert result.high is None


@pytest.mark.parametrize("mean", [0.0, -3.0])
def test_a_share_of_nothing_or_of_a_loss_is_not_given(mean):
    result = relative(Moments(100, 1.0, 4.0), Moments(100, mean, 0.01))
    assert (result.estimate, result.low, result.high) == (None, None, None)


@pytest.mark.parametrize("figure", [difference, relative])
def test_too_little_data_is_refused(figure):
    one, many = Moments.from_values([3.0]), Moments.from_values([1.0, 2.0, 3.0])
    with pytest.raises(TooLittleData, match=r"treatment has 1 unit"):
        figure(one, many)
    with pytest.raises(TooLittleData, match=r"control has 1 unit"):
        figure(many, one)
    same = Moments.from_values([0.1] * 10)
    assert same.variance == 0  # numpy's own variance of ten times .1 is 1.9e-34
    with pytest.raises(TooLittleData, match=r"of a variant has the same value \(0.1 in treatment"):
        figure(same, Moments.from_values([0.3] * 7))
    with pytest.raises(TooLittleData, match=r"every unit has the same value, 0.1"):
        figure(same, same)
    with pytest.raises(TooLittleData, match="no value"):
        Moments.from_values([])
    with pytest.raises(TooLittleData, match="no value"):
        Moments.from_sums(0, 0, 0)


def test_one_arm_without_spread_is_still_compared():
    # Source: scipy; the degrees of freedom are those of the arm that has a spread.
    result = difference(Moments.from_values([0, 1, 0, 2]), Moments.from_values([0, 0, 0, 0]))
    theirs = stats.ttest_1samp([0, 1, 0, 2], 0)
    assert result.df == pytest.approx(3)
    assert result.p == pytest.approx(theirs.pvalue)


def test_tiny_units_do_not_underflow():
    big = difference(Moments(5, 3.0, 1.0), Moments(7, 1.0, 2.0))
    tiny = difference(Moments(5, 3e-100, 1e-200), Moments(7, 1e-100, 2e-200))
    assert tiny.p == pytest.approx(big.p)
    assert relative(Moments(5, 3e-100, 1e-202), Moments(7, 1e-100, 2e-202)).high is not None


@pytest.mark.parametrize("values", [[1.0, math.nan], [1.0, math.inf]])
def test_gaps_are_refused(values):
    with pytest.raises(InvalidMoments, match="missing or infinite"):
        Moments.from_values(values)


def test_sums_no_values_can_have_are_refused():
    with pytest.raises(InvalidMoments, match="variance"):
        Moments.from_sums(10.0, 1.0, 5)
    with pytest.raises(InvalidMoments, match="finite"):
        Moments(3, math.nan, 1.0)
    # Equal values, off by rounding only.
    assert Moments.from_sums(0.1 * 3, 0.1**2 * 3, 3).variance == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(InvalidMoments, match=r"write \.95"):
        difference(A, B, confidence)


def test_p_values_of_experiments_without_effect_are_uniform():
    # Simulation with known truth: 4,000 A/A experiments of 300 against 700 customers, seed fixed.
    # Bounds on the rejection rate: four binomial standard errors.
    rng = np.random.default_rng(20)
    spend = rng.exponential(10.0, (4_000, 1_000)) * (rng.random((4_000, 1_000)) < 0.6)
    t, c = spend[:, :300], spend[:, 300:]
    results = [
        difference(Moments(300, *one), Moments(700, *other))
        for one, other in zip(
            zip(t.mean(1).tolist(), t.var(1, ddof=1).tolist(), strict=True),
            zip(c.mean(1).tolist(), c.var(1, ddof=1).tolist(), strict=True),
            strict=True,
        )
    ]
    p_values = np.array([result.p for result in results])
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(p_values < 0.05) == pytest.approx(0.05, abs=0.014)
    assert np.mean([result.low <= 0 <= result.high for result in results]) > 0.936

import numpy as np
import pytest
import statsmodels.stats.power as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import power_proportions_2indep

from experiments.group_sequential import boundaries
from experiments.metrics import Column, Mean, Proportion, Quantile, Ratio
from experiments.power import (
    AlwaysValid,
    Fixed,
    GroupSequential,
    History,
    InvalidPower,
    Split,
    detectable_effect,
    history_of,
    intraclass_correlation,
    power,
    proportion_history,
    ratio_history,
    sample_size,
)

# Source: reference/experiments.md.
HISTORY = History(mean=10, variance=3909.9997749994377)
THIRDS = Split(1 / 3, 1 / 3)
N = 400_000
COMPARED = 266_667


def test_the_reference_power_and_detectable_effect_to_the_digits_shown():
    assert round(power(HISTORY, N, 0.05, THIRDS), 5) == 0.52144
    assert round(detectable_effect(HISTORY, N, 0.8, THIRDS), 5) == 0.07027


@pytest.mark.parametrize(
    ("planned_n", "at_the_end", "over_28_looks", "detectable"),
    [(5_000, 0.0721, 0.137, 0.1104), (COMPARED, 0.1535, 0.229, 0.0986)],
)
def test_the_reference_power_of_always_valid_bounds_to_the_digits_shown(
    planned_n, at_the_end, over_28_looks, detectable
):
    once, daily = AlwaysValid(planned_n), AlwaysValid(planned_n, looks=28)
    assert round(power(HISTORY, N, 0.05, THIRDS, once), 4) == at_the_end
    assert round(power(HISTORY, N, 0.05, THIRDS, daily), 3) == over_28_looks
    assert round(detectable_effect(HISTORY, N, 0.8, THIRDS, once), 4) == detectable


def test_the_sample_size_has_the_wanted_power_and_one_unit_less_has_not():
    size = sample_size(HISTORY, 0.05, 0.8, THIRDS)
    assert power(HISTORY, size, 0.05, THIRDS) >= 0.8
    assert power(HISTORY, size - 2, 0.05, THIRDS) < 0.8


def test_statsmodels_agrees_where_the_variances_are_equal():
    # Independent: normal power of a standardised difference; at a tiny effect the relative error
    # is that of two equal arms.
    history = History(mean=100, variance=900)
    theirs = sm.NormalIndPower().solve_power(0.001 * 100 / 30, power=0.8, alpha=0.05, ratio=1)
    assert sample_size(history, 0.001) / 2 == pytest.approx(theirs, rel=0.0015)


def test_group_sequential_power_agrees_with_simulated_experiments():
    # Simulation with known truth: five looks at the z of a true relative effect.
    rule = GroupSequential(looks=5, spending="pocock")
    claimed = power(HISTORY, N, 0.07, THIRDS, rule)
    bounds = boundaries([0.2, 0.4, 0.6, 0.8, 1], spending="pocock")
    error = np.sqrt(3909.9997749994377 * (1 + 1.07**2) / (N / 3)) / 10
    steps = np.random.default_rng(2).normal(0.07 / error / 5, np.sqrt(0.2), (200_000, 5))
    z = steps.cumsum(axis=1) / np.sqrt([0.2, 0.4, 0.6, 0.8, 1])
    assert claimed == pytest.approx((np.abs(z) > bounds).any(axis=1).mean(), abs=0.004)


def test_looking_costs_customers_in_the_known_order():
    sizes = [
        sample_size(HISTORY, 0.05, 0.8, THIRDS, rule)
        for rule in (Fixed(), GroupSequential(5), GroupSequential(5, "pocock"))
    ]
    assert sizes == sorted(sizes)
    # Source: Jennison and Turnbull 2000, tables 2.2 and 2.3 give inflation 1.028 and 1.228 for the
    # original tests; the spending versions lie close.
    assert sizes[1] / sizes[0] == pytest.approx(1.028, abs=0.01)
    assert sizes[2] / sizes[0] == pytest.approx(1.228, abs=0.025)


def test_cuped_saves_what_its_correlation_explains():
    plain = sample_size(HISTORY, 0.05)
    adjusted = sample_size(History(HISTORY.mean, HISTORY.variance, correlation=0.6), 0.05)
    assert adjusted / plain == pytest.approx(1 - 0.36, rel=1e-4)


def test_a_proportion_is_a_mean_of_zeros_and_ones():
    assert proportion_history(0.2).variance == pytest.approx(0.16)
    assert proportion_history(0.2).mean == 0.2


def test_a_ratio_has_the_variance_of_its_linearised_part():
    # Simulation with known truth: variance of n times the ratio's own error.
    rng = np.random.default_rng(8)
    visits = rng.poisson(3, (4_000, 500)) + 1.0
    spend = visits * rng.gamma(2, 5, visits.shape)
    history = ratio_history(
        float(spend.mean()),
        float(visits.mean()),
        float(spend.var()),
        float(visits.var()),
        float(np.cov(spend.ravel(), visits.ravel())[0, 1]),
    )
    ratios = spend.sum(axis=1) / visits.sum(axis=1)
    assert history.mean == pytest.approx(10, rel=0.01)
    assert history.variance == pytest.approx(ratios.var() * 500, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.1, 0.95), st.floats(100, 1e7))
def test_power_at_the_detectable_effect_is_the_wanted_power(variation, wanted, n):
    history = History(mean=1, variance=variation)
    effect = detectable_effect(history, n, wanted)
    assert power(history, n, effect) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: History(mean=0, variance=1), "mean is 0"),
        (lambda: History(mean=1, variance=0), "variance is 0"),
        (lambda: History(mean=1, variance=1, correlation=1), "correlation 1"),
        (lambda: Split(0, 1), "shares 0 and 1"),
        (lambda: Split(0.7, 0.7), "at most 1 together"),
        (lambda: power(HISTORY, 0, 0.1), "0 units"),
        (lambda: power(HISTORY, 10, -1), "effect -1"),
        (lambda: sample_size(HISTORY, 0), "effect of 0"),
        (lambda: detectable_effect(HISTORY, 10, 0.8), "no relative effect"),
        (lambda: detectable_effect(HISTORY, N, 1.0), "power 1.0"),
        (lambda: ratio_history(1, 0, 1, 1, 0), "denominator's mean is 0"),
    ],
)
def test_questions_without_an_answer_are_refused(call, words):
    with pytest.raises(InvalidPower, match=words):
        call()


def test_a_difference_is_judged_without_the_error_of_the_controls_mean():
    # Independent: statsmodels' normal power of a standardised difference, also at a large effect.
    history = History(mean=10, variance=900)
    theirs = sm.NormalIndPower().solve_power(3 / 30, power=0.8, alpha=0.05, ratio=1)
    size = sample_size(history, 0.3, judged="difference")
    assert size / 2 == pytest.approx(theirs, rel=0.001)
    effect = detectable_effect(history, size, judged="difference")
    assert effect == pytest.approx(0.3, rel=1e-3)


def test_a_share_has_the_variance_of_the_share_that_the_effect_makes_of_it():
    # Independent: statsmodels, unequal variances.
    claimed = power(proportion_history(0.1), 4_000, 0.3, judged="difference")
    theirs = power_proportions_2indep(0.03, 0.1, 2_000, alpha=0.05, value=0, return_results=False)
    assert claimed == pytest.approx(float(theirs), abs=0.004)
    with pytest.raises(InvalidPower, match="makes more than all"):
        power(proportion_history(0.6), 4_000, 0.7)
    # Of 24 customers nine in ten respond: the rest is too little to see.
    with pytest.raises(InvalidPower, match="no relative effect"):
        detectable_effect(proportion_history(0.9), 24, judged="difference")


def test_a_history_is_read_from_rows():
    rng = np.random.default_rng(5)
    before = rng.gamma(2, 5, 4_000)
    now = 0.8 * before + rng.gamma(2, 3, 4_000)
    rows = np.column_stack([now, before])
    mean = history_of(Mean(Column("now"), Column("before")), rows)
    assert (mean.mean, mean.variance) == pytest.approx((now.mean(), now.var(ddof=1)))
    assert mean.correlation == pytest.approx(np.corrcoef(now, before)[0, 1])
    ratio = history_of(Ratio(Column("now"), Column("before")), rows)
    assert ratio.mean == pytest.approx(now.mean() / before.mean())
    linear = (now - ratio.mean * before) / before.mean()
    assert ratio.variance == pytest.approx(linear.var(ddof=1))
    assert ratio.correlation == 0
    share = history_of(Proportion(Column("did")), (now > 15).astype(float)[:, None])
    assert share.variance == pytest.approx((now > 15).var())
    flat = history_of(Mean(Column("now"), Column("before")), np.column_stack([now, now * 0 + 3]))
    assert flat.correlation == 0
    with pytest.raises(InvalidPower, match="no power by these formulae"):
        history_of(Quantile(Column("now"), 0.5), rows)
    with pytest.raises(InvalidPower, match="2 unit"):
        history_of(Mean(Column("now")), rows[:2, :1])


def test_how_alike_members_are_is_found_again_and_predicts_the_error_of_clusters():
    # Simulation with known truth: intraclass correlation 4 / (4 + 12), unequal clusters.
    rng = np.random.default_rng(6)
    cluster = np.repeat(np.arange(3_000), rng.integers(1, 6, 3_000))
    values = rng.normal(0, 2, 3_000)[cluster] + rng.normal(50, np.sqrt(12), len(cluster))
    alike = intraclass_correlation(values, cluster)
    assert alike == pytest.approx(0.25, abs=0.02)
    shuffled = intraclass_correlation(rng.permutation(values), cluster)
    assert shuffled == pytest.approx(0, abs=0.02)
    for lonely in (np.zeros(len(values)), np.arange(len(values))):
        with pytest.raises(InvalidPower, match="how alike"):
            intraclass_correlation(values, lonely)


def test_a_huge_effect_takes_one_unit_a_variant_and_a_tiny_one_is_refused():
    assert sample_size(History(10, 1e-6), 0.5) == 2
    with pytest.raises(InvalidPower, match="any number"):
        sample_size(HISTORY, 1e-12)

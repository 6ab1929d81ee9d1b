from itertools import combinations

import numpy as np
import pytest

from experiments.aggregates import Aggregates
from experiments.contrast import contrast
from experiments.quantile import compare_quantiles, quantile_variance, ranks
from experiments.randomisation import (
    InvalidDeal,
    dealt_sums,
    placed,
    randomisation,
    seed_of,
    studentised,
)

STORES = np.random.default_rng(2).gamma(4, 1, (10, 2)) * [30.0, 10.0]


def test_dealing_agrees_with_all_deals_there_are():
    # Independent: all 210 ways to give 4 of 10 stores the offer.
    every = []
    for chosen in combinations(range(10), 4):
        mask = np.isin(np.arange(10), chosen)
        every.append(
            float(
                studentised(
                    contrast(
                        "ratio",
                        Aggregates.from_rows(STORES[mask]),
                        Aggregates.from_rows(STORES[~mask]),
                    )
                )
            )
        )
    seen = every[37]
    above, below = np.mean(np.array(every) >= seen), np.mean(np.array(every) <= seen)
    exact = 2 * min(above, below) - 1 / 210
    chosen = np.isin(np.arange(10), list(combinations(range(10), 4))[37])
    ours = randomisation("ratio", STORES[chosen], STORES[~chosen])
    assert ours.p == pytest.approx(exact, abs=0.02)
    # The larger variant dealt the other way round says the same, mirrored.
    mirrored = randomisation("ratio", STORES[~chosen], STORES[chosen])
    assert mirrored.p == pytest.approx(ours.p, abs=0.02)
    assert mirrored.lower == pytest.approx(-ours.upper, abs=0.2)


def test_dealt_sums_have_the_mean_and_variance_of_samples_without_return():
    # Closed form: mean n x / N, variance n (1 - n / N) S**2; 60 of 100 rows are idle.
    rows = np.zeros((100, 1))
    rows[:40, 0] = np.random.default_rng(1).gamma(1, 1, 40)
    sums = dealt_sums(rows, 30, seed=5, deals=40_000)
    assert sums.first[:, 0].mean() == pytest.approx(30 * rows.mean(), rel=0.005)
    expected = 30 * 0.7 * rows.var(ddof=1)
    assert sums.first[:, 0].var() == pytest.approx(expected, rel=0.03)
    assert np.allclose(sums.second[:, 0, 0].mean(), 30 * (rows**2).mean(), rtol=0.01)


def test_a_value_among_distinct_deals_has_its_rank_as_p():
    dealt = np.arange(1, 1000.0)
    # Source: Phipson and Smyth 2010: nothing is beyond it, (1 + 0) / (1 + 999) in each tail.
    assert placed(1000.0, dealt).p == pytest.approx(2 / 1000)
    assert placed(989.5, dealt).p == pytest.approx(2 * 11 / 1000)
    result = placed(500.0, dealt)
    assert result.p == pytest.approx(1.0)
    assert (result.lower_tail, result.upper_tail) == pytest.approx((0.025, 0.025))
    assert result.holds(0.95)


def test_few_different_deals_do_not_hold():
    assert not placed(1.0, np.repeat([0.0, 1.0, 2.0], 333)).holds(0.95)
    lone = randomisation("ratio", STORES[:1], STORES[1:])
    assert not lone.holds(0.95)


@pytest.mark.slow
@pytest.mark.parametrize(("buyers", "split"), [(0.1, (100, 100)), (0.1, (60, 540)), (1.0, (8, 12))])
def test_a_true_null_is_rejected_in_5_of_100(buyers, split):
    # Simulation with known truth: 3 standard errors of 1,500 experiments.
    rng = np.random.default_rng(9)
    n = sum(split)
    rejected = []
    for _ in range(1_500):
        spend = np.where(rng.random(n) < buyers, rng.lognormal(3, 1, n), 0)[:, None]
        dealt = randomisation("mean", spend[: split[0]], spend[split[0] :], deals=199)
        if dealt.holds(0.95):
            rejected.append(dealt.p <= 0.05)
    assert len(rejected) > 1_200
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.018)


def test_chance_deals_the_same_whoever_was_treated_and_otherwise_for_other_values():
    rng = np.random.default_rng(4)
    values = rng.lognormal(3, 1, (60, 2))
    there = randomisation("ratio", values[:20], values[20:], deals=199)
    shuffled = np.concatenate([rng.permutation(values[:20]), rng.permutation(values[20:])])
    assert randomisation("ratio", shuffled[:20], shuffled[20:], deals=199) == there
    # The cut points are of the values and the sizes, whoever was dealt what.
    dealt = rng.permutation(values)
    again = randomisation("ratio", dealt[:20], dealt[20:], deals=199)
    assert (again.lower, again.upper) == pytest.approx((there.lower, there.upper), rel=0.05)
    assert seed_of(np.array([-0.0, 1.0])) == seed_of(np.array([0.0, 1.0]))
    assert len({seed_of(one) for one in rng.random((100, 3))}) == 100


@pytest.mark.slow
def test_analyses_of_one_size_do_not_share_the_luck_of_one_seed():
    # Simulation without effect: 3 standard errors of 2,000 experiments. With one seed for all these
    # 399 deals rejected 7.4 %.
    rng = np.random.default_rng(11)
    rejected = [
        compare_quantiles(values[:100], values[100:], 0.9, deals=399).p <= 0.05
        for values in rng.lognormal(3, 1, (2_000, 2_000))
    ]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.015)


def test_variants_without_units_cannot_be_dealt():
    with pytest.raises(InvalidDeal, match="both need units"):
        randomisation("mean", STORES[:0], STORES)


def test_the_ranks_of_a_median_are_those_of_the_literature():
    # Source: Price and Bonett 2002: n / 2 -+ z sqrt(n) / 2 ranks around the middle.
    places = ranks(99, 0.5)
    assert places.at == 49
    assert places.high - places.at == pytest.approx(1.959964 * np.sqrt(99) / 2)
    assert places.values(np.arange(99.0)) == pytest.approx((49, places.low, places.high))


def test_the_variance_of_a_quantile_is_its_asymptotic_one():
    # Closed form: q (1 - q) / (n f**2), f = 1 for a uniform.
    values = np.sort(np.random.default_rng(1).random(100_000))
    _, low, high = ranks(100_000, 0.9).values(values)
    assert quantile_variance(low, high) == pytest.approx(0.9 * 0.1 / 100_000, rel=0.1)


def test_quantiles_differ_by_what_was_planted():
    rng = np.random.default_rng(3)
    control, treatment = rng.lognormal(3, 1, 3_000), rng.lognormal(3, 1, 1_000) + 8
    effect = compare_quantiles(treatment, control, 0.5)
    assert effect.method == "randomisation"
    assert effect.low is not None
    assert effect.high is not None
    assert effect.p is not None
    assert effect.low < 8 < effect.high
    assert effect.p < 0.01
    assert effect.difference == pytest.approx(np.median(treatment) - np.median(control), rel=0.02)


def test_large_variants_take_order_statistics_and_agree_with_a_bootstrap():
    # Independent: the bootstrap error of the difference of 90 % quantiles.
    rng = np.random.default_rng(6)
    control, treatment = rng.lognormal(3, 0.5, 12_000), rng.lognormal(3, 0.5, 12_000)
    effect = compare_quantiles(treatment, control, 0.9)
    assert effect.method == "order statistics"
    assert effect.high is not None
    assert effect.low is not None
    draws = [
        np.quantile(rng.choice(treatment, 12_000), 0.9)
        - np.quantile(rng.choice(control, 12_000), 0.9)
        for _ in range(400)
    ]
    assert (effect.high - effect.low) / 2 / 1.96 == pytest.approx(np.std(draws), rel=0.15)


@pytest.mark.parametrize("level", [0.0002, 0.9998, 0.9999])
def test_a_quantile_beyond_nearly_all_values_is_refused(level):
    # 2 of 10,000 are beyond .9998: the neighbours 1.96 deviations of a rank away are no values.
    assert ranks(10_000, level).outside
    values = np.random.default_rng(1).lognormal(3, 1, (2, 10_000))
    effect = compare_quantiles(values[0], values[1], level)
    assert effect.difference is None
    assert "beyond the quantile" in str(effect.refused)
    assert not ranks(10_000, 0.999).outside


@pytest.mark.slow
def test_far_quantiles_of_large_variants_make_up_no_significance():
    """A/A simulation of lognormal spend, 10 beyond the quantile in each of two equal variants."""
    rng = np.random.default_rng(5)
    found = [
        compare_quantiles(values[0], values[1], 0.999, deals=399)
        for values in rng.lognormal(3, 1, (100, 2, 10_000))
    ]
    assert {one.method for one in found} == {"randomisation"}
    rejected = np.mean([one.p < 0.05 for one in found if one.p is not None])
    assert rejected == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 100))


def test_price_points_are_refused():
    rng = np.random.default_rng(1)
    prices = rng.choice([2.99, 3.99, 4.99], (2, 800))
    effect = compare_quantiles(prices[0], prices[1], 0.5)
    assert effect.difference is None
    assert "have the value" in str(effect.refused)


def test_large_values_are_dealt_as_small_ones_are():
    values = np.random.default_rng(5).gamma(4, 1, (30, 1)).round(6)
    here = randomisation("mean", values[:12], values[12:])
    there = randomisation("mean", values[:12] + 1e9, values[12:] + 1e9)
    # Other digits are dealt otherwise: within the luck of 9,999 deals.
    assert there.p == pytest.approx(here.p, abs=0.02)
    assert there.upper == pytest.approx(here.upper, rel=0.05)

import math

import numpy as np
import pytest
import tea_tasting as tt
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.sample_ratio import (
    InvalidSplit,
    sample_ratio_deviation,
    sample_ratio_p_value,
)


@pytest.mark.parametrize(
    ("observed", "planned", "p"),
    [
        # Source: reference/experiments.md, to the digits shown.
        ([310, 98], [0.75, 0.25], 0.647434186),
        ([500, 500, 600], [0.34, 0.33, 0.33], 0.000592638),
        # Closed form: no deviation, and one degree of freedom at 1.96 squared.
        ([50, 50], [0.5, 0.5], 1.0),
        ([5098, 4902], [0.5, 0.5], math.erfc(1.96 / math.sqrt(2))),
    ],
)
def test_reference_values(observed, planned, p):
    assert sample_ratio_p_value(observed, planned) == pytest.approx(p, abs=5e-10)


def test_a_far_tail_is_not_rounded_to_zero():
    # Closed form: with two variants the p-value is erfc(sqrt(chi-square / 2)).
    p = sample_ratio_p_value([6100, 3900], [0.5, 0.5])
    assert p == pytest.approx(math.erfc(22 / math.sqrt(2)), rel=1e-9)
    assert 0 < p < 1e-100


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6).filter(any), st.randoms())
def test_scipy_agrees_and_the_order_of_variants_does_not_matter(observed, random):
    weights = [random.uniform(0.1, 1) for _ in observed]
    planned = [weight / math.fsum(weights) for weight in weights]
    p = sample_ratio_p_value(observed, planned)
    expected = np.array(planned) * sum(observed)
    assert p == pytest.approx(stats.chisquare(observed, expected).pvalue, rel=1e-6, abs=1e-300)
    assert p == pytest.approx(sample_ratio_p_value(observed[::-1], planned[::-1]), rel=1e-6)


def test_tea_tasting_agrees_on_two_variants():
    # Source: tea-tasting 1.14, normal approximation without continuity correction, which is
    # chi-square with one degree of freedom.
    data = {0: tt.aggr.Aggregates(count_=20_300), 1: tt.aggr.Aggregates(count_=79_700)}
    metric = tt.SampleRatio(4, method="norm", correction=False)
    assert sample_ratio_p_value([20_300, 79_700], [0.2, 0.8]) == pytest.approx(
        metric.analyze(data, 0, 1).pvalue, rel=1e-9
    )


def test_false_alarms_at_the_report_threshold_are_as_rare_as_planned():
    # Simulation with known truth: assignment works in all 20,000 splits, seed fixed.
    counts = np.random.default_rng(7).multinomial(5_000, [0.5, 0.3, 0.2], size=20_000)
    p_values = [sample_ratio_p_value(row, [0.5, 0.3, 0.2]) for row in counts]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.006)
    assert np.mean(np.array(p_values) < 0.001) == pytest.approx(0.001, abs=0.0009)


def test_deviation_is_that_of_the_worst_variant():
    assert sample_ratio_deviation([510, 490], [0.5, 0.5]) == pytest.approx(0.02)
    # 40 units instead of 50 are a fifth of the small variant, though a hundredth of all.
    assert sample_ratio_deviation([40, 960], [0.05, 0.95]) == pytest.approx(0.2)


@pytest.mark.parametrize("figure", [sample_ratio_p_value, sample_ratio_deviation])
@pytest.mark.parametrize(
    ("observed", "planned", "words"),
    [
        # Source: reference/experiments.md, an error to report and not a p-value.
        ([1000, 1200, 900], [0.5, 0.5, 0], "variant 3 was planned at 0 and got 900"),
        ([1000, 1200, 0], [0.5, 0.5, 0], "variant 3 has a planned share of 0"),
        ([1, 2, 3], [0.5, 0.5], "3 counts were observed for 2 planned shares"),
        ([10], [1.0], "at least 2 variants"),
        ([], [], "at least 2 variants"),
        ([10, 10], [0.5, 0.6], "sum to 1.1"),
        ([10, 10], [50, 50], "sum to 100"),
        ([10, 10], [1.5, -0.5], "variant 2 has a planned share of -0.5"),
        ([10, 10], [0.5, math.nan], "variant 2 has a planned share of nan"),
        ([10, 10], [0.5, math.inf], "sum to inf"),
        ([0, 0], [0.5, 0.5], "no customer was observed"),
        ([-1, 10], [0.5, 0.5], "variant 1 has a count of -1"),
        ([1.5, 10], [0.5, 0.5], "variant 1 has a count of 1.5"),
        ([math.nan, 10], [0.5, 0.5], "variant 1 has a count of nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(figure, observed, planned, words):
    with pytest.raises(InvalidSplit) as caught:
        figure(observed, planned)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

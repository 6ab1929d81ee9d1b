import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.confidence_sequence import (
    InvalidSequence,
    always_valid_p,
    critical_value,
    tuned_rho,
)
from experiments.welch import Moments
from tests.experiments.mixture_bound import best_mixture_rho, mixture_bound


def test_the_reference_interval_of_a_relative_effect_to_the_digits_shown():
    # Source: reference/experiments.md; 1396/3000 against 2422/3461, tuned at 5,000.
    control, treatment = 1396 / 3000, 2422 / 3461
    error = math.sqrt(
        treatment * (1 - treatment) / 3461 / control**2
        + control * (1 - control) / 3000 * treatment**2 / control**4
    )
    reach = error * float(critical_value(6461, planned_n=5000))
    estimate = treatment / control - 1
    assert round(estimate, 5) == 0.50386
    assert round(estimate - reach, 5) == 0.40098
    assert round(estimate + reach, 5) == 0.60675


def test_the_reference_critical_values_to_the_digits_shown():
    assert round(float(critical_value(266_667, 5_000)), 4) == 3.4742
    assert round(float(critical_value(266_667, 266_667)), 4) == 3.0352


def test_the_normal_mixture_bounds_of_the_reference_to_the_digits_shown():
    # Source: reference/experiments.md, after Howard et al. 2021.
    rho, wider = best_mixture_rho(100, 0.05), best_mixture_rho(100, 0.10)
    assert round(rho, 5) == 12.60056
    assert round(wider, 5) == 15.80063
    assert round(float(mixture_bound(100, rho)), 5) == 30.35209
    assert round(float(mixture_bound(100, rho, sides=1)), 5) == 27.67992
    assert round(float(mixture_bound(100, wider, sides=1)), 5) == 27.66071


def test_the_best_rho_is_best():
    times = np.full(3, 100.0)
    bounds = [mixture_bound(times, best_mixture_rho(100) * factor)[0] for factor in (0.8, 1, 1.25)]
    assert bounds[1] < min(bounds[0], bounds[2])


def test_both_parametrisations_are_the_same_bound():
    # Closed form: n rho**2 customers of one are v / rho of the other.
    n, planned = 700.0, 1000.0
    one = float(critical_value(n, planned))
    other = float(mixture_bound(n, 1 / tuned_rho(planned) ** 2)) / math.sqrt(n)
    # Waudby-Smith's bound has alpha, Howard's alpha**2 under the root, and a factor (n+1)/n.
    assert one == pytest.approx(other, rel=1e-12)


def test_the_sequence_is_narrowest_near_the_size_it_is_tuned_for():
    at = {planned: float(critical_value(1000, planned)) for planned in (100, 500, 1000, 2000, 9000)}
    assert at[1000] == pytest.approx(min(at.values()), rel=1e-4)


@given(st.floats(0.01, 9), st.integers(2, 10**7), st.integers(2, 10**7))
def test_p_is_below_alpha_exactly_where_the_interval_leaves_zero_out(z, n, planned):
    excludes = z > float(critical_value(n, planned))
    p = float(always_valid_p(z, n, planned))
    assert (p < 0.05) == excludes or p == pytest.approx(0.05)


def test_before_the_first_customer_nothing_is_left_out():
    assert math.isinf(float(critical_value(0, 100)))
    assert float(always_valid_p(0.0, 0, 100)) == 1


def test_ever_leaving_the_truth_out_is_rarer_than_alpha_though_looked_at_each_customer():
    # Simulation with known truth: skewed spend, 4,000 experiments of 400 customers, every look from
    # the 20th on. A fixed interval read every time leaves it out in a third of them.
    rng = np.random.default_rng(5)
    spend = rng.gamma(2.0, 1.0, (4_000, 400)) - 2.0
    n = np.arange(1, 401)
    mean = spend.cumsum(axis=1) / n
    error = np.sqrt((spend**2).cumsum(axis=1) / n - mean**2) / np.sqrt(n)
    z = np.abs(mean / np.where(error > 0, error, 1))[:, 19:]
    always = (z > critical_value(n, planned_n=400)[19:]).any(axis=1).mean()
    fixed = (z > 1.96).any(axis=1).mean()
    assert always <= 0.05
    assert fixed > 0.25


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tuned_rho(0), "planned number of customers is 0"),
        (lambda: tuned_rho(float("nan")), "planned number of customers is nan"),
        (lambda: critical_value(10, 10, alpha=1), "alpha 1"),
        (lambda: best_mixture_rho(-1), "intrinsic time is -1"),
        (lambda: mixture_bound(0, 1), "intrinsic time is 0"),
        (lambda: mixture_bound(1, 0), "rho is 0"),
        (lambda: mixture_bound(1, 1, sides=3), "1 or 2 sides, got 3"),
    ],
)
def test_what_has_no_bound_is_refused(call, words):
    with pytest.raises(InvalidSequence, match=words):
        call()


def test_moments_and_sequence_agree_on_the_standard_error():
    # The half-width multiplies the ordinary error, so at one look it is only wider.
    arm = Moments.from_values([1.0, 2.0, 4.0, 8.0])
    error = math.sqrt(2 * arm.variance / arm.n)
    assert float(critical_value(8, 8)) * error > 1.96 * error

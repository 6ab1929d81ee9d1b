import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.group_sequential import (
    InvalidLooks,
    alpha_spent,
    boundaries,
    crossing,
    detection,
    stopped,
)

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_the_reference_boundaries_to_the_digits_shown():
    # Source: reference/experiments.md, one-sided .025, five equal looks.
    fleming = boundaries(FIVE, 0.025, "obrien_fleming", sides=1)
    pocock = boundaries(FIVE, 0.025, "pocock", sides=1)
    assert fleming.round(4).tolist() == [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]
    assert pocock.round(4).tolist() == [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]


def test_two_looks_agree_with_the_bivariate_normal():
    # Independent: scipy's bivariate normal, correlation sqrt(t1 / t2).
    first, second = boundaries([0.3, 1.0], 0.05, "pocock", sides=2)
    rho = np.sqrt(0.3)
    inside = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]], abseps=1e-9, releps=1e-9)
    stays = inside.cdf([first, second], lower_limit=[-first, -second])
    assert 1 - stays == pytest.approx(0.05, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 100), min_size=2, max_size=6, unique=True),
    st.sampled_from(["obrien_fleming", "pocock"]),
    st.sampled_from([1, 2]),
)
def test_all_looks_together_spend_alpha_whenever_they_happen(marks, spending, sides):
    looks = [mark / max(marks) for mark in sorted(marks)]
    bounds = boundaries(looks, 0.05, spending, sides)
    assert detection(looks, bounds.tolist(), 0.0, sides) == pytest.approx(0.05, abs=1e-7)


def test_each_look_spends_what_the_function_says():
    bounds = boundaries(FIVE, 0.05, "pocock", sides=1)
    above, _ = crossing(FIVE, bounds.tolist())
    spent = [alpha_spent(look, 0.05, "pocock") for look in FIVE]
    assert above.cumsum() == pytest.approx(spent, abs=1e-9)


def test_power_agrees_with_simulated_paths():
    # Simulation with known truth: 200,000 Brownian paths at unequal looks.
    looks = [0.1, 0.35, 0.5, 1.0]
    bounds = boundaries(looks, 0.05, "pocock")
    rng = np.random.default_rng(3)
    steps = np.diff([0, *looks])
    score = rng.normal(2.5 * steps, np.sqrt(steps), (200_000, 4)).cumsum(axis=1)
    crossed = (np.abs(score / np.sqrt(looks)) > bounds).any(axis=1).mean()
    assert detection(looks, bounds.tolist(), 2.5) == pytest.approx(crossed, abs=0.004)


def test_a_single_look_is_the_ordinary_test():
    assert boundaries([1.0]) == pytest.approx([stats.norm.isf(0.025)])
    result = stopped([1.0], boundaries([1.0]).tolist(), 2.5)
    assert result.p == pytest.approx(2 * stats.norm.sf(2.5))
    assert (result.low, result.drift, result.high) == pytest.approx(
        (2.5 - stats.norm.isf(0.025), 2.5, 2.5 + stats.norm.isf(0.025)), abs=1e-6
    )


def test_after_stopping_early_the_estimate_is_drawn_in_and_the_interval_agrees_with_the_test():
    bounds = boundaries(FIVE).tolist()
    result = stopped(FIVE[:3], bounds[:3], 2.9)
    naive = 2.9 / np.sqrt(0.6)
    assert result.drift < naive
    assert result.low > 0
    assert result.p < 0.05
    # On the boundary itself p is what had been spent, and the interval just leaves zero out.
    edge = stopped(FIVE[:3], bounds[:3], bounds[2])
    assert edge.p == pytest.approx(2 * alpha_spent(0.6, 0.025, "obrien_fleming"), abs=1e-7)


def test_the_figures_after_stopping_hold_for_a_known_drift():
    # Simulation with known truth: drift 2, 20,000 experiments stopped where they cross. A level of
    # the stagewise ordering is uniform at the truth, so that intervals hold it in 95 of 100 and the
    # estimate is above it in half.
    looks = [0.25, 0.5, 1.0]
    bounds = boundaries(looks, 0.05, "pocock").tolist()
    rng = np.random.default_rng(11)
    steps = np.diff([0, *looks])
    paths = rng.normal(2 * steps, np.sqrt(steps), (20_000, 3)).cumsum(axis=1) / np.sqrt(looks)
    out = np.abs(paths) > bounds
    stop = np.where(out.any(axis=1), out.argmax(axis=1), 2)
    held, above = [], []
    for look in range(3):
        ends = paths[stop == look, look]
        # The figures rise with the z they stopped at: a grid of stops says where they pass 2.
        grid = np.quantile(ends, np.linspace(0.001, 0.999, 25))
        if look < 2:
            grid = np.concatenate([np.linspace(-4, -bounds[look], 5), grid[grid > bounds[look]]])
        made = [stopped(looks[: look + 1], bounds[: look + 1], z) for z in grid]
        held += list(
            (np.interp(ends, grid, [one.low for one in made]) <= 2)
            & (np.interp(ends, grid, [one.high for one in made]) >= 2)
        )
        above += list(np.interp(ends, grid, [one.drift for one in made]) > 2)
    assert np.mean(held) == pytest.approx(0.95, abs=0.006)
    assert np.mean(above) == pytest.approx(0.5, abs=0.012)


def test_very_early_looks_cannot_reject_and_late_ones_spend_no_more():
    bounds = boundaries([0.01, 0.5, 1.2], 0.05)
    assert np.isinf(bounds[0])
    assert detection([0.01, 0.5, 1.2], bounds.tolist(), 0.0) == pytest.approx(0.05, abs=1e-7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: boundaries([]), "at least one look"),
        (lambda: boundaries([0.5, 0.5]), "0.5 comes after 0.5"),
        (lambda: boundaries([float("nan")]), "nan comes after"),
        (lambda: boundaries([0.0, 1.0]), "0.0 comes after"),
        (lambda: boundaries([1.0], alpha=0), "alpha 0"),
        (lambda: boundaries([1.0], sides=3), "got 3"),
        (lambda: crossing([0.5, 1.0], [2.0]), "2 looks have 1 upper"),
    ],
)
def test_looks_that_do_not_follow_each_other_are_refused(call, words):
    with pytest.raises(InvalidLooks, match=words):
        call()

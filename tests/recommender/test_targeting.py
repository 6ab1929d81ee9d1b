"""The test of targeting is right about chance, and sees strong differences."""

import numpy as np
import pytest
from scipy import stats

from foundation.errors import TooLittleData
from recommender.targeting import Rate, rate, rate_p, tenths


def test_the_rate_is_the_mean_gain_over_treating_at_random() -> None:
    draw = np.random.default_rng(2)
    effect, priority = draw.normal(size=50), draw.normal(size=50)
    ordered = effect[np.argsort(-priority)]
    # Independent: the gain after each row treated, over the same share at random, by the trapezoid.
    gains = np.r_[0, np.cumsum(ordered)] / 50 - np.linspace(0, 1, 51) * effect.mean()
    found = rate(effect, priority, np.arange(50))
    assert found.value == pytest.approx(np.trapezoid(gains, dx=1 / 50))


@pytest.mark.parametrize("treatments", [1, 3])
def test_a_ranking_of_chance_gives_uniform_p_values_and_a_true_error(treatments: int) -> None:
    draw = np.random.default_rng(4)
    found: list[Rate] = []
    for _ in range(400):
        # The control's noise is in all effects, and two rows each belong to one unit.
        control = np.repeat(draw.standard_t(5, (200, 1)), 2, axis=0)
        effect = draw.normal(size=(400, treatments)) + control
        priority = np.round(draw.normal(size=(400, treatments)))
        found.append(rate(effect, priority, np.repeat(np.arange(200), 2)))
    p = [rate_p([one]) for one in found]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean([one.error for one in found]) == pytest.approx(
        np.std([one.value for one in found]), rel=0.1
    )


def test_the_error_knows_that_ranks_are_drawn_too() -> None:
    draw = np.random.default_rng(5)
    found: list[Rate] = []
    for _ in range(400):
        priority = draw.normal(size=300)
        found.append(rate(2 * priority + draw.normal(size=300), priority, np.arange(300)))
    assert np.mean([one.error for one in found]) == pytest.approx(
        np.std([one.value for one in found]), rel=0.12
    )


def test_ties_count_as_their_middle_and_one_rank_for_all_is_nothing() -> None:
    effect = np.array([3.0, 1.0, 2.0, 0.0])
    tied = rate(effect, np.array([1.0, 1.0, 0.0, 0.0]), np.arange(4))
    swapped = rate(effect[[1, 0, 3, 2]], np.array([1.0, 1.0, 0.0, 0.0]), np.arange(4))
    assert tied == swapped
    nothing = rate(effect, np.ones(4), np.arange(4))
    assert nothing == Rate(0.0, 0.0)
    with pytest.raises(TooLittleData, match="no targeting to test"):
        rate_p([nothing])


def test_folds_count_together() -> None:
    # Closed form: two of 1.5 errors each make 1.5 * sqrt(2) = 2.1213.
    assert rate_p([Rate(1.5, 1.0), Rate(3.0, 2.0)]) == pytest.approx(stats.norm.sf(2.1213203))


def test_tenths_hold_what_was_planted() -> None:
    draw = np.random.default_rng(6)
    predicted = draw.uniform(0, 1, 5000)
    groups = tenths(predicted + draw.normal(size=5000), predicted, predicted, np.arange(5000))
    assert [group.n for group in groups] == [500] * 10
    assert groups[0].predicted == pytest.approx(0.95, abs=0.01)
    held = [one.observed.low <= one.predicted <= one.observed.high for one in groups]
    assert sum(held) >= 8
    tied = tenths(draw.normal(size=50), np.ones(50), np.ones(50), np.arange(50))
    assert [group.n for group in tied] == [50]

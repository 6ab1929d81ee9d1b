"""Intervals of what was chosen for looking best hold what it is worth."""

import numpy as np
import pytest

from foundation.scores import Z_95
from recommender.uplift import fit_uplift
from recommender.winners_curse import chosen_interval
from tests.recommender.uplift_worlds import world


@pytest.mark.parametrize("rivals", [1, 3, 8])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_it_holds_the_truth_of_the_best_of_several_estimates(rivals: int, spread: float) -> None:
    # Estimates err by 1; choosing nothing, worth 0, is one of the rivals.
    draw = np.random.default_rng(rivals)
    truth = draw.normal(0, spread, (20_000, rivals))
    told = truth + draw.normal(size=truth.shape)
    place = np.arange(len(told)), told.argmax(axis=1)
    chosen = told[place] > 0
    value, worth = told[place][chosen], truth[place][chosen]

    width = chosen_interval(0.0, 1.0, rivals)
    held = (worth >= value + width.low) & (worth <= value + width.high)

    # Source: the planted truth; 3 standard errors of 20,000 draws.
    assert held.mean() > 0.95 - 3 * np.sqrt(0.05 * 0.95 / len(held))
    if spread == 0.0:
        # Nothing is worth anything: the plain interval promises too much.
        plain = np.abs(worth - value) < Z_95
        assert plain.mean() < held.mean() - 0.01


def test_without_a_rival_it_is_the_usual_interval() -> None:
    alone = chosen_interval(10.0, 2.0, 0)
    assert (alone.low, alone.value, alone.high) == pytest.approx((10 - 2 * Z_95, 10, 10 + 2 * Z_95))


@pytest.mark.slow
def test_plans_of_few_rows_in_which_nothing_helps_do_not_promise_a_gain() -> None:
    held, plans = 0, 0
    for seed in range(60):
        planted, fresh = (world(300, 2, "none", 2 * seed + part) for part in (1, 2))
        model = fit_uplift(planted.rows, 0)
        told = model.effects(fresh.rows.features)
        best = told.argmax(axis=1)
        rows = told[np.arange(len(told)), best] > 0
        if not rows.any():
            continue
        sums = np.bincount(best[rows], told[rows, best[rows]], 2)
        error = model.error_of_sum(sums, np.bincount(best[rows], minlength=2))
        assert error is not None
        plans += 1
        held += chosen_interval(float(sums.sum()), error, rivals=2).low <= 0
    # Source: nobody gains anything. Of 97.5 % bounds, 45 plans would lose 5 or more once in 200.
    assert plans > 30
    assert held >= plans - 4

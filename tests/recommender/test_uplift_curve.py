"""Qini, AUUC and uplift at k follow the stated convention, ties included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import RegularsError, TooLittleData
from recommender.uplift_curve import UpliftOrder, uplift_scores

OUTCOME = np.array([0, 0, 0, 0, 1, 0, 0, 1, 1, 1], dtype=float)
TREATED = np.repeat([False, True], 5)
SCORE = np.tile([0, 0.1, 0.2, 0.3, 0.4], 2)
ONES = np.ones(10)


def test_tied_scores_give_the_convention_s_figures() -> None:
    qini, auuc, _ = UpliftOrder(OUTCOME, SCORE, TREATED).figures(ONES, 0.3)
    # Source: scikit-uplift's definitions, ties grouped.
    assert qini == pytest.approx(0.1333333, abs=5e-8)
    assert auuc == pytest.approx(0.1851852, abs=5e-8)


@given(st.permutations(range(10)))
def test_the_order_of_rows_does_not_matter(places: list[int]) -> None:
    some = UpliftOrder(OUTCOME[places], SCORE[places], TREATED[places]).figures(ONES, 0.3)
    assert some == pytest.approx(UpliftOrder(OUTCOME, SCORE, TREATED).figures(ONES, 0.3))


def test_one_score_for_all_is_worth_nothing_and_hindsight_everything() -> None:
    assert UpliftOrder(OUTCOME, np.zeros(10), TREATED).figures(ONES, 0.3)[:2] == (0, 0)
    best = np.where(TREATED, OUTCOME, -OUTCOME)
    assert UpliftOrder(OUTCOME, best, TREATED).figures(ONES, 0.3)[0] == pytest.approx(1)


def test_a_weight_counts_as_so_many_rows() -> None:
    weight = np.array([2, 1, 3, 1, 1, 2, 1, 1, 2, 1])
    repeated = UpliftOrder(*(np.repeat(a, weight) for a in (OUTCOME, SCORE, TREATED)))
    weighted = UpliftOrder(OUTCOME, SCORE, TREATED).figures(weight.astype(float), 0.3)
    assert weighted == pytest.approx(repeated.figures(np.ones(15), 0.3))


def test_uplift_at_k_is_the_difference_of_means_among_the_highest() -> None:
    # The highest 40 % are scores .4 and .3: treated 1 and 1, control 1 and 0.
    assert UpliftOrder(OUTCOME, SCORE, TREATED).figures(ONES, 0.4)[2] == pytest.approx(0.5)


def test_intervals_redraw_units_not_rows() -> None:
    draw = np.random.default_rng(1)
    score, treated = draw.normal(size=400), draw.random(400) < 0.5
    outcome = (draw.random(400) < 0.3 + 0.3 * treated * (score > 0)) * 1.0
    alone = uplift_scores(outcome, score, treated, np.arange(400), 0)
    twice = [np.tile(a, 5) for a in (outcome, score, treated, np.arange(400))]
    repeated = uplift_scores(twice[0], twice[1], twice[2], twice[3], 0)
    assert repeated.qini.value == pytest.approx(alone.qini.value)
    assert repeated.qini.high - repeated.qini.low == pytest.approx(
        alone.qini.high - alone.qini.low, rel=0.2
    )


def test_money_has_a_curve_too_and_nothing_to_order_is_refused() -> None:
    found = uplift_scores(10 * OUTCOME, SCORE, TREATED, np.arange(10), 0)
    assert found.qini.value == pytest.approx(0.1333333, abs=5e-8)
    with pytest.raises(TooLittleData, match="Qini of 10 rows is undefined"):
        uplift_scores(np.zeros(10), SCORE, TREATED, np.arange(10), 0)
    with pytest.raises(RegularsError, match="10 of 10 scores are missing"):
        UpliftOrder(OUTCOME, np.full(10, np.nan), TREATED)

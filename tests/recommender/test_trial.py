"""Randomised rows are checked, and one customer's rows are never parted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import TooLittleData
from recommender.trial import FLOOR, InvalidTrial, cluster_error, folds, trial

X = np.zeros((200, 1))
ARM = np.repeat([0, 1], 100)
Y = np.arange(200.0)


def test_shares_are_the_propensities_where_none_were_logged() -> None:
    rows = trial(np.zeros((250, 1)), np.repeat([0, 1], [50, 200]), np.arange(250.0))
    assert rows.propensity[0] == 0.2
    assert rows.propensity[-1] == 0.8


def test_a_matrix_of_propensities_counts_by_the_treatment_taken() -> None:
    rows = trial(X, ARM, Y, np.tile([0.9, 0.1], (200, 1)))
    assert (rows.propensity[0], rows.propensity[-1]) == (0.9, 0.1)


def test_a_share_that_is_the_same_for_all_is_never_raised_however_small() -> None:
    arm = np.repeat([0, 1], [19_940, 60])
    rows = trial(np.zeros((20_000, 1)), arm, np.arange(20_000.0))
    assert rows.propensity[-1] == 0.003
    logged = trial(X, ARM, Y, np.tile([0.999, 0.001], (200, 1)))
    assert logged.propensity[-1] == 0.001


def test_tiny_chances_that_differ_from_row_to_row_are_refused() -> None:
    chance = np.r_[np.full(100, 0.5), np.linspace(0.001, 0.5, 100)]
    rare = int((chance < FLOOR).sum())
    with pytest.raises(TooLittleData, match=rf"below 0.01 in {rare} of 200 rows.*say so") as told:
        trial(X, ARM, Y, chance)
    assert "\n" not in str(told.value)


def test_rows_to_judge_on_need_not_be_enough_to_learn_from() -> None:
    arm = np.repeat([0, 1], [195, 5])
    assert trial(X, arm, Y, learn=False).k == 1
    with pytest.raises(TooLittleData, match="code 1 was given to 5 units"):
        trial(X, arm, Y)


@pytest.mark.parametrize(
    ("arm", "outcome", "propensity", "error", "says"),
    [
        (np.repeat([0, 1], [170, 30]), Y, None, TooLittleData, "code 1 was given to 30 units"),
        (ARM, np.ones(200), None, TooLittleData, "the outcome is 1 in all 200 rows"),
        (ARM, np.where(Y < 3, np.nan, Y), None, InvalidTrial, "missing or infinite in 3 of 200"),
        (ARM, Y, np.zeros(200), InvalidTrial, r"outside \(0, 1\] in 200 of 200 rows"),
        (ARM, Y, np.ones((200, 3)), InvalidTrial, r"give \(200, 2\), the control first"),
        (np.zeros(200), Y, None, InvalidTrial, r"codes must be 0 \(control\) to 1"),
    ],
)
def test_rows_no_effect_can_be_read_from_are_refused_in_one_line(
    arm: np.ndarray,
    outcome: np.ndarray,
    propensity: np.ndarray | None,
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says) as refused:
        trial(X, arm, outcome, propensity)
    assert "\n" not in str(refused.value)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_a_unit_is_in_one_fold_and_every_arm_is_in_each(seed: int, count: int) -> None:
    unit = np.random.default_rng(seed).integers(0, 180, 400)
    rows = trial(np.zeros((400, 1)), unit % 2, np.arange(400.0), unit=unit)
    fold = folds(rows, count, seed)
    for one in np.unique(rows.unit):
        assert len(np.unique(fold[rows.unit == one])) == 1
    for part in range(count):
        assert set(rows.treatment[fold == part]) == {0, 1}


def test_rows_of_one_unit_are_no_independent_evidence() -> None:
    each = np.random.default_rng(0).normal(size=500)
    each -= each.mean()
    alone = cluster_error(each, np.arange(500))
    # Source: closed form, the standard error of a mean.
    assert alone == pytest.approx(each.std(ddof=1) / np.sqrt(500))
    doubled = cluster_error(np.r_[each, each], np.tile(np.arange(500), 2))
    assert doubled == pytest.approx(alone)

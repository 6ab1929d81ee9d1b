"""The champion is chosen inside the history, from worlds whose truth is known."""

from functools import partial

import pandas as pd
import pytest

from foundation.errors import TooLittleData
from segmentation.clv_champion import (
    CANDIDATES,
    Choice,
    as_often_as_so_far,
    choose,
    expected,
    fit_candidates,
    held_out_error,
)
from tests.shoppers_known import known_purchases

END = 300


@pytest.fixture(scope="module")
def purchases() -> pd.DataFrame:
    return known_purchases(1_500, 500, 8)


@pytest.fixture(scope="module")
def choice(purchases: pd.DataFrame) -> Choice:
    return choose(purchases, END, 7)


def test_every_candidate_is_judged_at_the_same_cuts_from_half_the_history_on(
    choice: Choice,
) -> None:
    assert set(choice.errors) == set(CANDIDATES)
    assert choice.refused == {}
    assert choice.cuts == (150, 187, 225)
    assert choice.scores[choice.champion] == min(choice.scores.values())


def test_what_lies_after_the_end_does_not_move_the_choice(
    purchases: pd.DataFrame, choice: Choice
) -> None:
    later = purchases[purchases["day"] > END].assign(amount=9_999.0)
    changed = pd.concat([purchases[purchases["day"] <= END], later, later.assign(day=END + 1)])
    assert choose(changed, END, 7).scores == choice.scores


def test_the_champion_beats_the_plain_forecast_on_days_it_never_saw(
    purchases: pd.DataFrame, choice: Choice
) -> None:
    fitted, refused = fit_candidates(purchases, END, 28.0, 7)
    assert refused == {}
    model = partial(expected, fitted[choice.champion])
    ours = held_out_error(model, purchases, END, 499)
    plain = held_out_error(as_often_as_so_far, purchases, END, 499)
    assert ours.mae.high < plain.mae.value
    assert ours.rmse.value < plain.rmse.value


def test_a_history_of_some_weeks_is_refused(purchases: pd.DataFrame) -> None:
    with pytest.raises(TooLittleData, match="purchases of 40 days are too few"):
        choose(purchases, 40, 7)

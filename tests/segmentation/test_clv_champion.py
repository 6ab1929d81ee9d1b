"""The champion is chosen inside the history, from worlds whose truth is known."""

from functools import partial

import pandas as pd
import pytest

from foundation.errors import TooLittleData
from segmentation.clv_champion import (
    CANDIDATES,
    Choice,
    choose,
    expected,
    fit_candidates,
    held_out_error,
)
from segmentation.likelihood import NotConverged
from segmentation.plain_forecast import as_often_as_so_far
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


def test_one_line_of_a_century_ago_moves_no_cut_and_is_said(
    purchases: pd.DataFrame, choice: Choice
) -> None:
    slip = pd.DataFrame({"customer_id": ["c9"], "day": [-25_567], "amount": [5.0]})
    returned = slip.assign(customer_id="c10", amount=-5.0)
    found = choose(pd.concat([slip, returned, purchases]), END, 7)
    assert found.cuts == choice.cuts
    assert found.champion == choice.champion
    assert found.before.startswith("2 customers of lines as old as 1900-01-01 came long before")
    assert "so the history counts from 1970-01-0" in found.before
    assert choice.before == ""


def test_a_cut_before_the_shop_had_customers_is_skipped_and_said(purchases: pd.DataFrame) -> None:
    few = purchases["customer_id"].isin([f"c{number}" for number in range(20)])
    once = purchases[few].drop_duplicates("customer_id")
    grown = pd.concat([once, purchases[~few].assign(day=purchases["day"] + 300)])
    found = choose(grown, 460, 7)
    assert len(found.cuts) == 2
    (reason,) = found.skipped.values()
    assert "of 20 customers whose actual total is 0" in reason
    assert all(len(errors) == 2 for errors in found.errors.values())


def test_a_candidate_refused_at_a_cut_says_when_and_why(
    purchases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bar that cannot be met: nobody's histories are enough for trees.
    monkeypatch.setattr("segmentation.two_stage.FEWEST_BUYERS", 10_000)
    found = choose(purchases[purchases["customer_id"] < "c2"], END, 7)
    assert set(found.refused) == {"two_stage"}
    assert found.refused["two_stage"].startswith("up to 1970-08-14: two-stage model:")
    assert found.champion in found.scores


def test_the_next_best_takes_the_place_of_a_champion_refused_later(choice: Choice) -> None:
    best, second, *rest = choice.ranking
    assert choice.best_of({}) == best == choice.champion
    assert choice.best_of({best: "no maximum"}) == second
    with pytest.raises(NotConverged, match="no maximum; flat"):
        choice.best_of({best: "no maximum", second: "flat", **dict.fromkeys(rest, "flat")})


def test_a_history_of_which_no_cut_can_be_judged_names_them(purchases: pd.DataFrame) -> None:
    once = purchases.drop_duplicates("customer_id")
    with pytest.raises(
        NotConverged, match=r"cut 1970-05-31: .*actual total is 0.*; cut 1970-07-07"
    ):
        choose(once, END, 7)

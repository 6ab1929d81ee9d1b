"""Does the calendar of a year before explain a silence, and nothing else do so?"""

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import TooLittleData
from segmentation.lifecycle import SLOWING, lifecycle_states, silence_chance
from segmentation.season import (
    EVEN,
    HISTORY_DAYS,
    PRIOR_VISITS,
    Season,
    learn_season,
    season_evidence,
)

DAYS = 800


def visit_days(pace: np.ndarray, rates: np.ndarray, seed: int) -> list[np.ndarray]:
    """Poisson shoppers' visit days back from T, oldest first; `pace` is each day's, back from T."""
    draw = np.random.default_rng(seed)
    oldest = len(pace)
    made: list[np.ndarray] = []
    for rate in rates:
        seen = draw.random(oldest) < 1 - np.exp(-rate * pace)
        made.append(np.flatnonzero(seen)[::-1])
    return made


def evidence(visits: list[np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Independent of the expressions: sums by hand what lies between first and last visits."""
    whole = [v for v in visits if len(v) > 2]
    spans = pd.DataFrame(
        [(v[0], v[-1], len(v) - 2) for v in whole], columns=["first", "last", "visits"]
    )
    back, times = np.unique(np.concatenate([v[1:-1] for v in whole]), return_counts=True)
    return spans, pd.DataFrame({"back": back, "visits": times})


def profile(visits: list[np.ndarray]) -> pd.DataFrame:
    rows: list[tuple[float, ...]] = []
    for v in visits:
        gaps = pd.Series(-np.diff(v)[v[1:] < 365])
        rows.append((v[-1] + 0.5, v[0] + 0.5, (v < 365).sum(), gaps.mean(), gaps.std()))
    names = ["recency_days", "tenure_days", "visit_days_365d", "gap_mean_365d", "gap_spread_365d"]
    return pd.DataFrame(rows, columns=names)


def shut(days: int, last_year: bool = True) -> np.ndarray:
    """A chain that was shut for the days before T and, if so, for the same days a year before."""
    pace = np.ones(DAYS)
    pace[:days] = 0.0
    if last_year:
        pace[364 : 364 + days] = 0.0
    return pace


def test_shut_shops_make_nobody_slow_where_they_were_shut_a_year_before() -> None:
    # Known truth: nobody changed, so at a random instant a share of SLOWING.chance has a gap this
    # rare; after a fortnight shut, without season, more than half of these weekly shoppers have.
    visits = visit_days(shut(14), np.full(2_000, 1 / 4), seed=1)
    found = profile(visits)
    season = learn_season(*evidence(visits), DAYS)

    without = (silence_chance(found) < SLOWING.chance).mean()
    within = (silence_chance(found, season) < SLOWING.chance).mean()

    assert without > 0.5
    assert within < 2 * SLOWING.chance
    slow = ["slowing", "dormant", "lost"]
    assert lifecycle_states(found).isin(slow).mean() > 0.5
    assert lifecycle_states(found, season).isin(slow).mean() < 2 * SLOWING.chance


def test_a_dip_that_was_not_there_a_year_before_is_no_season() -> None:
    visits = visit_days(shut(14, last_year=False), np.full(1_000, 1 / 4), seed=2)
    season = learn_season(*evidence(visits), DAYS)

    slow = (silence_chance(profile(visits), season) < SLOWING.chance).mean()

    assert slow > 0.5


def test_a_garden_centre_s_winter_makes_nobody_slow() -> None:
    # Known truth: nobody changed; T lies in the trough of a wave from 1.8 in summer to .2.
    wave = 1 - 0.8 * np.cos(2 * np.pi * np.arange(DAYS) / 364)
    rates = np.random.default_rng(1).gamma(3, 1 / 60, 2_000).clip(1 / 200, 1)
    visits = [v for v in visit_days(wave, rates, seed=13) if len(v)]
    found = profile(visits)

    season = learn_season(*evidence(visits), DAYS)

    assert (silence_chance(found) < SLOWING.chance).mean() > 3 * SLOWING.chance
    assert (silence_chance(found, season) < SLOWING.chance).mean() < SLOWING.chance


def test_who_left_is_found_in_season_too() -> None:
    # One in four weekly shoppers stopped coming 60 days ago.
    left = visit_days(np.r_[np.zeros(60), np.ones(DAYS - 60)], np.full(300, 1 / 7), seed=14)
    visits = left + visit_days(np.ones(DAYS), np.full(900, 1 / 7), seed=15)
    states = lifecycle_states(profile(visits), learn_season(*evidence(visits), DAYS))
    assert states.iloc[:300].isin(["dormant", "lost"]).mean() > 0.95


def test_a_yearly_wave_is_recovered_whoever_comes_and_goes() -> None:
    # Known truth: pace 1 + .4 cos, and a quarter of customers each joined late or left early.
    wave = 1 + 0.4 * np.cos(2 * np.pi * np.arange(DAYS) / 364)
    rates = np.random.default_rng(3).gamma(2, 1 / 28, 4_000)
    visits = visit_days(wave, rates, seed=3)
    for number, changed in enumerate(np.random.default_rng(4).integers(0, DAYS, 2_000)):
        joined = number % 2 == 0
        visits[number] = visits[number][(visits[number] < changed) == joined]

    found = learn_season(*evidence([v for v in visits if len(v)]), DAYS).pace

    assert len(found) == DAYS - 364 - 3
    # One visit a day at most flattens the wave a little.
    truth = (1 - np.exp(-np.outer(rates, wave[364 : 364 + len(found)]))).mean(axis=0)
    error = found / found[:364].mean() - truth / truth[:364].mean()
    # Some 1,500 visits a week: a standard error of .026.
    assert np.sqrt((error**2).mean()) < 0.035


def test_a_day_s_pace_is_its_week_s_observed_over_expected_visits_drawn_to_one() -> None:
    # By hand: 400 customers between days 371 and 321 with 49 visits on the 49 days between, but
    # twice as many as expected on the day 364 back: 7 x 400 expected, 8 x 400 observed.
    spans = pd.DataFrame({"first": [371], "last": [321], "visits": [49 * 400]})
    days = pd.DataFrame({"back": np.arange(322, 371), "visits": 400})
    days.loc[days["back"] == 364, "visits"] = 800

    pace = learn_season(spans, days, 371).pace

    expected = 7 * 400 + PRIOR_VISITS
    assert pace[0] == pytest.approx((8 * 400 + PRIOR_VISITS) / expected)
    # Day 3 back looks at 364 to 370 and still sees it; the week of day 4 back is not whole.
    assert pace.tolist() == pytest.approx([pace[0]] * 4)


def test_the_evidence_counts_visits_between_the_first_and_the_last() -> None:
    # Against the sums by hand; who came once or twice has nothing between.
    visits = [np.array(back) for back in ([9, 6, 2], [9, 8, 7, 2], [5, 1], [3])]
    ages = [(f"c-{n}", day + 0.5) for n, v in enumerate(visits) for day in v.tolist()]
    table = ibis.memtable(pd.DataFrame(ages, columns=["customer_id", "age"]))
    spans, days = (found.to_pandas() for found in season_evidence(table))
    by_hand = evidence(visits)
    assert spans.to_dict("records") == [{"first": 9, "last": 2, "visits": 3}]
    assert by_hand[0]["visits"].sum() == 3
    found = days.sort_values("back", ignore_index=True)[["back", "visits"]]
    assert found.to_numpy().tolist() == by_hand[1].to_numpy().tolist()


def test_few_visits_say_little_about_a_season() -> None:
    spans = pd.DataFrame({"first": [371], "last": [321], "visits": [490]})
    days = pd.DataFrame({"back": np.arange(322, 361), "visits": 10})
    # None of 70 expected visits came: the prior of 50 leaves a pace of 50 / 120.
    assert learn_season(spans, days, 371).pace[0] == pytest.approx(50 / 120)


def test_a_year_before_of_which_nearly_nothing_is_known_is_no_season() -> None:
    # 200 days of a shop, and one customer who came twice ten years ago.
    visits = visit_days(np.ones(200), np.full(300, 0.2), seed=6)
    spans, days = evidence([*visits, np.array([3_650, 3_600, 5])])
    told = "the oldest line is 3650 days old, but of the weeks 364 days and more back none has 50"
    with pytest.raises(TooLittleData, match=told):
        learn_season(spans, days, 3_650)


def test_less_than_a_year_and_a_week_has_no_season() -> None:
    spans = pd.DataFrame({"first": [300], "last": [1], "visits": [10]})
    days = pd.DataFrame({"back": [7], "visits": [10]})
    told = "without season: the lake holds 370 days, 371 are needed"
    with pytest.raises(TooLittleData, match=told):
        learn_season(spans, days, HISTORY_DAYS - 1)


def test_time_passes_at_the_days_pace_and_evenly_beyond_them() -> None:
    season = Season(np.array([0.0, 0.5, 2.0]))
    start = np.array([2.5, 10.0, 4.0, np.nan])
    # Half of day 3 is worth 1 average day; days from the fourth on one each.
    assert season.elapsed(start, np.zeros(4)).tolist()[:3] == [1.5, 9.5, 3.5]
    assert season.elapsed(start, np.array([1.5, 2.0, 3.5, 0.0])).tolist()[:3] == [1.25, 9.0, 0.5]
    assert np.isnan(season.elapsed(start, np.zeros(4))[3])


@given(st.lists(st.floats(0, 3), max_size=20), st.lists(st.floats(0, 40), min_size=3, max_size=3))
def test_time_never_runs_backwards_and_adds_up(pace: list[float], ages: list[float]) -> None:
    season = Season(np.array(pace))
    new, middle, old = (np.array([age]) for age in sorted(ages))
    assert season.elapsed(old, new) >= 0
    whole = season.elapsed(old, middle) + season.elapsed(middle, new)
    assert whole == pytest.approx(season.elapsed(old, new))
    assert EVEN.elapsed(old, new) == pytest.approx(old - new)


@given(st.randoms())
def test_the_order_of_rows_says_nothing(random) -> None:
    visits = visit_days(np.ones(400), np.full(60, 0.2), seed=5)
    spans, days = evidence(visits)
    shuffled = (rows.sample(frac=1, random_state=random.randrange(99)) for rows in (spans, days))
    np.testing.assert_array_equal(
        learn_season(*shuffled, 400).pace, learn_season(spans, days, 400).pace
    )

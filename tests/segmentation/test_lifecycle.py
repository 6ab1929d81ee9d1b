import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.lifecycle import (
    CUSTOMERS_TO_LEARN_FROM,
    DORMANT,
    LOST,
    SLOWING,
    STATES,
    UNKNOWN_RHYTHM,
    VARIATION_PRIOR_GAPS,
    learn_rhythm,
    lifecycle_states,
    silence_chance,
)
from segmentation.season import Season

COLUMNS = ["recency_days", "tenure_days", "visit_days_365d", "gap_mean_365d", "gap_spread_365d"]
SILENCES = ["active", "slowing", "dormant", "lost"]


def profile(rows: list[tuple[float | None, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS, index=[f"c-{i}" for i in range(len(rows))])
    return frame.astype("float64")


def shoppers(rates: np.ndarray, shape: float, seed: int) -> pd.DataFrame:
    """Features, computed as the registry does, of shoppers who never change: two years of gamma
    gaps with the given visits a day, looked at in mid-life."""
    random = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for rate in rates:
        # The first gap ends at a random point, so that the last instant is no special one.
        visits = random.gamma(shape, 1 / (rate * shape), int(1500 * rate + 60)).cumsum()
        visits = visits - random.uniform(0, visits[9])
        age = 730 - visits[(visits >= 0) & (visits < 730)]
        if len(age) == 0:
            rows.append((np.nan, np.nan, 0, np.nan, np.nan))
            continue
        days, first = np.unique(np.floor(730 - age), return_index=True)
        ages = age[first]
        gaps = pd.Series(np.diff(days)[ages[1:] < 365])
        rows.append((age.min(), age.max(), (ages < 365).sum(), gaps.mean(), gaps.std()))
    return profile(rows)


row = st.one_of(
    st.just((None, None, 0.0, None, None)),
    st.floats(0, 900).map(lambda r: (r, r, float(r < 365), None, None)),
    st.tuples(st.floats(0, 364), st.just(900.0), st.just(1.0), st.floats(1, 365), st.none()),
    st.tuples(
        st.floats(0, 100), st.floats(366, 900), st.integers(2, 100).map(float),
        st.floats(1, 100), st.floats(0, 100),
    ),
)  # fmt: skip
frames = st.lists(row, max_size=60).map(profile)


@pytest.mark.parametrize("days", [5, 10, 30])
def test_poisson_shoppers_who_never_changed_look_slow_as_often_as_stated(days: int):
    # Known truth: for a Poisson process the silence up to any instant is distributed like a gap,
    # so exactly SLOWING.chance of the customers is in a gap that rare. 4,000 customers: standard
    # error .0034; the rest of the tolerance is for gaps counted in whole days.
    chance = silence_chance(shoppers(np.full(4000, 1 / days), shape=1.0, seed=days))
    assert (chance < SLOWING.chance).mean() == pytest.approx(SLOWING.chance, abs=0.012)


def test_a_mixed_population_of_poisson_shoppers_looks_slow_as_often_as_stated():
    # Known truth as above, with rates from a gamma distribution (the NBD model).
    rates = np.random.default_rng(3).gamma(3.0, 1 / 40, 4000).clip(1 / 200, 1)
    found = shoppers(rates, shape=1.0, seed=3)
    assert (silence_chance(found) < SLOWING.chance).mean() == pytest.approx(
        SLOWING.chance, abs=0.015
    )
    assert (lifecycle_states(found) == "lost").mean() < 0.005


def test_steady_shoppers_who_never_changed_look_slow_less_often():
    # Renewal theory: with gamma gaps of shape 4 the age of a gap has lighter tails than a gap.
    chance = silence_chance(shoppers(np.full(2000, 0.1), shape=4.0, seed=4))
    assert (chance < SLOWING.chance).mean() < SLOWING.chance


def test_one_gap_gives_the_lomax_tail():
    # Closed form: rate gamma(1, 30), one gap S of 20 days, k = 1: (1 + t / (30 + S))^-2.
    chance = silence_chance(profile([(60.0, 80.0, 2, 20.0, None)]))
    assert chance.iloc[0] == pytest.approx((1 + 60 / 50) ** -2)


def test_the_chance_is_that_of_the_derivation_when_drawn_by_hand():
    # Independent: 400,000 draws of a rate from its posterior and of a gap given the rate.
    n, mean, spread, silence = 11, 10.0, 6.0, 22.0
    chance = silence_chance(profile([(silence, 300.0, n + 1, mean, spread)])).iloc[0]
    # One customer alone: half her own variation, half the stated one, by the number of gaps.
    assert n - 1 == VARIATION_PRIOR_GAPS
    k = 2 / (UNKNOWN_RHYTHM.variation + (spread / mean) ** 2)
    random = np.random.default_rng(5)
    rates = random.gamma(
        UNKNOWN_RHYTHM.shape + n * k, 1 / (UNKNOWN_RHYTHM.scale + k * n * mean), 400_000
    )
    gaps = random.gamma(k, 1 / (k * rates))
    # Four standard errors of the draw.
    share = (gaps > silence).mean()
    assert chance == pytest.approx(share, abs=4 * np.sqrt(share / 400_000))


def test_the_population_s_rhythm_is_recovered_from_its_gaps():
    # Known truth: rates gamma(2, 20), random gaps, between 1 and 30 of them a customer.
    random = np.random.default_rng(6)
    rows: list[tuple[float | None, ...]] = []
    for rate in random.gamma(2.0, 1 / 20, 6000):
        gaps = pd.Series(random.exponential(1 / rate, random.integers(1, 31)))
        rows.append((1.0, 300.0, len(gaps) + 1, gaps.mean(), gaps.std()))
    learned = learn_rhythm(profile(rows))
    assert learned.shape == pytest.approx(2.0, rel=0.1)
    assert learned.shape / learned.scale == pytest.approx(2 / 20, rel=0.05)
    assert learned.variation == pytest.approx(1.0, abs=0.1)


def test_too_small_a_population_lends_the_stated_rhythm():
    few = profile([(1.0, 300.0, 20, 5.0, 3.0)] * (CUSTOMERS_TO_LEARN_FROM - 1))
    assert learn_rhythm(few) == UNKNOWN_RHYTHM


def test_the_same_silence_is_judged_by_ones_own_rhythm():
    weekly, monthly = (25.0, 800.0, 50.0, 7.0, 4.0), (25.0, 800.0, 12.0, 30.0, 17.0)
    states = lifecycle_states(profile([weekly, monthly]))
    assert states.tolist() == ["slowing", "active"]


def test_a_steadier_rhythm_makes_the_same_silence_stranger():
    steady, loose = (25.0, 800.0, 50.0, 7.0, 2.0), (25.0, 800.0, 50.0, 7.0, 9.0)
    chance = silence_chance(profile([steady, loose]))
    assert chance.iloc[0] < chance.iloc[1] / 10


@pytest.mark.parametrize(
    ("silence", "state"),
    [(6.9, "active"), (SLOWING.days, "slowing"), (DORMANT.days, "dormant"), (LOST.days, "lost")],
)
def test_a_daily_shopper_on_holiday_is_not_called_lost(silence: float, state: str):
    # Her 300 gaps of a day make each of these silences all but impossible.
    daily = profile([(silence, 800.0, 300.0, 1.0, 0.0)])
    assert silence_chance(daily).iloc[0] < LOST.chance
    assert lifecycle_states(daily).tolist() == [state]


def test_a_newcomer_is_new_until_silent_or_regular():
    newcomer = (5.0, 5.0, 1.0, None, None)
    regular = (5.0, 60.0, 9.0, 7.0, 5.0)
    silent = (85.0, 89.0, 3.0, 2.0, 0.0)
    population = [(3.0, 800.0, 50.0, 7.0, 6.0)] * 40
    states = lifecycle_states(profile([newcomer, regular, silent, *population]))
    assert states.iloc[:2].tolist() == ["new", "active"]
    assert states.iloc[2] in {"slowing", "dormant", "lost"}


def test_who_came_back_from_a_silence_like_no_gap_of_hers_is_reactivated():
    # Weekly shoppers; one stayed away for 60 days, one for 12, which is no rare gap, one never.
    now = profile([(2.0, 800.0, 40.0, 8.0, 9.0)] * 43)
    then = profile([(60.0, 750.0, 39.0, 7.0, 4.0), (12.0, 750.0, 39.0, 7.0, 4.0)])
    states = lifecycle_states(now, returns=then.assign(returned_days=9.0))
    assert states.tolist() == ["reactivated", *["active"] * 42]


def test_who_falls_silent_again_after_her_return_is_no_longer_reactivated():
    now = profile([(40.0, 800.0, 40.0, 8.0, 4.0)] * 40)
    then = profile([(60.0, 700.0, 39.0, 7.0, 4.0)]).assign(returned_days=42.0)
    assert lifecycle_states(now, returns=then).iloc[0] in {"slowing", "dormant"}


def test_a_return_after_shut_days_is_no_reactivation():
    # Of her 60 silent days, 8 to 68 back, the shops were shut for 55.
    now = profile([(2.0, 800.0, 40.0, 8.0, 9.0)] * 40)
    then = profile([(60.0, 700.0, 39.0, 7.0, 4.0)]).assign(returned_days=8.0)
    shut = Season(np.r_[np.ones(10), np.zeros(55), np.ones(30)])
    assert lifecycle_states(now, returns=then).iloc[0] == "reactivated"
    assert lifecycle_states(now, shut, then).iloc[0] == "active"


def test_a_year_of_silence_is_lost_even_with_no_rhythm_known():
    assert lifecycle_states(profile([(365.0, 700.0, 0.0, None, None)])).tolist() == ["lost"]


def test_a_profile_of_nulls_has_no_purchase():
    states = lifecycle_states(profile([(None,) * 5, (None, None, 0.0, None, None)]))
    assert states.tolist() == ["no purchase"] * 2


def test_an_empty_profile_gives_an_empty_answer():
    assert lifecycle_states(profile([])).empty
    assert silence_chance(profile([])).empty


@given(frames)
def test_every_customer_has_exactly_one_state(frame: pd.DataFrame):
    states = lifecycle_states(frame)
    assert states.index.equals(frame.index)
    assert states.isin(list(STATES)).all()
    assert ((states == "no purchase") == frame["recency_days"].isna()).all()


@given(frames)
def test_the_chance_is_a_probability_wherever_there_is_a_purchase(frame: pd.DataFrame):
    chance = silence_chance(frame)
    assert (chance.isna() == frame["recency_days"].isna()).all()
    assert chance.dropna().between(0, 1).all()


@given(frames, st.randoms())
def test_permuting_rows_permutes_the_answer(frame: pd.DataFrame, random):
    shuffled = frame.loc[random.sample(list(frame.index), len(frame))]
    # To the last digit: the order of rows must not decide about a state on the boundary.
    pd.testing.assert_series_equal(
        silence_chance(shuffled), silence_chance(frame).loc[shuffled.index], check_exact=True
    )
    pd.testing.assert_series_equal(
        lifecycle_states(shuffled), lifecycle_states(frame).loc[shuffled.index]
    )


@given(
    frames,
    st.integers(2, 200).map(float),
    st.floats(1, 100),
    st.floats(0, 100),
    st.lists(st.floats(0, 400), min_size=2, max_size=10),
)
def test_a_longer_silence_never_gives_an_earlier_state(
    frame: pd.DataFrame, visits: float, mean: float, spread: float, silences: list[float]
):
    same = profile([(days, 900.0, visits, mean, spread) for days in sorted(silences)])
    states = lifecycle_states(pd.concat([frame, same], ignore_index=True)).iloc[len(frame) :]
    assert states.map(SILENCES.index).is_monotonic_increasing


def test_one_s_own_spread_outweighs_the_population_s_with_enough_gaps():
    # Weights as stated: the population's variation counts like VARIATION_PRIOR_GAPS gaps.
    population = [(3.0, 800.0, 50.0, 7.0, 7.0)] * 40
    gaps = np.array([2.0, VARIATION_PRIOR_GAPS, 300.0])
    steady = [(18.0, 800.0, float(n), 7.0, 2.0) for n in gaps]
    chance = silence_chance(profile([*steady, *population])).iloc[:3]
    assert chance.is_monotonic_decreasing

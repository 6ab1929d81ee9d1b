from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.rfm import GROUPS, NEW, NO_PURCHASE, Cuts, quantile_scores, rfm_group, rfm_groups

SCORES = ["recency_score", "frequency_score", "monetary_score"]


def profile(rows: list[tuple[float | None, int, int, int]]) -> pd.DataFrame:
    columns = ["recency_days", "lifetime_orders", "orders", "spend"]
    frame = pd.DataFrame(rows, columns=columns, index=[f"c-{i}" for i in range(len(rows))])
    return frame.astype({"recency_days": "float64"})


def regulars(count: int) -> list[tuple[float | None, int, int, int]]:
    return [(1.0 + i, 40, 10 + i, 1000 * (1 + i)) for i in range(count)]


customer = st.one_of(
    st.just((None, 0, 0, 0)),
    st.tuples(
        st.sampled_from([0.5, 1.0, 2.0, 30.0, 31.0, 200.0]) | st.floats(0, 700),
        st.integers(1, 40),
        st.integers(0, 12),
        st.integers(-500, 5000),
    ),
)
customers = st.lists(customer, max_size=40).map(profile)


def test_every_one_of_125_score_combinations_has_a_named_group_with_a_sentence():
    named = {rfm_group(r, f, m) for r, f, m in product(range(1, 6), repeat=3)}
    assert named == set(GROUPS) - {NEW, NO_PURCHASE}
    assert all(sentence.endswith(".") for sentence in GROUPS.values())


@pytest.mark.parametrize(
    ("scores", "group"),
    [
        ((5, 5, 5), "Champions"),
        ((3, 5, 5), "Loyal"),
        ((4, 3, 5), "Big spenders"),
        ((5, 1, 1), "Promising"),
        ((3, 3, 3), "Needs attention"),
        ((2, 4, 4), "Cannot lose"),
        ((1, 3, 1), "At risk"),
        ((1, 2, 2), "Hibernating"),
    ],
)
def test_scores_get_the_group_of_the_documented_map(scores: tuple[int, int, int], group: str):
    assert rfm_group(*scores) == group


def test_without_ties_each_score_holds_a_fifth():
    # Definition of a quintile: 10 different values, 2 in each fifth.
    scores = quantile_scores(np.array([30.0, 10, 20, 50, 40, 60, 90, 80, 70, 100]))
    assert scores.tolist() == [2, 1, 1, 3, 2, 3, 5, 4, 4, 5]


def test_a_tie_gets_the_fifth_of_its_middle():
    # 60 % at one value reach from 0 to 60 %: their middle, 30 %, lies in the second fifth. The
    # next 20 % have their middle at 70 % (fourth fifth), the last at 90 % (fifth).
    assert quantile_scores(np.array([1.0] * 6 + [2] * 2 + [3] * 2)).tolist() == [2] * 6 + [
        4,
        4,
        5,
        5,
    ]


def test_all_equal_customers_are_in_the_middle():
    assert quantile_scores(np.full(7, 4.0)).tolist() == [3] * 7


def test_a_first_time_buyer_of_yesterday_is_new_whatever_the_quintiles_say():
    # shared/reference/segmentation.md: one well-known library calls her At Risk.
    groups = rfm_groups(profile([*regulars(20), (1.0, 1, 1, 200)]))
    assert groups["rfm"].iloc[-1] == NEW
    # Even where she is the most recent and the highest spender.
    assert rfm_groups(profile([*regulars(20), (0.1, 1, 1, 10**6)]))["rfm"].iloc[-1] == NEW


@pytest.mark.parametrize(
    ("recency", "lifetime", "orders"),
    [(31.0, 1, 1), (5.0, 2, 2), (5.0, 2, 1)],
    ids=["too long ago", "second order", "bought before the window too"],
)
def test_who_is_not_a_recent_first_time_buyer_is_not_new(
    recency: float, lifetime: int, orders: int
):
    groups = rfm_groups(profile([*regulars(20), (recency, lifetime, orders, 500)]))
    assert groups["rfm"].iloc[-1] != NEW


def test_customers_without_purchase_keep_their_row_and_do_not_move_the_others():
    buyers = profile(regulars(10))
    everybody = profile([*regulars(10), *[(None, 0, 0, 0)] * 90])
    groups = rfm_groups(everybody)
    pd.testing.assert_frame_equal(groups.iloc[:10], rfm_groups(buyers))
    assert set(groups["rfm"].iloc[10:]) == {NO_PURCHASE}
    assert (groups[SCORES].iloc[10:] == 1).all(axis=None)


def test_a_return_lowers_the_monetary_score():
    kept = profile(regulars(10))
    returned = kept.copy()
    returned.iloc[-1, returned.columns.get_loc("spend")] = -100
    assert rfm_groups(kept)["monetary_score"].iloc[-1] == 5
    assert rfm_groups(returned)["monetary_score"].iloc[-1] == 1


def test_an_empty_profile_gives_an_empty_answer_with_all_columns():
    groups = rfm_groups(profile([]))
    assert groups.empty
    assert list(groups) == [*SCORES, "rfm"]


@given(customers)
def test_every_customer_has_exactly_one_row(frame: pd.DataFrame):
    groups = rfm_groups(frame)
    assert groups.index.equals(frame.index)
    assert groups["rfm"].isin(list(GROUPS)).all()
    assert groups[SCORES].isin(range(1, 6)).all(axis=None)
    assert (groups[SCORES].dtypes == "int64").all()


@given(customers, st.randoms())
def test_permuting_rows_permutes_the_answer(frame: pd.DataFrame, random):
    shuffled = frame.loc[random.sample(list(frame.index), len(frame))]
    pd.testing.assert_frame_equal(rfm_groups(shuffled), rfm_groups(frame).loc[shuffled.index])


@given(customers)
def test_equal_values_share_a_score(frame: pd.DataFrame):
    groups = rfm_groups(frame)
    bought = frame["recency_days"].notna()
    for value, score in zip(["recency_days", "orders", "spend"], SCORES, strict=True):
        assert (groups[score][bought].groupby(frame[value]).nunique() == 1).all()


@given(customers.filter(lambda f: f["recency_days"].notna().any()), st.floats(0, 1))
def test_a_more_recent_purchase_never_lowers_the_recency_score(frame: pd.DataFrame, factor: float):
    who = frame["recency_days"].first_valid_index()
    later = frame.copy()
    later.loc[who, "recency_days"] *= factor
    before, after = rfm_groups(frame), rfm_groups(later)
    assert after.loc[who, "recency_score"] >= before.loc[who, "recency_score"]
    bought = frame.dropna(subset=["recency_days"]).sort_values("recency_days").index
    assert before.loc[bought, "recency_score"].is_monotonic_decreasing


def test_fixed_cuts_score_by_bounds_and_a_bound_is_reached_by_standing_on_it():
    cuts = Cuts(recency_days=[7, 30, 90, 180], orders=[2, 5, 10, 20], spend=[100, 200, 300, 400])
    rows: list[tuple[float | None, int, int, int]] = [
        (7.0, 40, 20, 400),
        (7.5, 40, 19, 399),
        (180.0, 40, 2, 100),
        (180.5, 40, 1, 99),
        (None, 0, 0, 0),
    ]
    found = rfm_groups(profile(rows), cuts=cuts)
    assert found[SCORES].to_numpy().tolist() == [
        [5, 5, 5],
        [4, 4, 4],
        [2, 2, 2],
        [1, 1, 1],
        [1, 1, 1],
    ]


def test_a_first_time_buyer_is_new_also_where_her_order_is_before_a_short_window():
    # Bought 10 days ago for the first time; orders are counted over 7 days.
    assert rfm_groups(profile([*regulars(20), (10.0, 1, 0, 0)]))["rfm"].iloc[-1] == NEW

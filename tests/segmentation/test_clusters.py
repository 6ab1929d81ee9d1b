import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from foundation.errors import TooLittleData
from segmentation.clusters import (
    LENT_ORDERS,
    MOST_CLUSTERS,
    NO_PURCHASES,
    TRAITS,
    Behaviour,
    behaviour_clusters,
)

# Medians of each planted way of shopping: visits, basket, discount, one store, weekend, evening.
PLANTED = {
    "daily top-up after work": (150, 800, 0.10, 0.9, 0.25, 0.85),
    "big weekend shop": (45, 9000, 0.12, 0.9, 0.85, 0.30),
    "deal hunters in many stores": (60, 2500, 0.45, 0.3, 0.30, 0.30),
    "seldom here": (8, 2500, 0.10, 0.8, 0.30, 0.35),
}


def shoppers(each: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(seed)
    frames: list[pd.DataFrame] = []
    for way, (visits, basket, *shares) in PLANTED.items():
        days = random.poisson(visits, each).clip(4)
        columns = {
            "orders_365d": days,
            "visit_days_365d": days,
            "basket_mean_365d": basket * random.lognormal(0, 0.2, each),
        }
        for trait, share in zip(TRAITS[2:], shares, strict=True):
            columns[trait.feature] = random.beta(40 * share, 40 * (1 - share), each)
        frames.append(pd.DataFrame(columns).assign(way=way))
    frame = pd.concat(frames).sample(frac=1, random_state=seed)
    frame.index = [f"c-{i:05}" for i in range(len(frame))]
    return frame.drop(columns="way"), frame["way"]


def without_purchases(count: int) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"orders_365d": 0, "visit_days_365d": 0}, index=[f"n-{i}" for i in range(count)]
    )
    return frame.reindex(columns=["orders_365d", *(t.feature for t in TRAITS)])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_ways_of_shopping_are_found_again(seed: int):
    # Simulation with known truth; .9 of an adjusted Rand index whose chance level is 0.
    frame, truth = shoppers(150, seed)
    found = behaviour_clusters(frame, seed)
    assert found.k == len(PLANTED)
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert found.silhouette > 0.3


def test_clusters_are_named_by_what_sets_them_apart():
    frame, truth = shoppers(150, 0)
    name = behaviour_clusters(frame, 0).labels.groupby(truth).agg(lambda s: s.mode()[0])
    assert name["daily top-up after work"] == "frequent, small baskets, evening"
    assert {"large baskets", "weekends"} <= set(name["big weekend shop"].split(", "))
    assert {"discounts", "several stores"} <= set(name["deal hunters in many stores"].split(", "))
    assert "infrequent" in name["seldom here"]


def test_a_description_gives_the_cluster_s_figures_beside_the_typical_ones():
    frame, _ = shoppers(150, 0)
    found = behaviour_clusters(frame, 0)
    name = "frequent, small baskets, evening"
    members = frame[found.labels == name]
    visits = [f["visit_days_365d"].median() for f in (members, frame)]
    expected = f"{visits[0]:.0f} days with a visit in a year (typical {visits[1]:.0f})"
    assert found.descriptions[name].startswith("25% of buyers: ")
    assert expected in found.descriptions[name]


def test_customers_without_purchase_stay_outside_the_fit():
    frame, _ = shoppers(100, 0)
    alone = behaviour_clusters(frame, 0)
    joined = behaviour_clusters(pd.concat([without_purchases(300), frame]), 0)
    pd.testing.assert_series_equal(joined.labels.loc[frame.index], alone.labels)
    assert set(joined.labels.iloc[:300]) == {NO_PURCHASES}
    assert joined.k == alone.k
    assert joined.sizes == {**alone.sizes, NO_PURCHASES: 300}
    assert list(joined.descriptions) == list(joined.sizes)


def test_fewer_than_fifty_customers_with_purchases_are_refused_in_one_clear_line():
    frame, _ = shoppers(12, 0)
    with pytest.raises(TooLittleData, match=r"of 48 customers .* at least 50 are needed; load"):
        behaviour_clusters(pd.concat([frame, without_purchases(100)]), 0)


def test_customers_who_are_all_alike_are_refused():
    frame, _ = shoppers(20, 0)
    alike = pd.DataFrame(np.tile(frame.iloc[0], (60, 1)), columns=frame.columns)
    with pytest.raises(TooLittleData, match="only 1 different behaviours"):
        behaviour_clusters(alike, 0)


def test_a_feature_unknown_for_everybody_is_no_obstacle():
    frame, truth = shoppers(100, 0)
    frame["weekend_share_365d"] = np.nan
    found = behaviour_clusters(frame, 0)
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert not any("week" in name for name in found.sizes)


def test_the_share_of_few_orders_leans_on_the_typical_customer_s():
    # Closed form: (share * orders + typical * lent) / (orders + lent), typical being .4.
    frame, _ = shoppers(20, 0)
    frame["evening_share_365d"] = 0.4
    once = frame.iloc[:1].assign(orders_365d=1, evening_share_365d=1.0)
    often = frame.iloc[:1].assign(orders_365d=95, evening_share_365d=1.0)
    prepared = Behaviour().fit(frame).transform(pd.concat([once, often]))
    assert LENT_ORDERS == 5
    assert prepared[:, -1].tolist() == pytest.approx([3 / 6, 97 / 100])


def test_the_same_seed_gives_the_same_clusters_in_any_order_of_rows():
    frame, _ = shoppers(100, 0)
    once, again = behaviour_clusters(frame, 7), behaviour_clusters(frame[::-1], 7)
    pd.testing.assert_series_equal(once.labels, again.labels[::-1])
    assert (once.silhouette, once.sizes, once.descriptions) == (
        again.silhouette,
        again.sizes,
        again.descriptions,
    )


def test_more_customers_than_the_sample_are_all_labelled():
    frame, truth = shoppers(1000, 0)
    found = behaviour_clusters(frame, 0)
    assert sum(found.sizes.values()) == 4000
    assert adjusted_rand_score(truth, found.labels) > 0.9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(50, 150), st.integers(0, 5))
def test_every_customer_has_one_cluster_and_every_cluster_its_own_name(
    seed: int, customers: int, silent: int
):
    # A shapeless crowd, where like names are likely to meet.
    random = np.random.default_rng(seed)
    crowd = pd.DataFrame({t.feature: random.uniform(0, 1, customers) for t in TRAITS})
    crowd["orders_365d"] = random.integers(1, 100, customers)
    crowd.index = [f"c-{i}" for i in range(customers)]
    frame = pd.concat([crowd, without_purchases(silent)])
    found = behaviour_clusters(frame, seed)
    assert found.labels.index.equals(frame.index)
    assert found.labels.value_counts().to_dict() == {n: s for n, s in found.sizes.items() if s}
    assert 3 <= found.k <= MOST_CLUSTERS
    assert len(found.sizes) == found.k + (silent > 0)
    assert set(found.descriptions) == set(found.sizes)

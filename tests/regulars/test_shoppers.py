import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, ndtri

from regulars.shoppers import (
    APPEAL_SPREAD,
    CAUSED,
    EXTRA,
    RELUCTANCE,
    appeal,
    redeem_chance,
    shoppers_from,
    true_effect,
    visit,
)

SLATES = [["o-1"], ["o-3", "o-1", "o-2"], [f"o-{n}" for n in range(6)]]


# --------------------------------------------------------------------------- the response itself


@given(st.floats(-5, 5), st.text(min_size=1, max_size=10).filter(str.isprintable))
def test_the_chance_of_a_redemption_is_the_logistic_of_the_documentation(
    liking: float, offer_id: str
) -> None:
    # Source: the closed form in the module's own words, by scipy.
    expected = expit(liking + appeal(offer_id) - 1.8)

    assert redeem_chance(liking, offer_id) == pytest.approx(expected)


def test_a_customer_of_average_liking_redeems_a_plain_offer_in_one_of_seven_cases() -> None:
    # 1 / (1 + e^1.8) = .1419
    assert redeem_chance(-appeal("o-1"), "o-1") == pytest.approx(0.14185, abs=1e-5)
    assert RELUCTANCE == 1.8


def test_appeal_is_fixed_by_the_id_and_normal_over_ids() -> None:
    found = np.array([appeal(f"campaign-{n}") for n in range(5_000)])

    assert [appeal(f"campaign-{n}") for n in range(5)] == found[:5].tolist()
    assert np.isfinite(found).all()
    assert stats.kstest(found / APPEAL_SPREAD, "norm").pvalue > 0.01


def test_the_true_effect_worked_out_by_hand() -> None:
    # Two offers, a basket of 40.00, a margin of a quarter, costs of 1.00 and 2.50:
    # caused .7 x 1.2 x 40.00 x .25 = 8.40 a redemption, less its cost, seen for sure and half.
    first, second = redeem_chance(0.5, "a"), redeem_chance(0.5, "b")

    found = true_effect(4_000, 0.5, ["a", "b"], {"a": 100, "b": 250}, 0.25)

    assert found == pytest.approx(first * (840 - 100) + second / 2 * (840 - 250))


def test_an_empty_slate_adds_nothing() -> None:
    assert true_effect(4_000, 0.5, [], {}, 0.25) == 0
    did = visit(4_000, 0.5, [], np.random.default_rng(1))
    assert (did.seen, did.redemptions) == ([], [])


def test_an_offer_that_costs_more_than_it_brings_harms() -> None:
    assert true_effect(4_000, 0.5, ["a"], {"a": 841}, 0.25) < 0
    assert true_effect(4_000, 0.5, ["a"], {"a": 840}, 0.25) == pytest.approx(0)


# -------------------------------------------------------------------------- drawn against the truth


@pytest.mark.parametrize("slate", SLATES, ids=len)
@pytest.mark.parametrize("liking", [-1.0, 1.5])
def test_the_mean_of_many_visits_is_the_true_effect(slate: list[str], liking: float) -> None:
    mean_basket, margin_rate, n = 3_500.0, 0.3, 8_000
    costs = {offer_id: 60 + 40 * place for place, offer_id in enumerate(sorted(slate))}
    draw = np.random.default_rng(len(slate))

    gains = np.empty(n)
    for i in range(n):
        did = visit(mean_basket, liking, slate, draw)
        gains[i] = sum(r.extra * margin_rate - costs[r.offer_id] for r in did.redemptions)

    truth = true_effect(mean_basket, liking, slate, costs, margin_rate)
    z = (gains.mean() - truth) / (gains.std(ddof=1) / math.sqrt(n))
    # By chance a normal lies beyond 3.7 once in 4,600 times.
    assert abs(z) < 3.7
    # And the truth is no formality: it is far from zero.
    assert abs(truth) / (gains.std(ddof=1) / math.sqrt(n)) > 10


def test_an_offer_at_rank_r_is_seen_one_time_in_r_and_redeemed_only_when_seen() -> None:
    n, slate = 10_000, ["a", "b", "c", "d"]
    draw = np.random.default_rng(3)
    visits = [visit(3_500, 0.8, slate, draw) for _ in range(n)]

    for rank, offer_id in enumerate(slate, start=1):
        seen = sum(offer_id in v.seen for v in visits)
        used = sum(any(r.offer_id == offer_id for r in v.redemptions) for v in visits)
        if rank == 1:
            assert seen == n
        else:
            assert stats.binomtest(seen, n, 1 / rank).pvalue > 1e-4
        assert stats.binomtest(used, seen, redeem_chance(0.8, offer_id)).pvalue > 1e-4
    assert all({r.offer_id for r in v.redemptions} <= set(v.seen) for v in visits)


def test_extra_spend_is_caused_seven_times_in_ten_and_averages_a_fifth_over_the_basket() -> None:
    draw = np.random.default_rng(4)
    extras = np.array(
        [r.extra for _ in range(6_000) for r in visit(5_000, 3.0, ["a"], draw).redemptions]
    )
    caused = extras[extras > 0]

    assert stats.binomtest(len(caused), len(extras), CAUSED).pvalue > 1e-4
    # Source: a gamma of shape 2 and mean m has the standard deviation m / sqrt(2).
    wanted = EXTRA * 5_000
    assert abs(caused.mean() - wanted) < 4 * wanted / math.sqrt(2 * len(caused))
    assert stats.kstest(caused, "gamma", args=(2, 0, wanted / 2)).pvalue > 0.001


def test_what_she_buys_anyway_does_not_depend_on_the_slate() -> None:
    def baskets(slate: list[str], seed: int) -> np.ndarray:
        draw = np.random.default_rng(seed)
        return np.array([visit(3_000, 1.0, slate, draw).basket for _ in range(5_000)])

    empty, full = baskets([], 5), baskets(["a", "b", "c"], 6)

    assert stats.ks_2samp(empty, full).pvalue > 0.001
    # Eight in ten buy, around their own mean basket: .8 x 3,000.
    assert np.mean(empty > 0) == pytest.approx(0.8, abs=0.02)
    assert empty.mean() == pytest.approx(2_400, rel=0.05)
    assert empty.dtype.kind == "i"


def test_the_same_seed_makes_the_same_visit() -> None:
    slate = ["a", "b", "c"]

    again = [visit(3_000, 1.0, slate, np.random.default_rng(9)) for _ in range(2)]

    assert again[0] == again[1]


# ---------------------------------------------------------------------------------- the population


def test_liking_is_the_normal_score_of_her_rank_in_coupon_use() -> None:
    features = pd.DataFrame(
        {"basket_mean_365d": [100.0, 200.0, 300.0, 400.0], "coupon_lines_365d": [9, 0, 5, 0]},
        index=pd.Index(["a", "b", "c", "d"], name="customer_id"),
    )

    found = shoppers_from(features)

    assert found.customer_ids.tolist() == ["a", "b", "c", "d"]
    assert found.mean_basket.tolist() == [100.0, 200.0, 300.0, 400.0]
    # Ranks 4, 1.5, 3, 1.5 of 4: quantiles at 3.5/4, 1/4, 2.5/4, 1/4.
    assert found.liking == pytest.approx(ndtri([0.875, 0.25, 0.625, 0.25]))


def test_who_has_no_basket_of_her_own_gets_the_average_one() -> None:
    features = pd.DataFrame(
        {
            "basket_mean_365d": [np.nan, 2_000.0, 0.0, 4_000.0],
            "coupon_lines_365d": [0, 0, 1, 2],
        }
    )

    found = shoppers_from(features).mean_basket

    # (2000 + 0 + 4000) / 3, for the unknown and for the one who never paid anything.
    assert found.tolist() == [2_000.0, 2_000.0, 2_000.0, 4_000.0]


def test_a_population_that_never_bought_still_has_baskets() -> None:
    features = pd.DataFrame(
        {"basket_mean_365d": [np.nan, np.nan], "coupon_lines_365d": [0, 0]}, dtype=float
    )

    found = shoppers_from(features)

    assert found.mean_basket.tolist() == [3_000.0, 3_000.0]
    assert found.liking.tolist() == [0.0, 0.0]


def test_likings_of_a_large_population_are_standard_normal() -> None:
    draw = np.random.default_rng(8)
    features = pd.DataFrame(
        {
            "basket_mean_365d": draw.gamma(2, 1_000, 3_000),
            "coupon_lines_365d": draw.permutation(3_000),
        }
    )

    liking = shoppers_from(features).liking

    assert np.isfinite(liking).all()
    assert stats.kstest(liking, "norm").statistic < 0.001

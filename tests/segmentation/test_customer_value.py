"""Value and its intervals: closed forms, and customers whose future is known."""

import numpy as np
import pandas as pd
import pytest

from segmentation.clv_champion import expected, fit_candidates, summary_of
from segmentation.customer_value import (
    FUTURES,
    Horizon,
    calibrated_rank,
    customer_values,
    discounted_purchases,
    futures,
    held_share,
)
from segmentation.purchase_models import NAMES, Name, PurchaseModel, fit
from segmentation.purchase_summary import purchases_after, summarise_days
from segmentation.spend_model import SpendModel, fit_spend
from segmentation.two_stage import TwoStage, redraw
from tests.shoppers_known import known_purchases

YEAR = Horizon(weeks=52.0, annual_discount=0.1)
SURE = np.zeros((4, 4))
SPEND = SpendModel((6.0, 4.0, 1_500.0), 0.0, 100, np.zeros((3, 3)))
KNOWN: dict[Name, tuple[float, float, float, float]] = {
    "bg_nbd": (0.8, 5.0, 0.7, 2.4),
    "mbg_nbd": (0.8, 5.0, 0.7, 2.4),
    "pareto_nbd": (0.8, 8.0, 0.7, 12.0),
}


def histories() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "x": [0.0, 1.0, 6.0, 40.0, 6.0],
            "t_x": [0.0, 3.0, 48.0, 49.5, 10.0],
            "T": [20.0, 50.0, 50.0, 50.0, 50.0],
            "spend": [np.nan, 900.0, 2_500.0, 1_800.0, -50.0],
        }
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_future_is_the_closed_form(name: Name) -> None:
    model = PurchaseModel(name, KNOWN[name], 0.0, SURE)
    often = pd.concat([histories()] * 200, ignore_index=True)
    drawn = list(futures(model, SPEND, often, YEAR, 3))
    purchases = np.vstack([p for _, p, _ in drawn]).reshape(200, 5, FUTURES)
    value = np.vstack([v for _, _, v in drawn]).reshape(200, 5, FUTURES)
    closed = customer_values(model, SPEND, histories(), YEAR, 3).customers
    for drawn_values, column in ((purchases, "purchases"), (value, "value")):
        mean = drawn_values.mean(axis=(0, 2))
        error = drawn_values.std(axis=(0, 2)) / np.sqrt(200 * FUTURES)
        # Five standard errors, and 1 % for what the spread of discounts inside a year leaves out.
        assert np.all(np.abs(mean - closed[column]) < 5 * error + 0.01 * closed[column])


def test_discounted_purchases_are_the_sum_of_discounted_days() -> None:
    model = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, SURE)
    horizon = Horizon(weeks=104.0, annual_discount=0.25)
    until = [expected(model, histories(), day / 7) for day in range(1, 104 * 7 + 1)]
    daily = np.diff(np.vstack([np.zeros(5), *until]), axis=0)
    factor = np.exp(-horizon.force * (np.arange(104 * 7) + 0.5) / 7)
    found = discounted_purchases(model, histories(), horizon)
    assert found == pytest.approx(factor @ daily, rel=1e-4)


def test_without_a_discount_a_purchase_is_worth_the_same_whenever_it_comes() -> None:
    model = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, SURE)
    found = customer_values(model, SPEND, histories(), Horizon(52.0, 0.0), 3).customers
    mean = SPEND.expected_spend(*(histories()[c].to_numpy() for c in ("x", "spend")))
    assert found["value"].to_numpy() == pytest.approx(found["purchases"].to_numpy() * mean)
    # All she bought came back: her next purchases are drawn towards nothing, not below it.
    assert 0 < mean[4] < mean[0]


@pytest.mark.parametrize("annual_discount", [0.0, 0.1])
def test_one_seed_gives_one_answer(annual_discount: float) -> None:
    model = PurchaseModel("bg_nbd", KNOWN["bg_nbd"], 0.0, np.eye(4) * 0.01)
    horizon = Horizon(52.0, annual_discount)
    first, again, other = (
        customer_values(model, SPEND, histories(), horizon, seed).customers for seed in (3, 3, 4)
    )
    assert again.equals(first)
    assert not other.equals(first)


def test_a_group_is_worth_its_customers_and_surer_than_they_are() -> None:
    model = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, SURE)
    many = pd.concat([histories()] * 100, ignore_index=True)
    labels = pd.DataFrame({"rfm": np.where(many["x"] > 5, "often", "seldom")})
    found = customer_values(model, SPEND, many, YEAR, 3, labels)
    often = found.groups["rfm"].loc["often"]
    members = found.customers[many["x"] > 5]
    assert often["customers"] == 300
    assert often["value"] == pytest.approx(members["value"].sum())
    assert often["value_low"] < often["value"] < often["value_high"]
    # Chances of single customers even out: half-widths add up by squares.
    alone = (members["value_high"] - members["value_low"]).sum()
    assert often["value_high"] - often["value_low"] < alone / 5


def test_ranks_of_ties_are_shared_out() -> None:
    nothing = np.zeros((1, FUTURES))
    # All 119 futures and hers are nothing: 96 of 120 ranks lie inside.
    assert held_share(nothing, np.zeros(1)) == pytest.approx(0.8)
    different = np.arange(1.0, FUTURES + 1)[None, :]
    assert held_share(different, np.array([11.5])) == 0
    assert held_share(different, np.array([12.5])) == 1
    assert held_share(different, np.array([108.5])) == 0


def test_futures_drawn_too_close_together_are_bounded_further_out() -> None:
    draw = np.random.default_rng(9)
    happened = draw.normal(0, 1.5, 4_000)
    near, wide = draw.normal(0, 1, (4_000, FUTURES)), draw.normal(0, 1.5, (4_000, FUTURES))
    # Normal tails: 1.5 standard deviations x 1.2816 are 1.92, beyond which lie 2.7 % of each side:
    # rank 3.3 of 120.
    assert calibrated_rank([near], [happened]) in (3, 4)
    assert calibrated_rank([wide], [happened]) in (11, 12)
    assert held_share(near, happened, 3).mean() == pytest.approx(0.8, abs=0.03)


def test_intervals_hold_the_year_that_followed() -> None:
    purchases = known_purchases(3_000, 364 + 364, 12)
    summary = summarise_days(purchases, 363)
    actual = purchases_after(purchases, 363, summary.index)
    x, spend = summary["x"].to_numpy(), summary["spend"].to_numpy()
    model, spends = fit("pareto_nbd", summary_of(summary)), fit_spend(x, spend)
    drawn = list(futures(model, spends, summary, YEAR, 1))
    share = np.concatenate([held_share(p, actual[rows]) for rows, p, _ in drawn])
    # 80 % of 3,000 customers: a standard error of about .6 points.
    assert 0.77 < share.mean() < 0.83


def test_parameters_that_are_hardly_known_widen_the_intervals() -> None:
    sure = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, SURE)
    unsure = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, np.eye(4) * 0.5)
    # Of yesterday's newcomers nothing is known but what is known of everybody.
    newcomers = pd.concat([histories().iloc[[0]].assign(T=0.1)] * 500, ignore_index=True)
    width = [
        (found["value_high"] - found["value_low"]).mean()
        for found in (
            customer_values(model, SPEND, newcomers, YEAR, 5).customers for model in (sure, unsure)
        )
    ]
    assert width[1] > 1.1 * width[0]


def test_the_two_stage_model_draws_what_it_expects() -> None:
    purchases = known_purchases(1_500, 300, 8)
    fitted, refused = fit_candidates(purchases, 299, 26.0, 7)
    assert refused == {}
    summary = summarise_days(purchases, 299)
    spends = fit_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    drawn = list(futures(fitted["two_stage"], spends, summary, Horizon(26.0, 0.1), 2))
    mean = np.concatenate([p.mean(axis=1) for _, p, _ in drawn]).mean()
    assert mean == pytest.approx(expected(fitted["two_stage"], summary, 26.0).mean(), rel=0.02)


def test_trees_that_are_hardly_known_widen_the_intervals_of_groups() -> None:
    purchases = known_purchases(700, 300, 8)
    fitted, _ = fit_candidates(purchases, 299, 20.0, 7)
    trees = fitted["two_stage"]
    assert isinstance(trees, TwoStage)
    sure = redraw(trees, purchases, 299, 20.0, 7)
    # Of many customers together their own chance is little, and what 700 taught most of it.
    summary = summarise_days(known_purchases(8_000, 300, 9), 299)
    spread = [
        np.concatenate([p for _, p, _ in futures(m, SPEND, summary, Horizon(20.0, 0.0), 2)])
        .sum(axis=0)
        .std()
        for m in (trees, sure)
    ]
    assert spread[1] > 1.3 * spread[0]
    # What is expected is of the one fit on everybody.
    assert np.array_equal(sure.expected(summary, 20.0), trees.expected(summary, 20.0))


def test_value_if_alive_is_that_of_customers_who_have_not_stopped() -> None:
    r, alpha, s, beta = KNOWN["pareto_nbd"]
    model = PurchaseModel("pareto_nbd", KNOWN["pareto_nbd"], 0.0, SURE)
    # The last bought a year's worth and then nothing for ten: surely gone.
    rows = pd.concat(
        [histories(), pd.DataFrame({"x": [50.0], "t_x": [50.0], "T": [570.0], "spend": [900.0]})],
        ignore_index=True,
    )
    found = customer_values(model, SPEND, rows, Horizon(52.0, 0.0), 3).customers
    x, T = rows["x"], rows["T"]
    # Fader and Hardie 2005, the conditional mean without its factor P(alive).
    later = 1 - ((beta + T) / (beta + T + 52)) ** (s - 1)
    purchases = (r + x) * (beta + T) / ((alpha + T) * (s - 1)) * later
    mean = SPEND.expected_spend(x.to_numpy(), rows["spend"].to_numpy())
    likely = found["alive"] > 0.1
    assert likely.sum() == 3
    assert found["value_if_alive"][likely].tolist() == pytest.approx((purchases * mean)[likely])
    assert found["alive"][5] < 1e-6
    assert found["value_if_alive"][5] == pytest.approx(10 * found["value"][5])

"""A plan keeps every limit, is near the best, and says what its limits cost."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.plan import broken, small_campaign
from foundation.money import Currency
from recommender.campaign import Campaign, InvalidCampaign, Limits, PlannedOffer
from recommender.choices import Rows
from recommender.exact_plan import exact_plan
from recommender.plan import LimitUse, Plan, plan, priced

USD = Currency("USD")


def campaign(values: object, costs: object, offers: list[PlannedOffer], limits: Limits) -> Campaign:
    return Campaign(
        np.array(values, dtype=np.float32), np.array(costs, dtype=np.float32), offers, limits
    )


def pairs(made: Plan) -> list[tuple[int, int]]:
    return list(zip(made.customers.tolist(), made.offers.tolist(), strict=True))


def test_a_budget_goes_to_those_who_make_most_of_it() -> None:
    # By hand: 200 buys two of three offers at 100; 90 and 70 are the best, 50 stays out.
    one = campaign([[90], [50], [70]], [[100]] * 3, [PlannedOffer("o-1")], Limits(budget=200))
    made = plan(one)
    assert pairs(made) == [(0, 0), (2, 0)]
    assert made.value == 160
    budget = made.limits[0]
    assert (budget.used, budget.limit) == (200, 200)
    # 100 more would earn the third's 50; without a hundred the second's 70 would be lost.
    assert 0.5 <= budget.price <= 0.7


def test_scarce_stock_goes_where_nothing_else_would_do() -> None:
    # By hand: both like offer 1 better, but the second customer likes nothing else.
    one = campaign(
        [[100, 90], [80, 0]],
        [[0, 0], [0, 0]],
        [PlannedOffer("o-1", stock=1), PlannedOffer("o-2")],
        Limits(),
    )
    made = plan(one)
    assert pairs(made) == [(0, 1), (1, 0)]
    # One more use would move the first from 90 to 100; one less would lose the second's 80 but
    # cost the plan only that.
    assert 10 <= made.limits[0].price <= 80
    assert made.limits[0].sentence(USD).startswith("the stock of offer o-1 binds: one more use")


def test_an_exclusive_group_and_a_customers_limit_are_kept() -> None:
    offers = [
        PlannedOffer("a", exclusive_group="coffee"),
        PlannedOffer("b", exclusive_group="coffee"),
        PlannedOffer("c"),
        PlannedOffer("d"),
    ]
    one = campaign([[50, 60, 10, 20]], [[1, 1, 1, 1]], offers, Limits(per_customer=2))
    made = plan(one)
    assert pairs(made) == [(0, 1), (0, 3)]
    # A third offer could be c, which earns 10.
    assert made.another == pytest.approx(10)


def test_a_slack_limit_says_so() -> None:
    made = plan(campaign([[5.0]], [[2.0]], [PlannedOffer("a")], Limits(budget=1_000, contacts=3)))
    assert [limit.sentence(USD) for limit in made.limits] == [
        "the budget does not bind: 0.02 USD of 10.00 USD are used",
        "the limit of contacts does not bind: 1 of 3 are used",
    ]
    assert made.gap == 0.0


def test_no_budget_sends_only_what_costs_nothing_and_says_what_it_would_earn() -> None:
    offers = [PlannedOffer("paid"), PlannedOffer("free")]
    made = plan(campaign([[90, 20], [70, -5]], [[100, 0], [100, 0]], offers, Limits(budget=0)))
    assert pairs(made) == [(0, 1)]
    # The first would move from 20 to 90 for 100 of budget, the second from nothing to 70.
    assert made.limits[0].price == pytest.approx(0.7)
    assert "the budget is 0" in made.limits[0].sentence(USD)


def test_nothing_that_loses_is_sent() -> None:
    made = plan(campaign([[-5, 0]], [[1, 1]], [PlannedOffer("a"), PlannedOffer("b")], Limits()))
    assert pairs(made) == []
    assert (made.value, made.bound, made.gap) == (0, 0, 0)


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in range(1, 4))]
)
def test_small_campaigns_are_within_half_a_percent_of_the_exact_optimum(block: int) -> None:
    for seed in range(30 * block, 30 * block + 30):
        one = small_campaign(seed)
        best = float(one.values[exact_plan(one)].sum(dtype=np.float64))
        made = plan(one)
        assert broken(one, made) == 0, seed
        assert made.value >= 0.995 * best, seed
        # Rounding of a sum aside, the bound is one.
        assert made.bound >= best * (1 - 1e-9), seed


def test_the_same_campaign_has_the_same_plan() -> None:
    first, second = plan(small_campaign(7)), plan(small_campaign(7))
    assert pairs(first) == pairs(second)
    assert first.limits == second.limits


def test_customers_all_alike_share_what_there_is() -> None:
    # All tie at any prices; 40 of a hundred can be sent, ten of each offer.
    offers = [PlannedOffer(f"o-{n}", stock=10) for n in range(4)]
    made = plan(campaign(np.full((100, 4), 30.0), np.ones((100, 4)), offers, Limits()))
    assert made.by_offer["sent"].tolist() == [10, 10, 10, 10]
    assert made.value == 1_200


def test_the_bounds_prices_are_what_one_more_contact_earns() -> None:
    # Of values 1 to 1,000 the highest 100 are chosen: one more contact earns 900.
    values = np.arange(1, 1_001, dtype=np.float32)[:, None]
    one = campaign(values, np.ones_like(values), [PlannedOffer("a")], Limits(contacts=100))
    prices, bound = priced(one, Rows.of(one))
    # The search ends within 5e-5 of the lowest bound, where the price is known to a part in 200.
    assert prices[0][1] == pytest.approx(900, rel=0.005)
    assert bound == pytest.approx(sum(range(901, 1_001)), rel=1e-4)


GOOD = campaign([[1.0]], [[1.0]], [PlannedOffer("a")], Limits())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"values": np.array([[np.nan]])}, "the value of customer 0 and offer 0"),
        ({"values": np.array([[np.inf]])}, "the value of customer 0 and offer 0"),
        ({"costs": np.array([[-1.0]])}, "the cost of customer 0 and offer 0"),
        ({"uses": np.array([[np.nan]])}, "the use of customer 0 and offer 0"),
        ({"costs": np.array([[1.0, 2.0]])}, "costs of shape"),
        ({"values": np.array([1.0])}, "values of shape"),
        ({"values": [[1.0]]}, "values is a list, which has no shape"),
        ({"costs": None}, "costs is a NoneType, which has no shape"),
        ({"uses": [[1.0]]}, "uses is a list, which has no shape"),
        ({"limits": Limits(budget=-1)}, "budget is -1"),
        ({"limits": Limits(per_customer=0)}, "per_customer is 0"),
        ({"limits": Limits(contacts_by_channel={"fax": 1})}, "channel 'fax'"),
        ({"offers": [PlannedOffer("a", stock=-2)]}, "stock of offer 'a' is -2"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    change: dict[str, object], line: str
) -> None:
    with pytest.raises(InvalidCampaign, match=line) as refused:
        replace(GOOD, **change)
    assert "\n" not in str(refused.value)


def test_a_campaign_without_customers_is_refused() -> None:
    nobody = np.empty((0, 1), dtype=np.float32)
    with pytest.raises(InvalidCampaign, match=r"shape \(0, 1\) have no customer"):
        plan(campaign(nobody, nobody, [PlannedOffer("a")], Limits(contacts=1)))


def test_a_limit_worth_less_than_a_cent_says_that_it_hardly_binds() -> None:
    budget = LimitUse("budget", "the budget", used=999, limit=1_000, price=0.004)
    assert budget.sentence(USD) == (
        "the budget hardly binds: another 1.00 USD would earn less than 0.01 USD"
    )


def test_a_limit_with_room_left_has_no_price() -> None:
    # 100,000 contacts are allowed, where only half the 60,000 customers are worth one.
    draw = np.random.default_rng(3)
    values = draw.normal(0, 100, (60_000, 3))
    offers = [PlannedOffer(f"o-{n}", stock=8_000 + 60_000 * n) for n in range(3)]
    limits = Limits(contacts=100_000, budget=10_000)
    made = plan(campaign(values, np.full_like(values, 1.0), offers, limits))
    assert [limit.price > 0 for limit in made.limits] == [True, False, False, False, False]
    # A sample's prices, and the customers they leave in question, lose next to nothing.
    assert made.gap < 1e-3

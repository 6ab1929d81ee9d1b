"""Values in money hold the truth, and only a sure gain makes targeting the choice."""

import numpy as np
import pytest

from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.policy_value import Price, Values, choose, compare, treat_by
from recommender.trial import trial
from recommender.uplift import doubly_robust_scores

SURE, UNSURE, LOSS = Interval(2, 1, 3), Interval(0.5, -1, 2), Interval(-2, -3, -1)
ANY = Interval(0, 0, 0)


def test_a_row_gets_what_gains_most_and_nothing_where_nothing_gains() -> None:
    gains = Price(margin=0.5, cost=1.0).gains(np.array([[4.0, 3.0], [1.0, 6.0], [2.0, 1.0]]))
    assert treat_by(gains).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("over_best", "over_none", "best_over_none", "chosen", "says"),
    [
        (SURE, SURE, SURE, "policy", "targeting pays"),
        (UNSURE, SURE, SURE, "best_single", "targeting does not pay"),
        (UNSURE, UNSURE, UNSURE, "none", "nor does one treatment for everyone pay"),
        (SURE, UNSURE, LOSS, "none", "but not none"),
        (LOSS, SURE, SURE, "best_single", "targeting does not pay"),
    ],
)
def test_the_plainest_rule_that_is_not_beaten_is_chosen(
    over_best: Interval, over_none: Interval, best_over_none: Interval, chosen: str, says: str
) -> None:
    choice = choose(Values(ANY, ANY, ANY, over_best, over_none, best_over_none))
    assert choice.chosen == chosen
    assert says in choice.because


def test_rules_are_compared_on_the_same_rows() -> None:
    money = np.random.default_rng(0).normal(size=(100, 3)) * 50
    single = np.ones(100, dtype=int)
    values = compare(money, single, single, np.arange(100))
    assert values.policy_over_best == Interval(0, 0, 0)
    assert values.policy == values.best_single
    assert values.policy_over_none.value == pytest.approx(values.policy.value - values.none.value)


def test_the_interval_holds_a_fixed_rule_s_true_value() -> None:
    draw = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        x = draw.normal(size=(500, 1))
        chance = np.where(x[:, 0] > 0, 0.8, 0.3)
        treatment = (draw.random(500) < chance) * 1
        outcome = 3 + treatment * x[:, 0] + draw.normal(size=500)
        logged = np.where(treatment == 1, chance, 1 - chance)
        rows = trial(x, treatment, outcome, logged)
        price = Price(margin=0.5, cost=0.1)
        # A wrong model of the outcome: logged propensities alone must do.
        money = price.money(doubly_robust_scores(rows, np.full((500, 2), 2.0)))
        rule = (x[:, 0] > 0) * 1
        value = compare(money, rule, np.ones(500, dtype=int), rows.unit).policy
        # Closed form: .5 (3 + E[x; x > 0]) - .1 / 2, and E[x; x > 0] = 1 / sqrt(2 pi).
        held += value.low <= 1.5 + 0.5 / np.sqrt(2 * np.pi) - 0.05 <= value.high
    # Of 400 intervals of 95 %: fewer than 366 has a probability of .002.
    assert held >= 366


@pytest.mark.parametrize(("margin", "cost"), [(0, 0), (-1, 0), (1, float("nan")), (np.inf, 0)])
def test_a_price_that_is_none_is_refused(margin: float, cost: float) -> None:
    with pytest.raises(RegularsError, match="margin must be above 0"):
        Price(margin, cost)

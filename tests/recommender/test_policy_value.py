"""Values in money hold the truth, and only a sure gain makes targeting the choice."""

import numpy as np
import pytest

from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.arm_evidence import ArmEvidence, arm_evidence
from recommender.policy_value import Price, Values, choose, compare, mean_interval, treat_by
from recommender.trial import trial
from recommender.uplift import doubly_robust_scores

SURE, UNSURE, LOSS = Interval(2, 1, 3), Interval(0.5, -1, 2), Interval(-2, -3, -1)
ANY = Interval(0, 0, 0)
AMPLE = ArmEvidence({}, np.full(3, 1e6))


def test_a_row_gets_what_gains_most_and_nothing_where_nothing_gains() -> None:
    effects = np.array([[4.0, 3.0], [1.0, 6.0], [2.0, 1.0]])
    gains = Price(margin=0.5, cost=1.0).gains(effects)
    own = Price(margin=0.5, cost=np.array([1.0, 3.0, 0.0]))
    np.testing.assert_array_equal(own.gains(effects), [[1.0, 0.5], [-2.5, 0.0], [1.0, 0.5]])
    np.testing.assert_array_equal(own.money(effects), [[2.0, 0.5], [0.5, 0.0], [1.0, 0.5]])
    assert treat_by(gains).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("over_best", "over_none", "best_over_none", "chosen", "says"),
    [
        (SURE, SURE, SURE, "policy", "targeting pays"),
        (UNSURE, SURE, SURE, "best_single", "targeting does not pay"),
        (UNSURE, UNSURE, UNSURE, "none", "nor does one treatment for everyone pay"),
        (SURE, UNSURE, LOSS, "none", "but not none"),
        (LOSS, SURE, SURE, "best_single", "targeting loses: it earns -2"),
        (Interval(-1, -2, 0), SURE, SURE, "best_single", "does not exclude no gain"),
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
    values = compare(money, single, single, np.arange(100), AMPLE)
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
        single, evidence = np.ones(500, dtype=int), arm_evidence(rows)
        value = compare(money, rule, single, rows.unit, evidence).policy
        assert value is not None
        # Closed form: .5 (3 + E[x; x > 0]) - .1 / 2, and E[x; x > 0] = 1 / sqrt(2 pi).
        held += value.low <= 1.5 + 0.5 / np.sqrt(2 * np.pi) - 0.05 <= value.high
    # Of 400 intervals of 95 %: fewer than 366 has a probability of .002.
    assert held >= 366


def test_only_what_uses_a_treatment_that_cannot_be_judged_is_refused() -> None:
    money = np.random.default_rng(0).normal(np.array([0.0, 5.0, 9.0]), size=(100, 3))
    scarce = ArmEvidence({2: "treatment 'b' was given in none of 100 rows judged"}, AMPLE.successes)
    values = compare(money, np.r_[np.ones(99, int), 2], np.ones(100, int), np.arange(100), scarce)
    assert set(values.figures()) == {"best_single", "none", "best_over_none"}
    assert set(values.refused) == {"policy", "policy_over_best", "policy_over_none"}
    choice = choose(values)
    assert choice.chosen == "best_single"
    assert "cannot be told: treatment 'b' was given in none" in choice.because
    nothing = choose(compare(money, np.full(100, 2), np.full(100, 2), np.arange(100), scarce))
    assert nothing.chosen == "none"
    assert "nor can one treatment for everyone be judged" in nothing.because


def test_few_large_terms_make_an_interval_that_is_skewed() -> None:
    each = np.r_[np.ones(40), np.zeros(1960)]
    told = mean_interval(each, np.arange(2000), 40 / 30)
    # Source: exact Poisson limits of 40, 28.58 and 54.47 (Garwood 1936), of 2,000.
    assert told.high == pytest.approx(54.47 / 2000, rel=0.03)
    assert 0 < told.low < 28.58 / 2000


@pytest.mark.parametrize(("margin", "cost"), [(0, 0), (-1, 0), (1, float("nan")), (np.inf, 0)])
def test_a_price_that_is_none_is_refused(margin: float, cost: float) -> None:
    with pytest.raises(RegularsError, match="margin must be above 0"):
        Price(margin, cost)

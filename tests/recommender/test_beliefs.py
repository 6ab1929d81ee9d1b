"""What decisions teach of an offer: closed forms, propensities undone, a bandit that converges."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from foundation.decision import Policy
from foundation.errors import TooLittleData
from recommender.beliefs import FirstShown, beliefs
from recommender.policies import Eligible, draw_slate
from recommender.thompson import best_chances


def log(offer: list[str], reward: list[float], **fields: np.ndarray) -> FirstShown:
    n = len(offer)
    told = {"customer": np.arange(n), "propensity": np.full(n, 0.5)} | fields
    return FirstShown(offer=np.array(offer, dtype=object), reward=np.array(reward), **told)


def test_responses_shown_alike_add_up_to_counts() -> None:
    # Source: the conjugate posterior, 1 and 1 with 2 of 3 and 0 of 2.
    found = beliefs(log(["a", "a", "a", "b", "b"], [1, 0, 1, 0, 0]), ["a", "b", "c"], "beta")
    counts = {name: (one.posterior.first, one.posterior.second) for name, one in found.items()}
    assert counts["a"] == pytest.approx((3, 2))
    assert counts["b"] == pytest.approx((1, 3))
    # Of one never shown only what was believed before.
    assert counts["c"] == (1, 1)
    assert [(one.decisions, one.effective) for one in found.values()] == [(3, 3), (2, 2), (0, 0)]


def test_money_is_shrunk_to_the_mean_of_all_by_one_decisions_worth() -> None:
    # Source: by hand; mean of all 300, standard deviation of all 200.
    found = beliefs(log(["a", "a", "b", "b"], [500, 500, 100, 100]), ["a", "c"], "normal")
    told, unknown = found["a"].posterior, found["c"].posterior
    assert (told.first, told.second) == pytest.approx((1300 / 3, 200 / np.sqrt(3)))
    assert (unknown.first, unknown.second) == pytest.approx((300, 200))


def test_what_is_shown_to_those_who_like_it_does_not_look_better_than_it_is() -> None:
    draw = np.random.default_rng(3)
    n = 40_000
    likes = draw.random(n) < 0.5
    # The policy shows "a" mostly to those who like it; they respond in .3, the others in .1.
    chance = np.where(likes, 0.9, 0.1)
    shown = draw.random(n) < chance
    reward = (draw.random(n) < np.where(likes, 0.3, 0.1)).astype(float)
    offer = np.where(shown, "a", "b").astype(object)
    propensity = np.where(shown, chance, 1 - chance)
    found = beliefs(FirstShown(np.arange(n), offer, propensity, reward), ["a", "b"], "beta")

    for one in found.values():
        belief = one.posterior
        mean = belief.first / (belief.first + belief.second)
        # Both truly earn .2; plain rates are .28 and .12.
        assert mean == pytest.approx(0.2, abs=0.015)
        assert 0.2 * one.decisions < one.effective < one.decisions


def test_decisions_of_one_customer_are_one_customers_evidence() -> None:
    same = log(["a"] * 9, [1.0] * 9, customer=np.zeros(9, dtype=int))
    assert beliefs(same, ["a"], "beta")["a"].effective == pytest.approx(1)


def test_too_little_is_refused() -> None:
    with pytest.raises(TooLittleData, match="no decision showed"):
        beliefs(log([], []), ["a"], "beta")
    with pytest.raises(TooLittleData, match="earned alike"):
        beliefs(log(["a", "b"], [5.0, 5.0]), ["a"], "normal")


@pytest.mark.parametrize("family", ["beta", "normal"])
def test_a_bandit_that_learns_in_rounds_converges_on_the_best_offer(family: str) -> None:
    rates = {"a": 0.05, "b": 0.25, "c": 0.1}
    eligible = [Eligible(name) for name in rates]
    scores = dict.fromkeys(rates, 0.0)
    random, customers = Random(5), 0
    offer, propensity, reward = list[str](), list[float](), list[float]()
    policy = Policy("random")
    for _ in range(20):
        drawn_of: Counter[str] = Counter()
        for _ in range(100):
            drawn = draw_slate(policy, eligible, scores, 1, random)
            name = drawn.offers[0].offer_id
            drawn_of[name] += 1
            offer.append(name)
            propensity.append(drawn.slot_propensities[0])
            reward.append(float(random.random() < rates[name]))
            customers += 1
        shown = FirstShown(
            np.arange(customers), np.array(offer, dtype=object), np.array(propensity),
            np.array(reward),
        )  # fmt: skip
        learned = beliefs(shown, list(rates), "beta" if family == "beta" else "normal")
        posteriors = {name: one.posterior for name, one in learned.items()}
        policy = Policy("thompson", 0.1, posteriors=posteriors)

    chances = dict(zip(rates, best_chances(policy.posteriors, list(rates)), strict=True))
    assert chances["b"] > 0.99
    # The last round mostly showed the best, the floor keeps on trying the others.
    assert drawn_of["b"] > 85
    means = {name: learned[name].posterior.first for name in rates}
    if family == "normal":
        assert means["b"] == pytest.approx(0.25, abs=0.05)


def test_a_learned_policy_draws_as_often_as_its_propensities_say() -> None:
    learned = beliefs(log(["a"] * 20 + ["b"] * 20, [1.0] * 4 + [0] * 16 + [1.0] * 6 + [0] * 14),
                      ["a", "b", "c"], "beta")  # fmt: skip
    posteriors = {name: one.posterior for name, one in learned.items()}
    policy = Policy("thompson", 0.1, posteriors=posteriors)
    eligible = [Eligible(name) for name in posteriors]
    scores = dict.fromkeys(posteriors, 0.0)
    seen: Counter[str] = Counter()
    said: dict[str, float] = {}
    for seed in range(8_000):
        drawn = draw_slate(policy, eligible, scores, 1, Random(seed))
        seen[drawn.offers[0].offer_id] += 1
        said[drawn.offers[0].offer_id] = drawn.slot_propensities[0]
    assert sum(said.values()) == pytest.approx(1)
    for name, chance in said.items():
        # Four standard errors.
        error = 4 * np.sqrt(chance * (1 - chance) / 8_000)
        assert seen[name] / 8_000 == pytest.approx(chance, abs=error)

"""What a promotion is told of the value by either model, and when that refuses it."""

from dataclasses import replace

import numpy as np
import pytest

from foundation.money import Currency
from foundation.scores import Interval
from recommender.off_policy import Logged
from recommender.policy_contest import contest
from regulars.jobs.off_policy import PolicyContest
from regulars.jobs.promotion_value import judged

DOLLARS = Currency("USD")


def contested(better: float, n: int = 4_000) -> PolicyContest:
    """Two offers drawn alike; the challenger shows the second, which is answered `better` more."""
    draw = np.random.default_rng(1)
    shown = draw.integers(0, 2, n)
    reward = (draw.random(n) < 0.2 + better * shown).astype(float)
    likes = np.array([[0.9, 0.1], [0.1, 0.9]])
    logged = Logged(np.arange(n), np.full(n, 0.5), likes[1][shown], reward)
    one = contest(logged, likes[0][shown])
    return PolicyContest(n, 3, 0, first=one, slate=one, unit="responses")


def test_a_sure_loss_is_a_fault_with_its_figure_and_a_gain_or_doubt_is_none() -> None:
    loss = judged({"checkout": contested(-0.15), "home": contested(0.1)}, DOLLARS)

    (fault,) = loss.faults
    assert fault.startswith(
        "off-policy value at 'checkout': it surely earns less than the champion, -0.1"
    )
    assert judged({"home": contested(0.1)}, DOLLARS).faults == ()
    assert judged({"home": contested(0.0)}, DOLLARS).faults == ()


def test_both_values_their_difference_and_what_was_left_out_are_told() -> None:
    found = judged({"home": contested(0.1)}, DOLLARS)

    head, first, whole = found.told
    assert head == "off-policy value at 'home' on 4,000 decisions (left out: 3 not over yet)"
    assert first.startswith("  first position: challenger 0.2")
    assert whole.startswith("  whole slates: challenger 0.2")
    assert "effective successes" in whole
    assert "difference 0.0" in whole
    assert found.record["off_policy"]["home"]["slate"]["gain"]["value"] == pytest.approx(
        0.08, abs=0.03
    )


def test_too_little_is_told_as_the_reason_and_money_as_money() -> None:
    little = judged({"home": contested(0.1, n=60)}, DOLLARS)
    assert little.faults == ()
    assert "no value: the challenger has no value" in little.told[-1]

    money = contested(0.1)
    rich = replace(money.slate, gain=Interval(150.0, 100.0, 200.0))
    told = judged({"home": replace(money, first=None, slate=rich, unit="money")}, DOLLARS).told
    assert len(told) == 2
    assert f"{DOLLARS.show(150.0)} [{DOLLARS.show(100.0)}, {DOLLARS.show(200.0)}]" in told[-1]

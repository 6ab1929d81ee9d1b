"""Two policies on one log, in worlds whose truth is known."""

import numpy as np
import pytest

from foundation.scores import Interval
from recommender.off_policy import Logged
from recommender.policy_contest import Contest, contest

# Two kinds of customers, three offers: the chance of a response to each.
RATES = np.array([[0.30, 0.10, 0.05], [0.05, 0.20, 0.10]])
# Policies as chances of each offer, by kind of customer.
LOGGING = np.array([[0.6, 0.2, 0.2], [0.6, 0.2, 0.2]])
CHAMPION = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
CHALLENGER = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
# Closed form: mean over kinds of the sum of chance times rate.
TRUTH = float(((CHALLENGER - CHAMPION) * RATES).sum(axis=1).mean())


def fought(n: int, seed: int, challenger: np.ndarray = CHALLENGER, repeated: int = 1) -> Contest:
    draw = np.random.default_rng(seed)
    kind = np.repeat(draw.integers(0, 2, n // repeated), repeated)
    shown = np.array([draw.choice(3, p=LOGGING[k]) for k in kind])
    reward = (draw.random(len(kind)) < RATES[kind, shown]).astype(float)
    customer = np.repeat(np.arange(n // repeated), repeated)
    logged = Logged(customer, LOGGING[kind, shown], challenger[kind, shown], reward)
    return contest(logged, CHAMPION[kind, shown])


def test_the_gain_is_the_true_one_and_surer_than_two_values_looked_at_apart() -> None:
    found = fought(6_000, 1)

    assert found.gain is not None
    assert found.challenger.snips is not None
    assert found.champion.snips is not None
    assert pytest.approx(0.0525) == TRUTH
    assert 0 < found.gain.low < TRUTH < found.gain.high
    assert found.gain.value == pytest.approx(
        found.challenger.snips.value - found.champion.snips.value
    )
    apart = np.hypot(
        found.challenger.snips.high - found.challenger.snips.low,
        found.champion.snips.high - found.champion.snips.low,
    )
    assert found.gain.high - found.gain.low < 0.85 * apart


def test_policies_that_draw_alike_gain_nothing_for_sure() -> None:
    found = fought(6_000, 1, CHAMPION)

    assert found.gain == Interval(0.0, 0.0, 0.0)
    assert found.alike == 1.0


def test_a_worse_challenger_is_told_with_its_sign() -> None:
    worse = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])

    found = fought(6_000, 2, worse)

    assert found.gain is not None
    assert found.gain.high < 0


def test_too_few_successes_are_refused_by_whose_they_are() -> None:
    found = fought(120, 3)

    assert found.gain is None
    assert "the challenger has no value" in str(found.refusal)
    assert "effective successes" in str(found.refusal)


def test_decisions_of_one_customer_are_no_independent_evidence() -> None:
    one = fought(6_000, 4)
    # Every row three times: the same news.
    draw = np.random.default_rng(4)
    kind = draw.integers(0, 2, 2_000)
    shown = np.array([draw.choice(3, p=LOGGING[k]) for k in kind])
    reward = (draw.random(2_000) < RATES[kind, shown]).astype(float)
    rows = np.repeat(np.arange(2_000), 3)
    logged = Logged(
        rows,
        LOGGING[kind, shown][rows],
        CHALLENGER[kind, shown][rows],
        reward[rows],
    )
    thrice = contest(logged, CHAMPION[kind, shown][rows])
    once = contest(
        Logged(np.arange(2_000), LOGGING[kind, shown], CHALLENGER[kind, shown], reward),
        CHAMPION[kind, shown],
    )

    assert one.gain is not None
    assert thrice.gain is not None
    assert once.gain is not None
    assert thrice.gain.value == pytest.approx(once.gain.value)
    assert thrice.gain.high - thrice.gain.low == pytest.approx(
        once.gain.high - once.gain.low, rel=0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n", "least"), [(600, 0.93), (3_000, 0.93)])
def test_intervals_of_the_gain_hold_as_often_as_they_say(n: int, least: float) -> None:
    found = [fought(n, 1_000 + seed) for seed in range(400)]

    told = [one.gain for one in found if one.gain is not None]
    assert len(told) > 300
    held = np.mean([gain.low <= TRUTH <= gain.high for gain in told])
    # 400 logs tell a share of .95 within .011 (one standard error).
    assert held >= least

"""Values of other policies: exact on average, sure as they say, or refused."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foundation.decision import Policy
from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.evidence import Weighted, effective_size, off_balance, too_little
from recommender.off_policy import Direct, Logged, ips, off_policy_value, snips
from recommender.policies import Eligible, slot_probabilities
from recommender.position_chances import position_chances
from recommender.skewed_interval import skewed_interval
from recommender.slate_value import slate_value

LOGGING, TARGET = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
RATES = np.array([0.05, 0.1, 0.2])


def bernoulli_log(n: int, seed: int) -> tuple[Logged, np.ndarray]:
    draw = np.random.default_rng(seed)
    offer = draw.choice(3, n, p=LOGGING)
    reward = (draw.random(n) < RATES[offer]).astype(float)
    return Logged(np.arange(n), LOGGING[offer], TARGET[offer], reward), offer


# --------------------------------------------------------------------------- exact expectations


@settings(deadline=None)
@given(
    st.lists(st.floats(0.05, 1), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda t: sum(t) > 0),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_on_average_over_all_actions_each_estimate_is_the_truth(
    logging: list[float], target: list[float], rewards: list[float], forecast: list[float]
) -> None:
    # Source: enumeration of every log of two decisions, weighed by its probability.
    p, q = np.array(logging) / sum(logging), np.array(target) / sum(target)
    y, guess = np.array(rewards), np.array(forecast)
    truth = float(q @ y)

    plain = robust = 0.0
    for pair in product(range(3), repeat=2):
        a = np.array(pair)
        chance = float(p[a].prod())
        plain += chance * ips(q[a] / p[a], y[a])
        robust += chance * (q @ guess + ips(q[a] / p[a], y[a] - guess[a]))

    assert plain == pytest.approx(truth, abs=1e-9)
    # Doubly robust: with true propensities any forecast will do.
    assert robust == pytest.approx(truth, abs=1e-9)


def test_positions_weigh_slates_to_their_exact_value() -> None:
    # Every slate of every chance; offers earn by themselves and by position, never by neighbour.
    eligible = [Eligible("a"), Eligible("b", 0, "x"), Eligible("c", 0, "x"), Eligible("d")]
    scores = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
    logging, target = Policy("response", 0.5), Policy("rule", 0.2, order=("c", "d"))
    earns = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
    here = position_chances(logging, eligible, scores, 2)
    there = position_chances(target, eligible, scores, 2)

    truth = estimate = 0.0
    for slate in permutations("abcd", 2):
        value = sum(earns[i] / (place + 1) for place, i in enumerate(slate))
        weighted = sum(
            there[place].get(i, 0.0) / here[place][i] * earns[i] / (place + 1)
            for place, i in enumerate(slate)
            if here[place].get(i)
        )
        truth += slot_probabilities(target, eligible, scores, 2, slate)[-1] * value
        estimate += slot_probabilities(logging, eligible, scores, 2, slate)[-1] * weighted

    assert estimate == pytest.approx(truth, abs=1e-12)


def test_estimates_are_the_formulae() -> None:
    log, offer = bernoulli_log(4_000, 1)
    weight = log.target / log.propensity
    forecast = np.array([0.04, 0.12, 0.15])
    direct = Direct(forecast[offer], np.full(4_000, TARGET @ forecast))

    found = off_policy_value(log, direct=direct)

    assert found.refusal is None
    assert found.ips is not None
    assert found.snips is not None
    assert found.doubly_robust is not None
    assert found.ips.value == pytest.approx(np.mean(weight * log.reward))
    assert found.snips.value == pytest.approx(np.average(log.reward, weights=weight))
    assert found.doubly_robust.value == pytest.approx(
        TARGET @ forecast + np.mean(weight * (log.reward - forecast[offer]))
    )
    # A good forecast leaves less to weights.
    assert width(found.doubly_robust) < width(found.ips)
    assert found.effective_rows == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    wy = weight * log.reward
    assert found.effective_successes == pytest.approx(wy.sum() ** 2 / (wy**2).sum())


def width(interval: Interval) -> float:
    return interval.high - interval.low


# ----------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("count", [1, 5, 30, 200])
def test_equal_jumps_have_the_exact_limits_of_a_poisson_count(count: int) -> None:
    # The other side is spread over so many rows that it is all but certain.
    rows = 1_000_000
    influence = np.r_[np.ones(count), np.full(rows, -count / rows)]

    found = skewed_interval(float(count), influence, up=1.0, down=count / rows)

    # Source: Garwood 1936, chi-square quantiles.
    low = stats.chi2.ppf(0.025, 2 * count) / 2
    high = stats.chi2.ppf(0.975, 2 * count + 2) / 2
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.02 * count**0.5),
        pytest.approx(high, abs=0.02 * count**0.5),
    )


def test_many_even_errors_have_the_normal_interval() -> None:
    draw = np.random.default_rng(1)
    influence = draw.normal(size=200_000) / 200_000
    influence -= influence.mean()

    found = skewed_interval(3.0, influence, 1e-9, 1e-9)

    half = 1.96 * np.sqrt((influence**2).sum())
    assert (3.0 - found.low, found.high - 3.0) == (
        pytest.approx(half, rel=0.01),
        pytest.approx(half, rel=0.01),
    )


def test_a_value_that_is_shown_only_when_large_reaches_further_down() -> None:
    count = 33
    influence = np.r_[np.ones(count), np.full(10_000, -count / 10_000)]
    limits = [
        skewed_interval(33.0, influence, 1.0, 0.01, surplus).low for surplus in (np.inf, 33 / 30)
    ]

    # Source: the mean at which 33 or more has .025 among counts of at least 30.
    mean = limits[1]
    shown = stats.poisson.sf(32, mean) / stats.poisson.sf(29, mean)
    assert shown == pytest.approx(0.025, abs=0.004)
    assert limits[1] < limits[0] - 5


@pytest.mark.slow
@pytest.mark.parametrize(("n", "repeats"), [(1_200, 1), (3_000, 1), (7_800, 6)])
def test_intervals_hold_among_logs_that_are_answered(n: int, repeats: int) -> None:
    truth, held = float(TARGET @ RATES), []
    forecast = np.array([0.1, 0.1, 0.1])
    for seed in range(600):
        log, offer = bernoulli_log(n, seed)
        # Customers who come again see one offer and answer alike.
        log = Logged(*(np.repeat(a[: n // repeats], repeats) for a in (
            log.customer, log.propensity, log.target, log.reward)))  # fmt: skip
        shown = forecast[np.repeat(offer[: n // repeats], repeats)]
        found = off_policy_value(log, direct=Direct(shown, np.full(n, 0.1)))
        if found.refusal is None:
            held.append(
                [
                    i is not None and i.low <= truth <= i.high
                    for i in (found.ips, found.snips, found.doubly_robust)
                ]
            )

    assert len(held) > 200
    assert (np.mean(held, axis=0) >= 0.93).all()


def test_repeating_customers_make_no_surer() -> None:
    log, _ = bernoulli_log(3_000, 1)
    twice = Logged(*(np.tile(a, 2) for a in (
        log.customer, log.propensity, log.target, log.reward)))  # fmt: skip

    once, again = off_policy_value(log), off_policy_value(twice)

    assert again.ips is not None
    assert once.ips is not None
    assert again.effective_successes == pytest.approx(once.effective_successes)
    # The largest jump is told twice as large, everything else is the same.
    assert width(again.ips) == pytest.approx(width(once.ips), rel=0.05)


def test_a_log_of_successes_alone_is_not_sure() -> None:
    n = 200
    found = off_policy_value(Logged(np.arange(n), np.full(n, 0.5), np.full(n, 0.5), np.ones(n)))

    assert found.snips is not None
    # Rule of three and more: 1 - (.025)^(1/200) is .018 one-sided.
    assert 0.97 < found.snips.low < 1 - 0.0149
    assert found.snips.high == pytest.approx(1.0, abs=0.05)


# ----------------------------------------------------------------------------------- refusals


def test_below_30_effective_successes_there_is_no_value() -> None:
    log, _ = bernoulli_log(300, 1)
    found = off_policy_value(log)

    assert found.effective_successes < 30
    assert (found.ips, found.snips, found.doubly_robust) == (None, None, None)
    assert "effective successes, 30 are needed" in str(found.refusal)


def test_an_adaptive_log_is_refused() -> None:
    log, _ = bernoulli_log(4_000, 1)
    found = off_policy_value(replace(log, adaptive=True))

    assert found.ips is None
    assert "learned from these very decisions" in str(found.refusal)


def test_a_target_that_shows_what_was_never_logged_is_refused() -> None:
    n = 5_000
    draw = np.random.default_rng(1)
    reward = (draw.random(n) < 0.1).astype(float)
    # The target gives half of its chance to an offer that no row shows.
    found = off_policy_value(Logged(np.arange(n), np.ones(n), np.full(n, 0.5), reward))

    assert found.effective_successes > 400
    assert "weights average 0.5" in str(found.refusal)


def test_heavy_rows_that_have_not_earned_yet_are_refused() -> None:
    # 100 rows of weight 25 hold half of the value and show no success; the rest shows 98.
    weight = np.r_[np.full(100, 25.0), np.full(4_900, 0.51)]
    reward = np.r_[np.zeros(100), np.ones(98), np.zeros(4_802)]
    log = Weighted(weight, reward, np.arange(5_000), 5_000)

    assert log.effective_successes() == pytest.approx(98)
    assert "have hardly earned" in str(too_little(log))
    assert off_balance(log) is None


def test_rewards_of_a_heavy_tail_are_refused_before_the_tail_was_seen() -> None:
    # The middle 98 % of a lognormal: its largest rewards are yet to come.
    reward = np.exp(1.8 * stats.norm.ppf(np.linspace(0.01, 0.99, 150)))
    log = Weighted(np.ones(150), reward, np.arange(150), 150)
    assert log.effective_successes() > 20
    assert "unequal" in str(too_little(replace(log, reward=reward**0.75)))


def test_rows_that_were_not_drawn_are_left_out_and_counted() -> None:
    log, _ = bernoulli_log(4_000, 1)
    valid = np.ones(4_000, dtype=bool)
    valid[:500] = False
    broken = replace(log, valid=valid, propensity=np.where(valid, log.propensity, np.nan))

    found = off_policy_value(broken)

    rest = Logged(*(a[500:] for a in (log.customer, log.propensity, log.target, log.reward)))
    assert found == replace(off_policy_value(rest), left_out=500)


def test_clipping_is_stated() -> None:
    log, offer = bernoulli_log(4_000, 1)
    found = off_policy_value(log, clip=2.0)

    assert (found.clip, found.largest_weight) == (2.0, pytest.approx(7.0))
    # Only the third offer weighs more than 2.
    assert found.clipped == pytest.approx(np.mean(offer == 2))
    assert found.ips is not None
    weight = np.minimum(log.target / log.propensity, 2.0)
    assert found.ips.value == pytest.approx(np.mean(weight * log.reward))


@pytest.mark.parametrize("field", ["shown", "target"])
def test_a_forecast_that_is_no_number_is_named_and_gives_no_interval(field: str) -> None:
    log, _ = bernoulli_log(4_000, 1)
    forecasts = {"shown": np.full(4_000, 0.1), "target": np.full(4_000, 0.1)}
    forecasts[field][3] = np.nan
    with pytest.raises(RegularsError, match=f"forecast {field} nan in row 3 .* must be a number"):
        off_policy_value(log, direct=Direct(**forecasts))
    # A row that is left out needs none.
    valid = np.arange(4_000) != 3
    assert off_policy_value(replace(log, valid=valid), direct=Direct(**forecasts)).doubly_robust
    forecasts[field] = np.full(3_999, 0.1)
    with pytest.raises(RegularsError, match=f"forecast {field} has shape"):
        off_policy_value(log, direct=Direct(**forecasts))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("propensity", 0.0, "propensity 0.0 in row 3 .* above 0, at most 1"),
        ("propensity", np.nan, "propensity nan in row 3"),
        ("target", 1.5, "target 1.5 in row 3 .* 0 to 1"),
        ("reward", np.inf, "reward inf in row 3"),
    ],
)
def test_what_is_no_probability_or_reward_is_named(field: str, value: float, why: str) -> None:
    log, _ = bernoulli_log(100, 1)
    changed = getattr(log, field).copy()
    changed[3] = value
    with pytest.raises(RegularsError, match=why):
        off_policy_value(replace(log, **{field: changed}))


def test_slates_need_a_row_for_each_position() -> None:
    log, _ = bernoulli_log(100, 1)
    with pytest.raises(RegularsError, match="no whole number of slates of 3 positions"):
        slate_value(log, 3)
    found = slate_value(bernoulli_log(4_000, 1)[0], 2)
    assert found.ips is not None
    plain = off_policy_value(bernoulli_log(4_000, 1)[0]).ips
    assert plain is not None
    assert found.ips.value == pytest.approx(2 * plain.value)


def test_no_rows_have_no_evidence() -> None:
    nothing = np.array([])
    found = off_policy_value(Logged(nothing, nothing, nothing, nothing))
    assert "0.0 effective successes" in str(found.refusal)
    assert effective_size(nothing) == 0
    assert snips(np.ones(2), np.array([1.0, 3.0])) == 2

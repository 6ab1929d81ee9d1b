import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from foundation.calibration import Calibration, calibration, recalibrate
from foundation.errors import RegularsError, TooLittleData


def judged(outcome: np.ndarray, told: np.ndarray, rounds: int = 100, each: int = 1) -> Calibration:
    customers = np.arange(len(told)) // each
    return calibration(outcome, told, np.full(len(told), 0.3), told, customers, 1, rounds)


def drawn(n: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities, and outcomes drawn with them."""
    draw = np.random.default_rng(seed)
    truth = draw.beta(1, 2, n)
    return truth, (draw.random(n) < truth).astype(float)


def test_true_probabilities_are_calibrated_within_their_intervals() -> None:
    truth, outcome = drawn(20_000, seed=5)

    found = judged(outcome, truth)

    assert found.slope.low <= 1 <= found.slope.high
    assert found.intercept.low <= 0 <= found.intercept.high
    assert found.observed_expected.low <= 1 <= found.observed_expected.high
    # Source: mean of |normal| a bin, sqrt(2 / pi) sqrt(p (1 - p) / n), at most sqrt(.25 / 2000).
    assert found.ece.value < 0.009
    # Closed form: E[p (1 - p)] of a beta(1, 2) is 1/3 - 1/6.
    assert found.brier.value == pytest.approx(1 / 6, abs=0.003)


@pytest.mark.parametrize(("intercept", "slope"), [(0.5, 1.0), (0.0, 0.5), (-0.7, 1.6)])
def test_a_planted_miscalibration_is_found(intercept: float, slope: float) -> None:
    truth, outcome = drawn(15_000)
    # What must be undone by this line to be the truth again.
    told = expit((logit(truth) - intercept) / slope)

    found = judged(outcome, told)

    assert found.slope.low <= slope <= found.slope.high
    assert found.intercept.low <= intercept <= found.intercept.high
    # The bounds hold the true rate of those told a probability, whatever the model said.
    asked = np.array([0.05, 0.2, 0.5])
    low, high = found.line.interval(asked)
    true = expit(intercept + slope * logit(asked))
    assert ((low <= true) & (true <= high)).all()
    assert (high - low < 0.08).all()


def test_figures_are_those_of_an_independent_implementation() -> None:
    truth, outcome = drawn(800)

    found = judged(outcome, truth)

    # Source: scikit-learn.
    line = LogisticRegression(C=1e12, tol=1e-10).fit(logit(truth)[:, None], outcome)
    brier = brier_score_loss(outcome, truth)
    assert found.slope.value == pytest.approx(line.coef_[0][0], abs=1e-4)
    assert found.intercept.value == pytest.approx(line.intercept_[0], abs=1e-4)
    assert found.brier.value == pytest.approx(brier)
    assert found.brier_skill.value == pytest.approx(1 - brier / np.mean((outcome - 0.3) ** 2))
    assert found.auc.value == pytest.approx(roc_auc_score(outcome, truth))
    assert found.observed_expected.value == pytest.approx(outcome.sum() / truth.sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 400))
def test_a_baseline_that_is_the_model_gains_nothing_in_any_round(seed: int, n: int) -> None:
    truth, outcome = drawn(n, seed)

    found = judged(outcome, truth, rounds=5)

    assert (found.auc_gain.low, found.auc_gain.value, found.auc_gain.high) == (0, 0, 0)
    assert sum(b.n for b in found.bins) == found.n == n


def test_rows_that_repeat_a_customer_add_no_certainty() -> None:
    truth, outcome = drawn(500)
    again = np.repeat(np.arange(500), 4)

    once, often = judged(outcome, truth), judged(outcome[again], truth[again], each=4)

    # Weights that all grow fourfold cancel out of a slope.
    assert often.slope.low == pytest.approx(once.slope.low, abs=1e-6)
    assert often.slope.high == pytest.approx(once.slope.high, abs=1e-6)


def test_too_few_customers_with_an_outcome_are_refused() -> None:
    outcome = np.array([1.0] * 9 + [0.0] * 91)

    with pytest.raises(TooLittleData, match=r"10 customers with and without .* 9 are with it"):
        judged(outcome, np.full(100, 0.1))


def test_one_probability_for_all_has_no_slope() -> None:
    with pytest.raises(TooLittleData, match="no maximum"):
        recalibrate(np.array([0, 1.0] * 50), np.zeros(100))


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    told = np.full(100, 0.5)
    told[3] = wrong

    with pytest.raises(RegularsError, match="missing or not between 0 and 1"):
        judged(np.array([0, 1.0] * 50), told)


def test_probabilities_far_off_have_a_slope_too() -> None:
    # Source: scikit-learn's logistic regression without penalty. Whole steps of Newton's would
    # overshoot here, and find no maximum.
    truth, outcome = drawn(4_000)
    x = logit(np.clip(1.8 * truth, 0.001, 0.9999))

    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(x[:, None], outcome)

    expected = (float(plain.intercept_[0]), float(plain.coef_[0, 0]))
    assert recalibrate(outcome, x) == pytest.approx(expected, abs=1e-4)

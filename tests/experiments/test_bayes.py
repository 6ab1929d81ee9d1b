import numpy as np
import pytest

from experiments.bayes import chance_to_win, relative_lift
from foundation.errors import TooLittleData


def test_the_reference_figures_to_the_digits_shown():
    # Source: reference/experiments.md: 49/100 against 51/100.
    posterior = relative_lift(51, 100, 49, 100)
    assert round(posterior.lift, 5) == 0.04082
    assert (round(posterior.low, 5), round(posterior.high, 5)) == (-0.24779, 0.32943)
    assert round(posterior.chance_to_win, 5) == 0.60918
    assert round(posterior.risk_keeping, 4) == 0.0814
    assert round(posterior.risk_shipping, 5) == 0.04058
    assert round(chance_to_win(51, 100, 49, 100), 4) == 0.6108


def test_the_exact_chance_agrees_with_draws():
    rng = np.random.default_rng(1)
    ours, theirs = rng.beta(13, 90, 400_000), rng.beta(7, 95, 400_000)
    assert chance_to_win(12, 101, 6, 100) == pytest.approx((ours > theirs).mean(), abs=0.003)


def test_a_lift_without_a_base_is_refused():
    with pytest.raises(TooLittleData, match="no base"):
        relative_lift(3, 10, 0, 10)
    with pytest.raises(TooLittleData, match="responded alike"):
        relative_lift(10, 10, 10, 10)

"""Drift beyond chance: by hand, and on draws that did not move."""

import math

import numpy as np
import pytest

from foundation.drift import drift
from foundation.errors import TooLittleData


def test_drift_is_the_population_stability_index_by_hand() -> None:
    # Shares .5/.5 to .6/.4: .1 ln(.6/.5) + .1 ln(.5/.4), the half customers moving it by < 1e-5.
    found = drift({"a": 50_000, "b": 50_000}, {"a": 60_000, "b": 40_000})

    assert found.index == pytest.approx(0.1 * math.log(1.2) + 0.1 * math.log(1.25), abs=1e-5)
    assert found.drifted
    assert drift({"a": 70, "b": 30}, {"a": 70, "b": 30}).index == 0


def test_a_group_that_vanished_is_a_large_drift_and_not_an_infinite_one() -> None:
    found = drift({"a": 500, "b": 500}, {"a": 1_000})

    assert found.drifted
    assert 1 < found.index < math.inf


def test_without_drift_chance_is_exceeded_once_in_twenty() -> None:
    draw = np.random.default_rng(8)
    shares = [0.5, 0.3, 0.15, 0.05]
    exceeded = 0
    for _ in range(2_000):
        runs = (
            dict(zip("abcd", draw.multinomial(n, shares).tolist(), strict=True))
            for n in (1_000, 3_000)
        )
        exceeded += drift(*runs).drifted
    # Binomial around .05 with a standard error of .005.
    assert 0.035 < exceeded / 2_000 < 0.065


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 30, "b": 10}, {"a": 500, "b": 500}, "40 and 1000 customers"),
        ({"a": 100}, {"a": 100}, "1 group"),
    ],
)
def test_drift_of_too_little_is_refused(
    before: dict[str, int], now: dict[str, int], told: str
) -> None:
    with pytest.raises(TooLittleData, match=told):
        drift(before, now)

"""The benchmark of assignment: a small run holds its bars, and a dependent pair is found."""

import argparse

import numpy as np
import pytest
from scipy import stats

from benchmarks.assignment import bars, independence_p_values, measure
from foundation.errors import RegularsError


def test_a_small_run_measures_what_the_bars_ask() -> None:
    figures = measure(argparse.Namespace(experiments=12, customers=20_000))
    assert [bar.name for bar in bars(figures)] == [
        "ks_p",
        "weight_deviation_sigma",
        "per_second",
        "moved",
    ]
    # Speed is for a quiet machine to judge.
    assert all(bar.holds for bar in bars(figures) if bar.name != "per_second")
    assert figures["pairs"] == 66
    # One of twelve on all customers, the others on a chunk, which here is all of them as well.
    assert figures["moved_among"] == 12 * 20_000
    assert "ready ids" in figures["per_second_of"]


def test_p_values_are_those_of_a_chi_square_test_and_find_a_dependence() -> None:
    draw = np.random.default_rng(3)
    rows = draw.random((3, 2_000)) < np.array([[0.5], [0.2], [0.05]])
    rows = np.vstack([rows, rows[0] ^ (draw.random(2_000) < 0.4)])
    ones = rows.astype(float)
    found = independence_p_values(ones.sum(axis=1), ones @ ones.T, 2_000)
    oracle = [
        stats.chi2_contingency(
            [[np.sum((rows[i] == x) & (rows[j] == y)) for y in (0, 1)] for x in (0, 1)],
            correction=False,
        ).pvalue
        for i in range(4)
        for j in range(i + 1, 4)
    ]
    assert found == pytest.approx(oracle, rel=1e-9)
    assert found[2] < 1e-9


def test_too_little_to_say_anything_is_refused() -> None:
    with pytest.raises(RegularsError, match="at least 2"):
        measure(argparse.Namespace(experiments=1, customers=30_000))

import argparse

import duckdb
import pytest

from benchmarks import analysis
from foundation.errors import RegularsError


def test_the_times_are_of_answers_that_agree(monkeypatch):
    monkeypatch.setattr(analysis, "ROUNDS", 1)
    figures = analysis.measure(argparse.Namespace(customers=5_000, seed=1))
    assert min(figures[f"{who}_seconds"] for who in ("ours", "tea_tasting", "duckdb")) > 0


def test_an_answer_that_differs_is_not_timed():
    connection = duckdb.connect()
    connection.register("customers", analysis.customers(2_000, 1))
    ours = analysis.analysed(connection)
    other = type("Other", (), dict.fromkeys(("effect_size", "pvalue"), 0.5))
    other.effect_size_ci_lower, other.effect_size_ci_upper = 0.1, 0.9
    with pytest.raises(RegularsError, match="different answers"):
        analysis._agree(ours, dict.fromkeys(analysis.METRICS, other))


def test_the_bar_is_a_ratio_to_tea_tasting():
    def bar(ours):
        return analysis.bars({"ours_seconds": ours, "tea_tasting_seconds": 1.0})[0]

    assert bar(1.2).holds
    assert not bar(1.21).holds

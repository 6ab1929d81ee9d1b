"""The benchmark of scale says how many customers, histories and held intervals there were."""

import argparse

import pytest

from benchmarks.clv_scale import bars, measure
from foundation.errors import RegularsError


def test_a_small_run_holds_its_bars_in_proportion() -> None:
    figures = measure(argparse.Namespace(customers=4_000, seed=2))
    assert figures["customers"] == 4_000
    assert 1_200 <= figures["histories"] <= 4_000
    assert 0.77 < figures["coverage_80"] < 0.83
    # Three kinds of customers are in no model's world, and calibrated bounds hold them too.
    assert 0.77 < figures["three_kinds_coverage_80"] < 0.83
    # Where an interval begins above nothing it holds no more than it says: 80 % within three
    # standard errors of some hundred customers.
    assert 0.73 < figures["closed_interval_holds_where_wide"] < 0.87
    assert figures["closed_interval_holds_where_wide"] < figures["closed_interval_holds"] - 0.03
    # A closed interval holds at least what it says.
    assert figures["closed_interval_holds"] > 0.78
    histories = next(bar for bar in bars(figures) if bar.name == "distinct histories")
    assert histories.bar == "at least 1,200"
    assert histories.holds
    judged = {bar.name for bar in bars(figures)}
    assert "three_kinds_coverage_80" in judged
    assert "closed_interval_holds_where_wide" not in judged
    # The memory of a process that ran other tests before is not this benchmark's.
    many = figures | {
        "peak_mb": 500.0,
        "customers_where_wide": 5_000,
        "closed_interval_holds_where_wide": 0.7,
    }
    assert [b.name for b in bars(many) if not b.holds] == ["closed_interval_holds_where_wide"]


def test_a_handful_of_customers_is_refused() -> None:
    with pytest.raises(RegularsError, match="--customers 10: at least 1000"):
        measure(argparse.Namespace(customers=10, seed=2))

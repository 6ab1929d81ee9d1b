"""The scoring benchmark compares equal scores, and refuses to compare none."""

import argparse

import pytest

from benchmarks.scoring import bars, measure
from foundation.errors import RegularsError


def test_both_ways_score_alike() -> None:
    figures = measure(argparse.Namespace(rows=20_000, customers=500, offers=7, threads=1, seed=1))
    assert figures["differing"] == 0
    assert figures["rows_per_second_ratio"] > 0
    assert {bar.name for bar in bars(figures)} == {"rows_per_second_ratio", "differing"}


def test_no_rows_are_refused() -> None:
    with pytest.raises(RegularsError, match="--rows 0"):
        measure(argparse.Namespace(rows=0, customers=1, offers=1, threads=1, seed=1))

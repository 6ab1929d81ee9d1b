"""The benchmark of RFM: three run, and the two that answer the same question answer alike."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import rfm
from foundation.errors import RegularsError


@pytest.mark.slow
def test_ours_and_sql_by_hand_give_the_same_answer_and_the_figures_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rfm, "ROUNDS", 1)
    # The library is not among what we install.
    monkeypatch.setitem(rfm.RIVALS, "lifetimes", rfm.BY_HAND)
    found = rfm.measure(Namespace(lines=2_000))

    assert {"ours_seconds", "duckdb_seconds", "lifetimes_seconds", "ours_peak_mb"} <= found.keys()
    assert 0 < found["customers"] <= 40
    assert [bar.name for bar in rfm.bars(found)] == [
        "times_duckdb",
        "times_quicker_than_lifetimes",
        "ours_peak_mb",
    ]


def test_answers_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "lines.parquet"
    rfm._write_lines(path, 2_000)
    # Small orders left out of those that ever were.
    count, fewer = "(count(*) FILTER (amount >= 0))", "(count(*) FILTER (amount > 9999))"
    assert count in rfm.BY_HAND
    monkeypatch.setitem(rfm.RIVALS, "duckdb", rfm.BY_HAND.replace(count, fewer))
    with pytest.raises(RegularsError, match="do not have the same figures"):
        rfm._check_equal(tmp_path, path)


def test_no_lines_are_refused() -> None:
    with pytest.raises(RegularsError, match="at least one line"):
        rfm.measure(Namespace(lines=0))

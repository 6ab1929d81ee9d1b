"""The benchmark of previews runs small, with the figures it promises."""

from argparse import Namespace

import pytest

from benchmarks import preview
from foundation.errors import RegularsError


@pytest.mark.parametrize(("customers", "lines"), [(0, 6_000), (300, 0), (-5, -5)])
def test_nobody_to_preview_is_refused_in_one_line(customers: int, lines: int) -> None:
    with pytest.raises(RegularsError, match="at least 100 of each are needed"):
        preview.measure(Namespace(customers=customers, lines=lines, seed=0))


@pytest.mark.slow
def test_a_small_run_has_its_figures_and_the_bar_is_its_95th_percentile() -> None:
    found = preview.measure(Namespace(customers=300, lines=6_000, seed=0))

    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["longest_ms"]
    assert 0 <= found["smallest"] <= found["largest"] <= found["customers"] == 300
    # 20 segments, half of which count events, five times; the very first stands apart.
    assert found["previews"] == 20 * preview.ROUNDS - 1
    (bar,) = preview.bars(found | {"p95_ms": 299.9})
    assert (bar.name, bar.holds) == ("p95_ms", True)
    assert not preview.bars(found | {"p95_ms": 300.0})[0].holds

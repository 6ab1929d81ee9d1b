"""The planning benchmark gives its figures by name and takes limits from slack to none at all."""

import argparse

import pytest

from benchmarks.plan import bars, measure
from foundation.errors import RegularsError


def asked(**given: object) -> argparse.Namespace:
    defaults = {
        "customers": 2_000, "offers": 6, "seed": 1, "budget": "", "stock": "", "contacts": "",
        "per_customer": 2, "small": 5,
    }  # fmt: skip
    return argparse.Namespace(**{**defaults, **given})


@pytest.mark.parametrize(
    "limits",
    [{}, {"budget": "0"}, {"stock": "1"}, {"budget": "none", "stock": "none", "contacts": "none"}],
)
def test_no_limit_is_broken(limits: dict[str, str]) -> None:
    figures = measure(asked(**limits))
    assert {"seconds", "peak_mb", "violations", "gap_small"} <= figures.keys()
    assert figures["violations"] == 0
    assert figures["gap_small"] <= 0.005
    assert all(bar.holds for bar in bars(figures))


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(RegularsError, match="--budget 'much'"):
        measure(asked(budget="much"))


def test_no_small_campaigns_are_refused() -> None:
    with pytest.raises(RegularsError, match="--small 0: at least one"):
        measure(asked(small=0))


def test_small_campaigns_that_earn_nothing_hold_no_bar() -> None:
    figures = {"seconds": 1.0, "peak_mb": 1.0, "violations": 0, "gap_small": None}
    failing = [bar for bar in bars(figures) if not bar.holds]
    assert [(bar.name, bar.value) for bar in failing] == [("gap_small", None)]

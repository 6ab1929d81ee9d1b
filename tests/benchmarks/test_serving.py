"""A small run of the whole benchmark; its bars on figures of both sides."""

import argparse

import pytest

from benchmarks import serving

FIGURES = {"throughput_ratio": 0.6, "p99_ms": 9.0, "bare_p99_ms": 1.0, "explain_ratio": 0.1}


@pytest.mark.slow
def test_a_small_run_has_every_figure() -> None:
    parser = argparse.ArgumentParser()
    serving.add_options(parser)
    few = ["--customers", "50", "--offers", "12", "--seconds", ".3", "--rounds", "1", "--no-mlflow"]
    figures = serving.measure(parser.parse_args(few))
    assert figures["throughput"] > 0
    assert figures["bare_throughput"] > 0
    assert figures["throughput_ratio"] == pytest.approx(
        figures["throughput"] / figures["bare_throughput"]
    )
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert [bar.name for bar in serving.bars(figures)] == [
        "throughput_ratio",
        "p99_ms",
        "explain_ratio",
    ]


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({}, None),
        ({"throughput_ratio": 0.49}, "throughput_ratio"),
        ({"p99_ms": 10.1}, "p99_ms"),
        # A slower machine moves what the tail is held to.
        ({"p99_ms": 19.0, "bare_p99_ms": 5.0}, None),
        ({"explain_ratio": 0.16}, "explain_ratio"),
    ],
)
def test_each_bar_fails_by_its_own_figure(changed: dict[str, float], fails: str | None) -> None:
    failing = [bar.name for bar in serving.bars(FIGURES | changed) if not bar.holds]
    assert failing == ([] if fails is None else [fails])

"""A small run of the whole benchmark; its bars on figures of both sides."""

import argparse

import pytest

from benchmarks import serving
from benchmarks.callers.wrk import read_answers

FIGURES = {
    "throughput_ratio": 0.6,
    "p99_ms": 9.0,
    "bare_p99_ms": 1.0,
    "explain_ratio": 0.1,
    "degraded_share": 0.0,
}
# What wrk 4.1 printed.
SAID = """Running 2s test @ http://127.0.0.1:46315/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.22ms    5.55ms  56.27ms   89.78%
    Req/Sec     4.02k     1.16k    6.55k    70.00%
  8000 requests in 2.00s, 8.07MB read
Requests/sec:   4000.00
"""


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
        "degraded_share",
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
        # Fast answers without what they need are none.
        ({"degraded_share": 0.02}, "degraded_share"),
    ],
)
def test_each_bar_fails_by_its_own_figure(changed: dict[str, float], fails: str | None) -> None:
    failing = [bar.name for bar in serving.bars(FIGURES | changed) if not bar.holds]
    assert failing == ([] if fails is None else [fails])


def test_only_good_answers_count_of_what_wrk_says() -> None:
    sound = read_answers(SAID)
    assert (sound.good, sound.lasted, sound.throughput, sound.other) == (8000, 2.0, 4000.0, {})

    broken = read_answers(
        SAID + "  Socket errors: connect 0, read 1, write 0, timeout 2\n"
        "  Non-2xx or 3xx responses: 500\n"
    )
    assert (broken.good, broken.other) == (7497, {0: 503})

    with pytest.raises(RuntimeError, match="nothing that is known"):
        read_answers("unable to connect")

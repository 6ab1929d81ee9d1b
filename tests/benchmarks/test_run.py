"""A benchmark prints one object, and a bar that does not hold makes the exit code 1."""

import argparse
import json
import sys
from types import ModuleType
from typing import Any

import pytest

from benchmarks.run import Bar, names, run
from foundation.errors import RegularsError


def test_an_unknown_benchmark_names_those_that_exist() -> None:
    with pytest.raises(RegularsError, match=r"'speed' does not exist; choose one of .*simulate"):
        run("speed", [])


@pytest.mark.parametrize(("measured", "code"), [(0.95, 0), (0.5, 1)])
def test_one_object_says_what_was_measured_where_and_whether_it_holds(
    measured: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A benchmark of one line, in the place where benchmarks are found.
    module = ModuleType("benchmarks.simulate")

    def measure(options: argparse.Namespace) -> dict[str, Any]:
        return {"coverage": measured, "seeds": options.seeds, "by": {"north": 1}}

    def bars(figures: dict[str, Any]) -> list[Bar]:
        value = figures["coverage"]
        return [Bar("coverage", value, "at least 0.92", value >= 0.92)]

    module.__dict__.update(
        add_options=lambda parser: parser.add_argument("--seeds", type=int),
        measure=measure,
        bars=bars,
    )
    monkeypatch.setitem(sys.modules, "benchmarks.simulate", module)

    assert run("simulate", ["--seeds", "7", "--json"]) == code

    told = json.loads(capsys.readouterr().out)
    assert told["benchmark"] == "simulate"
    assert told["figures"] == {"coverage": measured, "seeds": 7, "by": {"north": 1}}
    assert told["machine"]["cores"] >= 1
    assert told["bars"] == [
        {"name": "coverage", "value": measured, "bar": "at least 0.92", "holds": code == 0}
    ]
    # For people: a line a figure, those within others under both names.
    assert run("simulate", ["--seeds", "7"]) == code
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [f"coverage: {measured}", "seeds: 7", "by.north: 1"]


@pytest.mark.parametrize("name", ["ope", "plan", "response", "scoring", "uplift"])
@pytest.mark.parametrize("seed", ["-1", "2147483648"])
def test_a_seed_that_no_generator_takes_is_refused_before_any_work(name: str, seed: str) -> None:
    with pytest.raises(RegularsError, match=f"--seed {seed}: give a whole number from 0 to"):
        run(name, ["--seed", seed])


@pytest.mark.slow
def test_the_simulation_finds_planted_effects_on_the_real_base(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "simulate" in names()

    run("simulate", ["--seeds", "20", "--json"])

    figures = json.loads(capsys.readouterr().out)["figures"]
    # 20 intervals of 95 %: fewer than 16 that hold has a probability of .0026.
    assert figures["coverage"] >= 0.8
    assert figures["customers"] == 2_469
    assert figures["aa_ks_p"] > 0.001

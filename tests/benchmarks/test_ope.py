"""The benchmark of off-policy values counts what it refuses and says what it did not measure."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.ope import BANDIT, Cell, bars, grid, measure
from foundation.errors import RegularsError


def test_a_cell_knows_its_truth() -> None:
    # Source: the mean weighted reward of a log so long that chance is small.
    for cell in (Cell(1.0, 0.2, 400_000), Cell(1.0, 0.2, 400_000, spread=0.7, repeats=4)):
        log = cell.log(np.random.default_rng(1))
        weight = log.target / log.propensity
        assert np.mean(weight * log.reward) == pytest.approx(cell.truth(), rel=0.03)
        assert np.mean(weight) == pytest.approx(1, rel=0.02)


def test_without_the_bandit_its_figures_are_null_and_its_bars_say_so(tmp_path: Path) -> None:
    figures = measure(argparse.Namespace(data=tmp_path, logs=4, seed=1))

    assert set(figures["bandit"].values()) == {None}
    assert len(figures["cells"]) == len(list(grid()))
    assert 0 < figures["refusal_rate"] < 1
    held = {bar.name: bar for bar in bars(figures)}
    for name in BANDIT:
        assert not held[f"bandit.{name}"].holds
        assert held[f"bandit.{name}"].bar.startswith("not measured")


def test_the_bandit_is_read_from_its_folder(tmp_path: Path) -> None:
    for name in ("bts", "random"):
        (tmp_path / name).mkdir()
        pd.DataFrame(
            {
                "item_id": [0, 1, 0, 1],
                "click": [1, 0, 0, 1],
                "propensity_score": [0.5, 0.5, 1, 0.25],
            }
        ).to_csv(tmp_path / name / "men.csv.gz")

    bandit = measure(argparse.Namespace(data=tmp_path, logs=1, seed=1))["bandit"]

    # Weights 1, 1, .5, 2 of two items; clicks under the first and the last.
    assert bandit["ips"] == pytest.approx(3 / 4)
    assert bandit["snips"] == pytest.approx(3 / 4.5)
    assert bandit["ess"] == pytest.approx(4.5**2 / 6.25)
    assert bandit["on_policy"] == 0.5
    assert "learned from these very decisions" in bandit["refusal"]


def test_no_logs_are_refused() -> None:
    with pytest.raises(RegularsError, match="--logs 0: at least one log"):
        measure(argparse.Namespace(data=Path(), logs=0, seed=1))

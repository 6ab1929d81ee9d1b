"""The benchmark of off-policy values counts what it refuses and says what it did not measure."""

import argparse
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.ope import BANDIT, Cell, bars, grid, measure
from foundation.errors import RegularsError


def test_a_cell_knows_its_truth() -> None:
    # Source: the mean weighted reward of a log so long that chance is small.
    for cell in (
        Cell(1.0, 0.2, 400_000),
        Cell(1.0, 0.2, 400_000, spread=0.7, repeats=4),
        Cell(1.0, 0.2, 200_000, positions=3),
    ):
        log, _ = cell.log(np.random.default_rng(1))
        weight = log.target / log.propensity
        worth = np.mean(weight * log.reward) * cell.positions
        assert worth == pytest.approx(cell.truth(), rel=0.03)
        assert np.mean(weight) == pytest.approx(1, rel=0.02)


def test_slates_are_drawn_without_repetition_by_chances_that_sum_to_1() -> None:
    cell = Cell(1.5, 0.05, 100, positions=3)
    every, logging, target = cell.slates()
    assert len(every) == 10 * 9 * 8
    assert (logging.sum(), target.sum()) == pytest.approx((1, 1))
    # Source: the product of chances among the offers left, by hand for the first slate.
    first, second, third = cell.chances()[0][:3]
    assert logging[0] == pytest.approx(first * second / (1 - first) * third / (1 - first - second))
    assert cell.marginals()[0].sum(axis=1) == pytest.approx([1, 1, 1])


def test_forecasts_are_those_of_other_customers() -> None:
    log, direct = Cell(0.5, 0.2, 2_000, repeats=4).log(np.random.default_rng(2))
    assert direct is not None
    changed = replace(log, reward=np.where(log.customer == 3, 99.0, log.reward))
    offer = np.searchsorted(Cell(0.5, 0.2, 1).chances()[1], log.target - 1e-12)
    again = Cell(0.5, 0.2, 2_000, repeats=4).forecasts(offer, changed)
    hers = log.customer == 3
    assert again.shown[hers].tolist() == direct.shown[hers].tolist()
    assert again.shown[~hers].tolist() != direct.shown[~hers].tolist()


def test_without_the_bandit_its_figures_are_null_and_its_bars_say_so(tmp_path: Path) -> None:
    figures = measure(argparse.Namespace(data=tmp_path, logs=4, seed=1))

    assert set(figures["bandit"].values()) == {None}
    assert len(figures["cells"]) == len(list(grid()))
    assert 0 < figures["refusal_rate"] < 1
    held = {bar.name: bar for bar in bars(figures)}
    for name in BANDIT:
        assert not held[f"bandit.{name}"].holds
        assert held[f"bandit.{name}"].value is None
        assert held[f"bandit.{name}"].bar.startswith("not measured")


FINE = {
    "bandit": {name: published for name, (published, _) in BANDIT.items()},
    "coverage_min": 0.93,
    "refusal_easy_max": 0.01,
}


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, []),
        ({"coverage_min": 0.91}, ["coverage_min"]),
        # Who refuses everything holds nothing.
        ({"coverage_min": None, "refusal_easy_max": 1.0}, ["coverage_min", "refusal_easy_max"]),
        ({"refusal_easy_max": 0.3}, ["refusal_easy_max"]),
    ],
)
def test_every_figure_is_held_to_its_bar(change: dict[str, Any], fails: list[str]) -> None:
    held = bars(FINE | change)
    assert [bar.name for bar in held if not bar.holds] == fails
    # A figure that there is none of stays none.
    assert (
        next(bar.value for bar in held if bar.name == "coverage_min")
        == (FINE | change)["coverage_min"]
    )


def test_cells_tell_of_all_estimators_and_some_are_easy(tmp_path: Path) -> None:
    figures = measure(argparse.Namespace(data=tmp_path, logs=4, seed=1))
    cells = json.loads(json.dumps(figures))["cells"]
    easy = [cell for cell in cells if cell["easy"]]
    assert len(easy) >= 8
    assert {cell["positions"] for cell in easy} == {1, 2, 3}
    for cell in easy:
        assert cell["coverage_ips"] is not None
        assert (cell["coverage_doubly_robust"] is None) == (cell["positions"] > 1)


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


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (b"item,click\n1,0\n", "no column is called 'item_id'"),
        (b"item_id,click,propensity_score\n1,yes,0.5\n", "column 'click' holds what is no number"),
        (b"item_id,click,propensity_score\n", "holds what is no number|has no rows"),
        (b"", "No columns to parse"),
        (None, "[Nn]ot a gzipped file"),
    ],
)
def test_other_files_than_the_bandits_are_refused_before_any_log_is_made(
    written: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bts", "random"):
        (tmp_path / name).mkdir()
        told = b"plain" if written is None else gzip.compress(written)
        (tmp_path / name / "men.csv.gz").write_bytes(told)
    monkeypatch.setattr("benchmarks.ope.grid", lambda: pytest.fail("a log was made"))
    with pytest.raises(RegularsError, match=says) as refused:
        measure(argparse.Namespace(data=tmp_path, logs=1, seed=1))
    assert "\n" not in str(refused.value)


def test_no_logs_are_refused() -> None:
    with pytest.raises(RegularsError, match="--logs 0: at least one log"):
        measure(argparse.Namespace(data=Path(), logs=0, seed=1))

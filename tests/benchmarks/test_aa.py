import numpy as np

from benchmarks import aa
from benchmarks.aa import Cell, bars, judge_cell, judge_figure, sequential
from experiments.aggregates import Aggregates
from experiments.compare import compare


def test_many_experiments_at_once_are_judged_as_one_is():
    drawn = []

    def draw(rng, count, n):
        drawn.append(rng.lognormal(1, 0.3, (count, n, 1)))
        return drawn[0]

    judged = judge_figure(draw, "mean", np.random.default_rng(1), 5, 2_000, 1_000)
    assert judged.methods == {"welch"}
    for place, rows in enumerate(drawn[0]):
        one = compare(
            "mean", Aggregates.from_rows(rows[:1_000]), Aggregates.from_rows(rows[1_000:])
        )
        assert judged.p[place] == one.p
        assert judged.difference[place] == one.difference


def test_a_cell_has_the_figures_that_are_promised():
    cell = judge_cell(Cell("spend", 500, 0.5, seed=1, experiments=100))
    assert {"metric", "method", "n", "split", "skew", "rejection"} <= set(cell)
    assert {"lower_tail", "upper_tail", "refused"} <= set(cell)
    assert 0 <= cell["rejection"] < 0.15
    assert cell["method"] == "randomisation"


def test_a_cell_that_cannot_be_judged_refuses_all():
    cell = judge_cell(Cell("proportion", 500, 0.05, seed=1, experiments=50))
    assert (cell["rejection"], cell["refused"]) == (None, 1.0)


def test_every_metric_of_the_grid_is_judged():
    assert {cell.metric for cell in aa.grid(1, 10)} == set(aa.JUDGES)


def test_looks_are_bars_and_a_cell_out_of_its_band_fails():
    looks = sequential(seed=1, histories=1_000)
    assert looks["ever_rejects"] <= 0.05
    assert abs(looks["detects_at_the_end"] - 0.52) < 0.06
    cell = {"metric": "spend", "n": 500, "split": 0.05, "rejection": 0.129}
    cell |= {"lower_tail": 0.01, "upper_tail": 0.119}
    found = bars({"cells": [cell], "sequential": looks})
    assert [bar.holds for bar in found[:2]] == [False, False]

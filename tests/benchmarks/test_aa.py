import numpy as np
import pytest

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


def test_a_cell_that_must_answer_fails_where_it_refuses():
    cell = {"metric": "proportion", "n": 2_000, "split": 0.5, "rejection": None, "refused": 1.0}
    looks = {"ever_rejects": 0.03, "ever_detects": 0.3}
    answered = bars({"cells": [cell], "sequential": looks})[0]
    assert (answered.name, answered.holds) == ("proportion 2,000 0.5 answered", False)
    # Refusing is right where there is little.
    small = bars({"cells": [cell | {"split": 0.05, "n": 500}], "sequential": looks})
    assert len(small) == 2


def test_a_cell_that_answered_less_is_held_to_as_many_standard_errors():
    # Three standard errors of 5 % among 10,000 are .0065, among 2,500 twice that.
    assert aa.bands(10_000) == pytest.approx((0.0065, 0.03))
    assert aa.bands(2_500) == pytest.approx((0.013, 0.035))
    assert aa.bands(12_000) == aa.bands(10_000)


def test_every_kind_of_metric_must_answer_somewhere():
    cells = list(aa.grid(1, 10))
    must = {cell.metric for cell in cells if aa.must_answer(cell.metric, cell.n, cell.split)}
    assert {cell.metric for cell in cells} - must == set(aa.MAY_REFUSE) | {"cuped_ratio"}


def test_a_cell_has_one_chance(monkeypatch):
    drawn = []

    def refuses(rng, count, n, given):
        drawn.append(count)
        return aa.Judged(np.full(count, np.nan), np.zeros(count), 1.0, {"refused"})

    monkeypatch.setitem(aa.JUDGES, "spend", refuses)
    judge_cell(Cell("spend", 500, 0.5, seed=1, experiments=70))
    assert sum(drawn) == 70


def test_planned_looks_together_reject_what_they_may():
    cell = judge_cell(Cell("looks", 2_000, 0.5, seed=1, experiments=300))
    assert cell["method"] == "group sequential"
    assert 0.02 <= cell["rejection"] <= 0.09
    assert judge_cell(Cell("always", 2_000, 0.5, seed=1, experiments=300))["rejection"] <= 0.03


def test_every_metric_of_the_grid_is_judged():
    assert {cell.metric for cell in aa.grid(1, 10)} == set(aa.JUDGES)


def test_looks_are_bars_and_a_cell_out_of_its_band_fails():
    looks = sequential(seed=1, histories=1_000)
    assert looks["ever_rejects"] <= 0.05
    assert abs(looks["detects_at_the_end"] - 0.52) < 0.06
    cell = {"metric": "spend", "n": 500, "split": 0.05, "rejection": 0.129}
    cell |= {"lower_tail": 0.01, "upper_tail": 0.119, "refused": 0.0, "answered": 10_000}
    found = bars({"cells": [cell], "sequential": looks})
    assert [bar.holds for bar in found[:2]] == [False, False]

import numpy as np
import pandas as pd
import pytest

from benchmarks import aa
from benchmarks.aa import Cell, bars, judge_cell, judge_figure, sequential
from experiments.analysis import UnitFrame, effects, summed
from experiments.compare import compare_proportions
from experiments.metrics import columns

# Columns, figure, and the sizes at which it is judged in each of the ways there are.
CASES = {
    "a mean": (aa.draw_cuped, "mean", 1_000, 500),
    "a skewed mean": (aa.draw_spend, "mean", 500, 100),
    "a ratio": (aa.draw_ratio, "ratio", 2_000, 1_000),
    "a ratio with what was before": (aa.draw_cuped_ratio, "ratio", 1_000, 500),
    "a ratio to few visits": (aa.draw_sparse_ratio, "ratio", 1_400, 280),
    "households": (aa.draw_households, "ratio", 600, 300),
}


@pytest.mark.parametrize("case", CASES)
def test_many_experiments_at_once_are_judged_as_files_are(case):
    drawing, figure, n, given = CASES[case]
    drawn = []

    def draw(rng, count, n):
        drawn.append(drawing(rng, count, n))
        return drawn[0]

    judged = judge_figure(draw, figure, np.random.default_rng(1), 12, n, given)
    metric = aa.METRICS[figure, drawn[0].shape[-1]]
    names = [column.name for column in columns(metric)]
    methods = set()
    for place, rows in enumerate(drawn[0]):
        frame = pd.DataFrame(rows, columns=names).assign(
            variant=np.where(np.arange(n) < given, "treatment", "control")
        )
        units = UnitFrame(frame)
        found = effects(
            units, summed(units, {"it": metric}), {"it": metric}, "control", ["treatment"],
            most_deals=aa.DEALS,
        )["it"]["treatment"]  # fmt: skip
        if found.p is None:
            assert np.isnan(judged.p[place])
            methods.add("refused")
            continue
        assert judged.p[place] == pytest.approx(found.p, rel=1e-6)
        assert judged.difference[place] == pytest.approx(found.difference, rel=1e-6)
        methods.add(found.method)
    assert judged.methods == methods


def test_shares_at_once_are_judged_as_files_are():
    judged = aa.judge_proportion(np.random.default_rng(1), 20, 500, 100)
    again = np.random.default_rng(1)
    given, others = again.binomial(100, 0.1, 20), again.binomial(400, 0.1, 20)
    for place, (x, y) in enumerate(zip(given, others, strict=True)):
        found = compare_proportions(x, 100, y, 400)
        assert np.isnan(judged.p[place]) == (found.p is None)
        if found.p is not None:
            assert judged.p[place] == found.p
    assert 0 < np.isnan(judged.p).sum() < 20


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
    looks = {"ever_rejects": 0.03, "ever_detects": 0.3, "read_once": {"rejection": 0.01}}
    answered = bars({"cells": [cell], "sequential": looks})[0]
    assert (answered.name, answered.holds) == ("proportion 2,000 0.5 answered", False)
    # Refusing is right where there is little.
    small = bars({"cells": [cell | {"split": 0.05, "n": 500}], "sequential": looks})
    assert len(small) == 3


def test_a_cell_that_refuses_in_part_goes_on_until_it_answered_as_many():
    cell = judge_cell(Cell("proportion", 400, 0.2, seed=1, experiments=200))
    assert cell["answered"] >= 200
    assert 300 < cell["drawn"] < 600
    assert cell["refused"] == pytest.approx(1 - cell["answered"] / cell["drawn"])


def test_a_cell_that_answers_too_few_fails(monkeypatch):
    def hardly(rng, count, n, given):
        p = np.where(np.arange(count) == 0, 0.5, np.nan)
        return aa.Judged(p, np.zeros(count), 1.0, {"welch"})

    monkeypatch.setitem(aa.JUDGES, "spend", hardly)
    cell = judge_cell(Cell("spend", 500, 0.05, seed=1, experiments=200))
    assert cell["answered"] < 200
    looks = {"ever_rejects": 0.03, "ever_detects": 0.3, "read_once": {"rejection": 0.01}}
    answered = bars({"cells": [cell], "sequential": looks})[0]
    assert (answered.name, answered.holds) == ("spend 500 0.05 experiments answered", False)


def test_every_kind_of_metric_must_answer_somewhere():
    cells = list(aa.grid(1, 10))
    must = {cell.metric for cell in cells if aa.must_answer(cell.metric, cell.n, cell.split)}
    assert {cell.metric for cell in cells} - must == set(aa.MAY_REFUSE) | {"cuped_ratio"}


def test_a_cell_that_refuses_all_has_one_chance(monkeypatch):
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
    assert {cell.metric for cell in aa.grid(1, 10)} == set(aa.JUDGES) - {"always"}


def test_looks_are_bars_and_a_cell_out_of_its_band_fails():
    looks = sequential(seed=1, histories=1_000)
    assert looks["ever_rejects"] <= 0.05
    assert abs(looks["detects_at_the_end"] - 0.52) < 0.06
    cell = {"metric": "spend", "n": 500, "split": 0.05, "rejection": 0.129}
    cell |= {
        "lower_tail": 0.01,
        "upper_tail": 0.119,
        "refused": 0.0,
        "answered": 10_000,
        "asked": 10_000,
    }
    looks["read_once"] = {"rejection": 0.06}
    found = bars({"cells": [cell], "sequential": looks})
    assert [bar.holds for bar in found[:3]] == [True, False, False]
    assert {bar.name for bar in found if not bar.holds} > {"rejects read once"}


def drawing(rejects):
    """Return a judge that rejects this share of the experiments it is given, half on each side."""

    def judge(rng, count, n, given):
        p = np.where(rng.random(count) < rejects, 0.0, 1.0)
        return aa.Judged(p, rng.choice([-1.0, 1.0], count), 0.0, {"drawn"})

    return judge


def test_a_cell_near_the_edge_of_its_band_goes_on(monkeypatch):
    monkeypatch.setitem(aa.JUDGES, "sound", drawing(0.05))
    monkeypatch.setitem(aa.JUDGES, "at fault", drawing(0.065))
    cells = [judge_cell(Cell("sound", 500, 0.5, seed, 10_000)) for seed in range(300)]
    went_on = [cell for cell in cells if cell["answered"] > 10_000]
    assert {cell["answered"] for cell in cells} == {10_000, 50_000}
    # .8 of .0065 is 2.39 standard errors of 10,000, .8 of a tail's .005 is 2.56: some 2.4 %.
    assert 1 <= len(went_on) <= 20
    # All that was simulated counts, and three standard errors of 50,000 are .0029.
    assert max(abs(cell["rejection"] - 0.05) for cell in went_on) < 0.0065
    faulty = [judge_cell(Cell("at fault", 500, 0.5, seed, 10_000)) for seed in range(20)]
    assert all(abs(cell["rejection"] - 0.05) > 0.0065 for cell in faulty)

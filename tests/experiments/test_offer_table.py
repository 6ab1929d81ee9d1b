import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from experiments.analysis import Once
from experiments.metrics import Column, Mean
from experiments.offer_table import offer_table


def world(n=1_800, seed=1):
    """`on` gains 50 where it is asked for in the app, nothing at the till."""
    rng = np.random.default_rng(seed)
    channel = np.where(np.arange(n) % 3 == 0, "till", "app")
    treated = rng.permuted(np.arange(n) % 2 == 1)
    return pd.DataFrame(
        {
            "variant": np.where(treated, "on", "off"),
            "channel": channel,
            "segment": np.where(np.arange(n) % 5 == 0, "new", "active"),
            "margin": rng.normal(500, 100, n) + 50 * treated * (channel == "app"),
        }
    )


def table(units):
    return offer_table(
        "margin", Mean(Column("margin")), units, "lifecycle", {"on": ["o-1"]}, "off", Once()
    )


def test_each_cell_is_compared_with_the_controls_of_its_own_channel_and_segment():
    units = world()
    found = table(units)
    assert (found.metric, found.segmentation, len(found.cells)) == ("margin", "lifecycle", 4)
    p = []
    for cell in found.cells:
        inside = units[(units["channel"] == cell.channel) & (units["segment"] == cell.segment)]
        on, off = (inside.loc[inside["variant"] == v, "margin"] for v in ("on", "off"))
        oracle = stats.ttest_ind(on, off, equal_var=False)
        interval = oracle.confidence_interval(0.95)
        assert (cell.units, cell.control_units) == (len(on), len(off))
        assert cell.offers == ["o-1"]
        # The incremental margin is that of everybody in the cell who was treated.
        assert cell.incremental == pytest.approx(len(on) * (on.mean() - off.mean()))
        assert (cell.incremental_low, cell.incremental_high) == pytest.approx(
            (len(on) * interval.low, len(on) * interval.high)
        )
        p.append(oracle.pvalue)
    # Source: statsmodels.
    assert [cell.effect.p_adjusted for cell in found.cells] == pytest.approx(
        multipletests(p, method="fdr_bh")[1]
    )
    surely = {(c.channel, c.segment) for c in found.cells if c.effect.p_adjusted < 0.05}
    assert surely <= {("app", "active"), ("app", "new")}
    assert ("app", "active") in surely


def test_a_small_cell_is_too_few_and_has_no_figures():
    units = world()
    few = units["segment"].where(units.index % 25 != 0, "rare")
    cells = {(c.channel, c.segment): c for c in table(units.assign(segment=few)).cells}
    rare = cells["app", "rare"]
    assert "too few" in rare.effect.refused
    assert (rare.incremental, rare.effect.difference) == (None, None)


def test_units_in_no_segment_are_in_no_cell():
    units = world()
    gaps = units.assign(segment=units["segment"].where(units.index >= 10))
    assert sum(c.units + c.control_units for c in table(gaps).cells) == len(units) - 10

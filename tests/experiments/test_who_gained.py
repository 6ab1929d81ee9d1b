import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from experiments.analysis import Always, Once
from experiments.metrics import Column, Mean
from experiments.who_gained import who_gained

METRIC = Mean(Column("margin"))


def world(gains=(0, 0, 40), n=900, seed=1):
    """Three segments of equal size; `on` gains what is planted in each."""
    rng = np.random.default_rng(seed)
    code = np.arange(n) % 3
    treated = (np.arange(n) // 3) % 2 == 1
    units = pd.DataFrame(
        {
            "unit_id": [f"c-{number}" for number in range(n)],
            "variant": np.where(treated, "on", "off"),
            "margin": rng.normal(500, 100, n) + np.asarray(gains)[code] * treated,
        }
    )
    segments = pd.DataFrame(
        {
            "unit_id": units["unit_id"],
            "segmentation": "lifecycle",
            "segment": np.array(["new", "active", "dormant"])[code],
        }
    )
    return units, segments


def gained(units, segments, planned=("lifecycle",), plan=None):
    return who_gained("margin", METRIC, units, segments, planned, "off", ["on"], plan or Once())


def test_every_segment_has_welchs_interval_and_benjamini_hochbergs_p():
    units, segments = world()
    found = gained(units, segments)
    joined = units.merge(segments, on="unit_id")
    p = []
    for row in found.rows:
        inside = joined[joined["segment"] == row.segment]
        on, off = (inside.loc[inside["variant"] == v, "margin"] for v in ("on", "off"))
        oracle = stats.ttest_ind(on, off, equal_var=False)
        interval = oracle.confidence_interval(0.95)
        assert (row.effect.low, row.effect.high) == pytest.approx((interval.low, interval.high))
        assert row.units == {"off": len(off), "on": len(on)}
        p.append(oracle.pvalue)
    assert found.correction == "benjamini_hochberg"
    # Source: statsmodels.
    assert [row.effect.p_adjusted for row in found.rows] == pytest.approx(
        multipletests(p, method="fdr_bh")[1]
    )
    assert [row.segment for row in found.rows if row.effect.p_adjusted < 0.05] == ["dormant"]


def test_whether_segments_differ_is_cochrans_q():
    units, segments = world()
    found = gained(units, segments)
    joined = units.merge(segments, on="unit_id")
    effect, variance = [], []
    for _, inside in joined.groupby("segment"):
        on, off = (inside.loc[inside["variant"] == v, "margin"] for v in ("on", "off"))
        effect.append(on.mean() - off.mean())
        variance.append(on.var() / len(on) + off.var() / len(off))
    # Source: statsmodels' meta-analysis.
    oracle = combine_effects(np.array(effect), np.array(variance))
    (differing,) = found.differing
    assert differing.q == pytest.approx(oracle.q)
    assert differing.p == pytest.approx(stats.chi2.sf(oracle.q, 2))
    assert not differing.exploratory


def test_segments_without_any_effect_are_seldom_said_to_have_gained():
    said, differed = 0, 0
    for seed in range(100):
        found = gained(*world((0, 0, 0), seed=seed))
        said += any(row.effect.p_adjusted < 0.05 for row in found.rows)
        differed += found.differing[0].p < 0.05
    # Above 12 of 100 the chance is below .002 at 5 %.
    assert said <= 12
    assert differed <= 12


def test_overlapping_segments_pay_for_any_dependence():
    units, segments = world()
    living = segments[segments["segment"] != "new"].assign(
        segmentation="coffee-lovers", segment="coffee-lovers"
    )
    found = gained(units, pd.concat([segments, living]), ("lifecycle", "coffee-lovers"))
    assert found.correction == "benjamini_yekutieli"
    p = [row.effect.p for row in found.rows]
    assert [row.effect.p_adjusted for row in found.rows] == pytest.approx(
        multipletests(p, method="fdr_by")[1]
    )


def test_what_was_not_planned_is_exploratory_and_costs_the_plan_nothing():
    units, segments = world()
    other = segments.assign(segmentation="rfm")
    alone, both = gained(units, segments), gained(units, pd.concat([segments, other]))
    planned = [row for row in both.rows if not row.exploratory]
    assert {row.segmentation for row in planned} == {"lifecycle"}
    assert {row.segmentation for row in both.rows if row.exploratory} == {"rfm"}
    p = [row.effect.p for row in alone.rows]
    assert [row.effect.p_adjusted for row in planned] == pytest.approx(
        multipletests(p, method="fdr_by")[1]
    )


def test_few_customers_are_refused_and_no_number_made_up():
    units, segments = world()
    tiny = segments.assign(segment=segments["segment"].where(segments.index % 30 != 1, "tiny"))
    rows = {row.segment: row for row in gained(units, tiny).rows}
    assert rows["tiny"].effect.difference is None
    assert "too few" in rows["tiny"].effect.refused
    assert rows["new"].effect.difference is not None
    empty = segments.assign(segment=np.where(units["variant"] == "on", "a", "b"))
    for row in gained(units, empty).rows:
        assert "nobody of the segment" in row.effect.refused
        assert math.isnan(row.effect.mean)
    assert gained(units, empty).differing[0].p is None


def test_units_in_no_segment_are_counted():
    units, segments = world()
    assert gained(units, segments[:-7]).without == 7


def test_the_plans_method_judges_segments_too():
    units, segments = world()
    found = gained(units, segments, plan=Always(900.0))
    assert {row.effect.method for row in found.rows} == {"always valid"}
    assert found.differing[0].exploratory

import json
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.assignment import variant_of
from experiments.design import Experiment, InvalidDesign, Variant, content_hash
from experiments.looks import Look
from experiments.plan import StopRule
from experiments.report import Report, analyse, summary_lines
from experiments.unit_checks import InvalidUnits
from experiments.welch import Moments, difference, relative
from foundation.errors import RegularsError
from foundation.money import Currency

EXPERIMENT = Experiment(
    key="winter-latte",
    salt="winter-latte",
    variants=[Variant("control", 0.5), Variant("treatment", 0.3), Variant("bold", 0.2)],
    control="control",
)
SHOW = Currency("USD").show
NOW = datetime(2026, 5, 4, tzinfo=UTC)


def make_units(n=3_000, seed=1):
    """Units assigned by the real assignment; treatment adds 300 minor units of margin."""
    rng = np.random.default_rng(seed)
    ids = [f"c-{number}" for number in range(n)]
    variants = np.array([variant_of(EXPERIMENT, one).name for one in ids])
    # Near enough to normal for Welch's test at this split.
    margin = np.round(rng.gamma(9, 1_000 / 9, n)).astype(np.int64)
    return pd.DataFrame(
        {
            "unit_id": ids,
            "variant": variants,
            "margin": margin + 300 * (variants == "treatment"),
            "visits": rng.poisson(2.0, n),
        }
    )


UNITS = make_units()


def test_the_report_says_what_welch_and_fieller_say():
    report = analyse(EXPERIMENT, UNITS, ["margin", "visits"])
    assert report.healthy
    assert list(report.metrics) == ["margin", "visits"]
    assert list(report.metrics["margin"]) == ["treatment", "bold"]
    arms = {name: Moments.from_values(rows["margin"]) for name, rows in UNITS.groupby("variant")}
    effect = report.metrics["margin"]["treatment"]
    absolute = difference(arms["treatment"], arms["control"])
    share = relative(arms["treatment"], arms["control"])
    assert effect.mean == pytest.approx(arms["treatment"].mean)
    assert effect.control_mean == pytest.approx(arms["control"].mean)
    assert (effect.difference, effect.low, effect.high, effect.p) == pytest.approx(
        (absolute.estimate, absolute.low, absolute.high, absolute.p)
    )
    # Student's quantile on both scales; Fieller alone takes the normal one from 1,000 degrees.
    assert (effect.relative, effect.relative_low, effect.relative_high) == pytest.approx(
        (share.estimate, share.low, share.high), rel=1e-3
    )
    assert effect.low < 300 < effect.high  # the effect planted above


def test_tea_tasting_agrees_on_every_comparison():
    # Source: tea-tasting 1.14 on the same frame.
    report = analyse(EXPERIMENT, UNITS, ["margin", "visits"], confidence=0.9)
    theirs = tt.Experiment(
        margin=tt.Mean("margin", confidence_level=0.9),
        visits=tt.Mean("visits", confidence_level=0.9),
    )
    for name in ("treatment", "bold"):
        pair = UNITS[UNITS["variant"].isin(["control", name])]
        result = theirs.analyze(pair, "control")
        for metric in ("margin", "visits"):
            ours, other = report.metrics[metric][name], result[metric]
            assert (ours.difference, ours.low, ours.high, ours.p) == pytest.approx(
                (
                    other.effect_size,
                    other.effect_size_ci_lower,
                    other.effect_size_ci_upper,
                    other.pvalue,
                )
            )
            assert ours.relative == pytest.approx(other.rel_effect_size)


def test_the_report_names_its_design_and_its_split():
    report = analyse(EXPERIMENT, UNITS, ["margin"])
    counts = UNITS["variant"].value_counts()
    assert report.design == content_hash(EXPERIMENT)
    assert report.units == {name: counts[name] for name in ("control", "treatment", "bold")}
    assert report.sample_ratio.observed == report.units
    assert report.sample_ratio.planned == {"control": 0.5, "treatment": 0.3, "bold": 0.2}
    assert report.sample_ratio.p > 0.001
    assert "as planned" in report.reason


def test_the_report_is_json_and_comes_back_equal():
    report = analyse(EXPERIMENT, UNITS, ["margin", "visits"])
    text = json.dumps(msgspec.to_builtins(report))
    assert msgspec.convert(json.loads(text), Report) == report


def test_a_broken_split_shows_why_and_no_effect():
    lost = UNITS[(UNITS["variant"] != "treatment") | (np.arange(len(UNITS)) % 3 > 0)]
    report = analyse(EXPERIMENT, lost, ["margin", "visits"])
    assert not report.healthy
    assert report.metrics == {}
    assert report.sample_ratio.p < 0.001
    assert report.sample_ratio.deviation > 0.2
    assert "sample ratio broken" in report.reason
    assert f"{report.units['treatment']:,}" in report.reason
    text = "\n".join(summary_lines(report, SHOW))
    assert report.reason in text
    assert "USD" not in text


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed):
    shuffled = UNITS.sample(frac=1, random_state=seed)
    here = msgspec.to_builtins(analyse(EXPERIMENT, UNITS, ["margin"]))
    there = msgspec.to_builtins(analyse(EXPERIMENT, shuffled, ["margin"]))
    effects = [report.pop("metrics")["margin"] for report in (here, there)]
    assert here == there
    for name in ("treatment", "bold"):
        first, second = (
            {
                field: value
                for field, value in one[name].items()
                if field not in ("refused", "method")
            }
            for one in effects
        )
        assert first == pytest.approx(second, rel=1e-9)


def test_every_assigned_unit_counts_also_those_that_did_nothing():
    idle = UNITS.assign(margin=UNITS["margin"].where(UNITS.index % 2 == 0, 0))
    report = analyse(EXPERIMENT, idle, ["margin"])
    control = idle.loc[idle["variant"] == "control", "margin"]
    assert report.metrics["margin"]["treatment"].control_mean == pytest.approx(control.mean())
    assert sum(report.units.values()) == len(idle)


def test_a_metric_nobody_moved_is_refused_and_the_others_stand():
    report = analyse(EXPERIMENT, UNITS.assign(complaints=0), ["margin", "complaints"])
    effect = report.metrics["complaints"]["bold"]
    assert (effect.mean, effect.control_mean) == (0, 0)
    assert (effect.difference, effect.low, effect.high, effect.p) == (None, None, None, None)
    assert effect.refused is not None
    assert "same value" in effect.refused
    assert report.metrics["margin"]["bold"].refused is None
    line = next(line for line in summary_lines(report, SHOW) if line.startswith("complaints"))
    assert "no comparison, every unit has the same value" in line


def test_a_yes_or_no_metric_is_a_share():
    redeemed = UNITS.assign(redeemed=UNITS["margin"] > 1_500)
    effect = analyse(EXPERIMENT, redeemed, ["redeemed"]).metrics["redeemed"]["treatment"]
    rows = redeemed[redeemed["variant"] == "treatment"]
    assert effect.mean == pytest.approx(rows["redeemed"].mean())


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (UNITS.drop(columns="variant"), ["column 'variant' is missing", "unit_id, margin"]),
        (UNITS.drop(columns="margin"), ["column 'margin' is missing"]),
        (UNITS.assign(margin=UNITS["margin"].where(UNITS.index != 7)), ["1 of 3,000", "'c-7'"]),
        (UNITS.assign(margin=np.inf), ["'margin' is missing or infinite for 3,000"]),
        (
            UNITS.assign(margin=UNITS["margin"].astype("Int64").where(UNITS.index != 7)),
            ["1 of 3,000", "'c-7'"],
        ),
        (UNITS.assign(margin=UNITS["margin"].astype(str)), ["not numeric"]),
        (UNITS.replace({"variant": {"bold": "brave"}}), ["'brave'", "control, treatment, bold"]),
        (UNITS.assign(variant=UNITS["variant"].where(UNITS.index != 7)), ["is not in the design"]),
        (UNITS[UNITS["variant"] != "bold"], ["nobody was assigned variant 'bold'"]),
        (UNITS.iloc[:0], ["nobody was assigned variant 'control'"]),
        (UNITS.assign(unit_id=UNITS["unit_id"].where(UNITS.index != 7)), ["no unit_id"]),
        (
            pd.concat([UNITS, UNITS.iloc[:2].assign(variant=["treatment", "bold"])]),
            ["in two variants"],
        ),
        (pd.concat([UNITS, UNITS.iloc[[4, 4]]]), ["1 unit(s) have more than one row", "'c-4'"]),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(units, words):
    with pytest.raises(InvalidUnits) as caught:
        analyse(EXPERIMENT, units, ["margin"])
    message = str(caught.value)
    assert isinstance(caught.value, RegularsError)
    assert message.startswith("experiment 'winter-latte': ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_design_that_breaks_a_rule_is_refused():
    with pytest.raises(InvalidDesign, match="'placebo' is not a variant"):
        analyse(msgspec.structs.replace(EXPERIMENT, control="placebo"), UNITS, ["margin"])


def test_the_summary_reads_like_a_sentence():
    design = Experiment(
        "latte", "latte", [Variant("control", 0.5), Variant("treatment", 0.5)], "control"
    )
    units = pd.DataFrame(
        {
            "unit_id": [str(number) for number in range(120)],
            "variant": ["control", "treatment"] * 60,
            "margin": [100, 200, 110, 210, 90, 190, 100, 200] * 15,
            "visits": [1, 0, 2, 3, 1, 2, 2, 1] * 15,
        }
    )
    lines = summary_lines(analyse(design, units, ["margin", "visits"]), SHOW)
    # Source of the figures: scipy.stats.ttest_ind on the columns above, and the roots of
    # Fieller's definition found by scipy.optimize.brentq.
    assert lines == [
        "experiment latte: customers 60 in control, 60 in treatment",
        "sample ratio as planned (p 1, largest deviation 0.00% of a variant's plan)",
        "margin per customer, treatment 2.00 USD against control 1.00 USD: +1.00 USD "
        "(95 % interval +0.97 USD to +1.03 USD, p 1.3e-102, welch), +100.0% (+96.0% to +104.1%)",
        "visits per customer (exploratory, not in the plan), treatment 1.5 against control 1.5: 0 "
        "(95 % interval -0.3172 to +0.3172, p 1, welch), +0.0% (-20.5% to +22.0%); "
        "chance alone can explain this difference",
    ]


def test_money_is_what_the_caller_says_is_money():
    report = analyse(EXPERIMENT, UNITS, ["margin", "visits"])
    plain = summary_lines(report, SHOW, money_metrics=())
    assert not any("USD" in line for line in plain)
    both = summary_lines(report, SHOW, money_metrics=("margin", "visits"))
    assert all("USD" in line for line in both[2:])


def planned(**changed):
    return msgspec.structs.replace(EXPERIMENT, **changed)


def test_the_plan_says_the_method():
    every_look = analyse(planned(method="sequential"), UNITS, ["margin"])
    once = analyse(EXPERIMENT, UNITS, ["margin"]).metrics["margin"]["treatment"]
    always = every_look.metrics["margin"]["treatment"]
    assert (once.method, always.method) == ("welch", "always valid")
    assert always.high - always.low > 1.3 * (once.high - once.low)
    assert always.difference == pytest.approx(once.difference)
    assert any("always valid" in line for line in summary_lines(every_look, SHOW))


def test_a_group_sequential_plan_is_judged_at_its_looks_alone():
    looks = planned(method="obrien-fleming", stop=StopRule(days=28, looks=4))
    early = analyse(looks, UNITS, ["margin"]).metrics["margin"]["treatment"]
    assert (early.difference, early.p) == (None, None)
    assert "first has not come" in early.refused
    last = analyse(looks, UNITS, ["margin"], look=Look(4, 4, NOW)).metrics["margin"]["treatment"]
    assert last.method == "group sequential"
    assert last.low < last.difference < last.high


def test_large_values_are_capped_as_planned():
    # Source: numpy's quantile over all units together.
    wild = UNITS.assign(margin=UNITS["margin"].where(UNITS.index != 5, 10**9))
    cap = np.quantile(wild["margin"], 0.99)
    effect = analyse(planned(outlier_cap=0.99), wild, ["margin"]).metrics["margin"]["treatment"]
    capped = np.minimum(wild["margin"], cap)
    assert effect.mean == pytest.approx(capped[wild["variant"] == "treatment"].mean())


def test_the_primary_metric_is_adjusted_for_its_variants_alone():
    report = analyse(EXPERIMENT, UNITS, ["margin", "visits"])
    bold, treatment = (report.metrics["margin"][name] for name in ("bold", "treatment"))
    small, large = sorted((bold.p, treatment.p))
    # Source: Holm 1979, two comparisons.
    assert sorted((bold.p_adjusted, treatment.p_adjusted)) == pytest.approx(
        [min(1, 2 * small), max(large, min(1, 2 * small))]
    )

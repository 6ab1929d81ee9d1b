import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from experiments.aggregates import Aggregates, InvalidAggregates
from experiments.compare import (
    compare,
    compare_always,
    compare_at_look,
    compare_contrast,
    compare_proportions,
    moments_of,
)
from experiments.confidence_sequence import critical_value
from experiments.contrast import contrast
from experiments.metrics import (
    Column,
    InvalidMetric,
    Mean,
    Proportion,
    Quantile,
    Ratio,
    clustered,
    columns,
    figure_of,
    products,
    rows,
)
from experiments.near_normal import near_normal
from experiments.post_stratification import REST, merged_strata, post_stratified
from experiments.proportion import proportion_interval
from experiments.quantile import compare_quantiles
from experiments.randomisation import affordable_deals
from experiments.welch import difference
from foundation.errors import TooLittleData

N = 4_000
RNG = np.random.default_rng(4)
LEVEL = RNG.gamma(4, 0.25, N)
UNITS = pd.DataFrame(
    {
        "user": np.arange(N),
        "variant": np.tile(["control", "control", "treatment", "control"], N // 4),
        "visits": RNG.poisson(4 * LEVEL) + 1.0,
        "visits_before": RNG.poisson(4 * LEVEL) + 1.0,
        "household": np.arange(N) // 4 // 3 * 4 + np.tile([0, 1, 2, 3], N // 4),
        "segment": np.where(LEVEL > 1, "high", "low"),
    }
)
UNITS["spend"] = UNITS["visits"] * LEVEL * RNG.gamma(9, 1.0, N)
UNITS["spend_before"] = UNITS["visits_before"] * LEVEL * RNG.gamma(9, 1.0, N)
TREATED = (UNITS["variant"] == "treatment").to_numpy()

SPEND, VISITS = Column("spend"), Column("visits")
BEFORE = (Column("spend_before"), Column("visits_before"))
CASES = {
    "mean": (Mean(SPEND), tt.Mean("spend")),
    "cuped": (Mean(SPEND, Column("spend_before")), tt.Mean("spend", covariate="spend_before")),
    "ratio": (Ratio(SPEND, VISITS), tt.RatioOfMeans("spend", "visits")),
    "cuped ratio": (
        Ratio(SPEND, VISITS, BEFORE),
        tt.RatioOfMeans(
            "spend", "visits", numer_covariate="spend_before", denom_covariate="visits_before"
        ),
    ),
}


def arms(metric, units=UNITS, treated=TREATED):
    values = rows(metric, units)
    return Aggregates.from_rows(values[treated]), Aggregates.from_rows(values[~treated])


@pytest.mark.parametrize("name", CASES)
def test_tea_tasting_agrees_on_means_ratios_and_what_was_before(name):
    # Source: tea-tasting 1.14 on the same frame.
    metric, theirs = CASES[name]
    other = tt.Experiment(metric=theirs).analyze(UNITS, "control")["metric"]
    ours = difference(*moments_of(contrast(figure_of(metric), *arms(metric))))
    assert (ours.estimate, ours.low, ours.high, ours.p) == pytest.approx(
        (other.effect_size, other.effect_size_ci_lower, other.effect_size_ci_upper, other.pvalue),
        rel=1e-7,
    )


def test_what_was_before_narrows_the_interval():
    plain, adjusted = (contrast("mean", *arms(CASES[name][0])) for name in ("mean", "cuped"))
    assert float(adjusted.variance) < 0.8 * float(plain.variance)


def test_one_query_of_sums_says_the_same_as_the_rows():
    metrics = [case[0] for case in CASES.values()]
    asked = products(metrics)
    assert len(asked) == len(set(asked))
    frame = UNITS[TREATED]
    sums = {names: float(frame[list(names)].prod(axis=1).sum()) for names in asked}
    for metric in metrics:
        labels = [column.label for column in columns(metric)]
        ours, theirs = Aggregates.from_sums(labels, sums), arms(metric)[0]
        for part in ("n", "first", "second", "third"):
            assert np.allclose(getattr(ours, part), getattr(theirs, part), rtol=1e-9)


def test_a_missing_sum_is_no_number():
    with pytest.raises(InvalidAggregates, match=r"spend \* spend is None"):
        Aggregates.from_sums(["spend"], {(): 3.0, ("spend",): 1.0})
    with pytest.raises(InvalidAggregates, match="no unit"):
        Aggregates.from_sums(["spend"], {(): 0.0})
    with pytest.raises(InvalidAggregates, match="missing or infinite"):
        Aggregates.from_rows([[1.0], [np.nan]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_skewness_is_that_of_the_weighted_values(seed):
    values = np.random.default_rng(seed).gamma(1, 1, (50, 3))
    weights = np.array([1.0, -2.0, 0.5])
    ours = Aggregates.from_rows(values).skewness(weights)
    assert float(ours) == pytest.approx(stats.skew(values @ weights), rel=1e-6, abs=1e-9)


def test_many_contrasts_at_once_are_those_one_by_one():
    values = np.random.default_rng(1).gamma(2, 1, (5, 60, 4))
    left, right = Aggregates.from_rows(values[:, :20]), Aggregates.from_rows(values[:, 20:])
    many = contrast("ratio", left, right)
    for place in range(5):
        one = contrast(
            "ratio",
            Aggregates.from_rows(values[place, :20]),
            Aggregates.from_rows(values[place, 20:]),
        )
        for part in ("treatment", "control", "treatment_variance", "skewness"):
            assert getattr(many, part)[place] == pytest.approx(float(getattr(one, part)))


def test_segments_are_compared_at_once_each_with_its_own_coefficient():
    metric = CASES["cuped"][0]
    high = (UNITS["segment"] == "high").to_numpy()
    one = contrast("mean", *arms(metric, UNITS[high], TREATED[high]))
    values = rows(metric, UNITS)
    inside = [Aggregates.from_rows(values[high & t]) for t in (TREATED, ~TREATED)]
    assert float(contrast("mean", *inside).difference) == pytest.approx(float(one.difference))


def strata(metric):
    values = rows(metric, UNITS)
    found = []
    for treated in (TREATED, ~TREATED):
        parts = [
            Aggregates.from_rows(values[treated & (UNITS["segment"] == name)])
            for name in ("high", "low")
        ]
        found.append(
            Aggregates(
                *(
                    np.stack([getattr(part, field) for part in parts])
                    for field in ("n", "first", "second", "third")
                )
            )
        )
    return found


def test_strata_are_weighted_by_their_share_and_narrow_the_interval():
    # Closed form: sum of shares times the strata's differences, variances by squared shares.
    found = post_stratified("mean", *strata(Mean(SPEND)))
    expected = variance = 0.0
    for name in ("high", "low"):
        part = UNITS[UNITS["segment"] == name]
        share = len(part) / N
        a = part.loc[part["variant"] == "treatment", "spend"]
        b = part.loc[part["variant"] == "control", "spend"]
        expected += share * (a.mean() - b.mean())
        variance += share**2 * (a.var() / len(a) + b.var() / len(b))
    assert float(found.difference) == pytest.approx(expected)
    assert float(found.variance) == pytest.approx(variance)
    assert float(found.variance) < float(contrast("mean", *arms(Mean(SPEND))).variance)
    visits = post_stratified("mean", *strata(Mean(VISITS)))
    assert compare_contrast(visits).difference == pytest.approx(float(visits.difference))
    assert "too skewed" in str(compare_contrast(found).refused)


def test_a_post_stratified_ratio_is_that_of_weighted_means_with_its_spread_by_simulation():
    """Source: simulation with known truth; the variants differ by nothing but luck."""
    rng = np.random.default_rng(5)
    found, plain, inside = [], [], 0
    for _ in range(300):
        level = rng.integers(1, 4, 800)
        visits = rng.poisson(3 * level) + 1.0
        spend = visits * rng.gamma(9.0, level / 9)
        treated = rng.permuted(np.arange(800) % 2 == 1)
        cells = [
            Aggregates.stacked(
                [
                    Aggregates.from_rows(
                        np.column_stack([spend, visits])[(treated == arm) & (level == one)]
                    )
                    for one in (1, 2, 3)
                ]
            )
            for arm in (True, False)
        ]
        told = post_stratified("ratio", *cells)
        found.append(float(told.difference))
        plain.append(float(contrast("ratio", *(one.total() for one in cells)).difference))
        variance = float(told.variance)
        inside += abs(found[-1]) < 1.96 * np.sqrt(variance)
    assert np.std(found) == pytest.approx(np.sqrt(variance), rel=0.15)
    assert np.std(found) < 0.8 * np.std(plain)
    # 95 % less three standard errors of 300.
    assert inside > 0.912 * 300


def test_looks_take_strata_as_well():
    cells = strata(Mean(VISITS))
    for told in (
        compare_always("mean", *cells, N),
        compare_at_look("mean", *cells, 2, 2, "pocock"),
    ):
        assert told.method.endswith(", post-stratified")
        assert told.difference == pytest.approx(float(post_stratified("mean", *cells).difference))


def test_small_strata_are_merged_by_their_sizes():
    counts = {
        "a": {"on": 90, "off": 80}, "b": {"on": 30, "off": 25}, "c": {"on": 15, "off": 24},
        "d": {"on": 6, "off": 9},
    }  # fmt: skip
    assert merged_strata(counts, ["on", "off"]) == {"a": "a", "b": "b", "c": REST, "d": REST}
    # Too few even together: the smallest of the large takes them in.
    del counts["c"]
    assert merged_strata(counts, ["on", "off"]) == {"a": "a", "b": REST, "d": REST}
    assert merged_strata({"a": counts["a"]}, ["on", "off"]) == {"a": "a"}


@given(st.integers(0, 2**32 - 1))
def test_how_a_stratum_was_split_does_not_count(seed):
    rng = np.random.default_rng(seed)
    stratum = np.repeat(np.arange(15), rng.integers(30, 70, 15))
    found = []
    for _ in range(2):
        treated = rng.permuted(np.arange(len(stratum)) % 2 == 1)
        found.append(
            merged_strata(
                {
                    str(one): {
                        "on": int(treated[stratum == one].sum()),
                        "off": int((~treated)[stratum == one].sum()),
                    }
                    for one in range(15)
                },
                ["on", "off"],
            )
        )
    assert found[0] == found[1]


def test_many_small_strata_of_strong_levels_keep_their_error():
    # Simulation without effect: 5 % of 500, within four standard errors.
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(500):
        stratum = rng.integers(0, 15, 800)
        spend = (rng.normal(0, 1, 800) + stratum)[:, None]
        arms_of = (np.arange(800) < 400, np.arange(800) >= 400)
        counts = {
            str(one): dict(
                zip("tc", (int((stratum[arm] == one).sum()) for arm in arms_of), strict=True)
            )
            for one in range(15)
        }
        merged = merged_strata(counts, ["t", "c"])
        called = np.array([merged[str(one)] for one in range(15)])[stratum]
        cells = [
            Aggregates.stacked(
                [
                    Aggregates.from_rows(spend[arm & (called == one)])
                    for one in dict.fromkeys(merged.values())
                ]
            )
            for arm in arms_of
        ]
        rejected += compare("mean", *cells).p <= 0.05
    assert rejected <= 45


def test_a_stratum_nobody_is_in_is_refused():
    one, other = strata(Mean(SPEND))
    empty = Aggregates(one.n * [1, 0], one.first, one.second, one.third)
    with pytest.raises(TooLittleData, match="stratum 2 of 2 has 0"):
        post_stratified("mean", empty, other)


def test_cluster_errors_are_those_of_statsmodels():
    # Independent: least squares on a treatment dummy with cluster-robust errors (CR0); a variant's
    # factor n / (n - 1) clusters is the only difference.
    values = rows(Mean(SPEND), UNITS)
    treated, control = (
        Aggregates.from_rows(
            clustered(Mean(SPEND), values[part], UNITS["household"].to_numpy()[part])
        )
        for part in (TREATED, ~TREATED)
    )
    found = contrast("ratio", treated, control)
    fit = OLS(UNITS["spend"], np.column_stack([np.ones(N), TREATED])).fit(
        cov_type="cluster",
        cov_kwds={"groups": UNITS["household"], "use_correction": False},
    )
    assert float(found.difference) == pytest.approx(fit.params.iloc[1])
    assert float(np.sqrt(found.variance)) == pytest.approx(fit.bse.iloc[1], rel=0.002)


def test_a_capped_column_is_winsorised_and_has_sums_of_its_own():
    metric = Mean(Column("spend", cap=20.0))
    assert rows(metric, UNITS).max() == 20
    assert ("least(spend, 20.0)",) in products([metric])
    assert ("spend",) not in products([metric])


def test_quantiles_ask_for_no_sums_and_proportions_for_one():
    assert products([Quantile(SPEND, 0.5)]) == [()]
    assert products([Proportion(Column("redeemed"))]) == [(), ("redeemed",)]


@pytest.mark.parametrize(
    ("metric", "units", "words"),
    [
        (Mean(Column("margin")), UNITS, "column 'margin' is missing"),
        (Mean(SPEND), UNITS.assign(spend=UNITS["spend"].where(UNITS.index > 0)), "for 1 of 4,000"),
        (Proportion(VISITS), UNITS, "other than 0 and 1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(metric, units, words):
    with pytest.raises(InvalidMetric, match=words):
        rows(metric, units)


def test_a_quantile_lies_between_0_and_1():
    with pytest.raises(InvalidMetric, match="between 0 and 1"):
        Quantile(SPEND, 1.0)


def spend_of_few(n, seed, share=0.05):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < share, rng.lognormal(3, 1, n), 0.0)[:, None]


def test_few_buyers_at_a_lopsided_split_are_refused_without_units_and_dealt_with_them():
    a, b = spend_of_few(500, 1), spend_of_few(9_500, 2)
    sums = Aggregates.from_rows(a), Aggregates.from_rows(b)
    refused = compare("mean", *sums)
    assert refused.difference is None
    assert refused.refused is not None
    assert "too skewed" in refused.refused
    dealt = compare("mean", *sums, units=(a, b))
    assert dealt.method == "randomisation"
    assert dealt.p is not None
    assert dealt.low is not None
    assert dealt.high is not None
    assert (dealt.p <= 0.05) == (not dealt.low <= 0 <= dealt.high)
    # Skewed to the right: chance deals low small variants further out, so the bound above is wider.
    assert dealt.high - dealt.difference > dealt.difference - dealt.low
    assert compare("mean", *sums, units=(a, b)) == dealt


def test_a_handful_of_buyers_is_refused_even_with_units():
    a, b = spend_of_few(25, 1), spend_of_few(475, 2)
    sums = Aggregates.from_rows(a), Aggregates.from_rows(b)
    effect = compare("mean", *sums, units=(a, b))
    assert effect.refused is not None
    assert "repeat too often" in effect.refused


def test_whether_a_comparison_is_refused_does_not_depend_on_which_variant_is_better():
    a, b = spend_of_few(100, 5), spend_of_few(400, 6)
    pooled = np.concatenate([a, b])
    rng = np.random.default_rng(0)
    told = set()
    for _ in range(10):
        dealt = pooled[rng.permutation(500)]
        units = dealt[:100], dealt[100:]
        effect = compare("mean", *map(Aggregates.from_rows, units), units=units)
        told.add((effect.method, effect.refused is None))
    assert len(told) == 1


def test_the_rule_of_near_normal_tails():
    assert not near_normal(15.0, 500, 9_500)
    assert not near_normal(15.0, 1_000, 1_000)
    assert near_normal(15.0, 20_000, 20_000)
    assert near_normal(0.0, 40, 400)
    assert not near_normal(0.0, 39, 4_000)
    assert not near_normal(float("nan"), 4_000, 4_000)
    assert not near_normal(2.0, 500, 9_500)
    assert near_normal(2.0, 5_000, 95_000)


def test_an_always_valid_interval_is_the_sequence_around_the_difference():
    sums = arms(Mean(VISITS))
    effect = compare_always("mean", *sums, planned_n=N)
    found = contrast("mean", *sums)
    reach = float(critical_value(N, N)) * float(np.sqrt(found.variance))
    assert effect.method == "always valid"
    assert effect.high is not None
    assert effect.high - effect.difference == pytest.approx(reach)
    assert compare_always("mean", *arms(Mean(SPEND)), planned_n=N).refused is not None


def test_equal_values_and_empty_denominators_are_refused():
    same = Aggregates.from_rows(np.full((50, 1), 3.0))
    assert "same value" in str(compare("mean", same, same).refused)
    nothing = Aggregates.from_rows(np.zeros((50, 2)))
    assert "nothing to divide by" in str(compare("ratio", nothing, nothing).refused)


@pytest.mark.parametrize("denominator", [-1.0, "around zero"])
def test_a_denominator_that_is_not_surely_above_zero_is_refused(denominator):
    # Divided by what cancels to next to nothing, chance alone makes any ratio.
    rng = np.random.default_rng(1)
    spend = rng.gamma(4, 3, (2, 500))
    below = rng.choice([-1.0, 1.001], (2, 500)) if isinstance(denominator, str) else -1.0
    t, c = (
        np.column_stack([s, d])
        for s, d in zip(spend, np.broadcast_to(below, (2, 500)), strict=True)
    )
    sums = Aggregates.from_rows(t), Aggregates.from_rows(c)
    for effect in (
        compare("ratio", *sums, units=(t, c)),
        compare_always("ratio", *sums, planned_n=1_000),
        compare_at_look("ratio", *sums, 1, 1, "pocock"),
    ):
        assert effect.p is None
        assert "not surely above 0" in effect.refused


def test_proportions_agree_with_their_p_value_and_are_refused_where_counts_are_few():
    effect = compare_proportions(60, 500, 800, 9_500)
    assert effect.method == "score"
    assert effect.p is not None
    assert effect.low is not None
    assert (effect.p <= 0.05) == (effect.low > 0)
    few = compare_proportions(1, 25, 30, 475)
    assert few.difference is None
    assert "a share needs 8 of both" in str(few.refused)


METHODS = {
    "welch": lambda t, c: compare("mean", *map(Aggregates.from_rows, (t, c))),
    "always valid": lambda t, c: compare_always(
        "mean", *map(Aggregates.from_rows, (t, c)), planned_n=1_000
    ),
    "group sequential": lambda t, c: compare_at_look(
        "mean", *map(Aggregates.from_rows, (t, c)), 1, 4, "obrien_fleming"
    ),
    "randomisation": lambda t, c: compare("mean", *map(Aggregates.from_rows, (t, c)), units=(t, c)),
    "score": lambda t, c: compare_proportions((t > 12).sum(), len(t), (c > 12).sum(), len(c)),
    "order statistics": lambda t, c: compare_quantiles(t[:, 0], c[:, 0], 0.5),
}


@pytest.mark.parametrize("method", METHODS)
def test_both_scales_agree_about_zero_whatever_the_method(method):
    # Nobody may read +.1 % to +13 % where the difference may be none. Gains from none to plenty are
    # tried in steps finer than the gap between Student's reach and the method's own.
    rng = np.random.default_rng(4)
    n = {"randomisation": (30, 60), "order statistics": (10_000, 10_000)}.get(method, (900, 900))
    treatment, control = (rng.gamma(4, 3, (size, 1)) for size in n)
    agree = []
    for gain in np.linspace(-0.1, 0.6, 15):
        effect = METHODS[method](treatment * (1 + gain), control)
        assert effect.method == method
        for end, share in ((effect.low, effect.relative_low), (effect.high, effect.relative_high)):
            agree.append(share is None or (end > 0) == (share > 0))
        assert effect.standard_error > 0
    assert all(agree)


def test_a_relative_interval_keeps_the_methods_own_width():
    # Where the control's mean is nearly known, it is the difference's over that mean.
    rng = np.random.default_rng(4)
    treatment, control = rng.gamma(4, 3, (5_000, 1)), 12 + rng.normal(0, 0.01, (9_000, 1))
    effect = METHODS["always valid"](treatment, control)
    assert effect.relative_low == pytest.approx(effect.low / effect.control_mean, rel=1e-3)
    assert effect.relative_high == pytest.approx(effect.high / effect.control_mean, rel=1e-3)


def test_nobody_against_everybody_has_its_interval_and_no_ratio():
    # Source: the score interval alone; Fieller has no spread to go by.
    low, high = proportion_interval(25, 25, 0, 25)
    effect = compare_proportions(25, 25, 0, 25)
    assert (effect.difference, effect.low, effect.high) == (1, low, high)
    assert effect.relative is None
    other = compare_proportions(0, 25, 25, 25)
    assert (other.relative, other.relative_low, other.relative_high) == (-1, None, None)


def test_a_planned_look_reaches_as_far_as_its_boundary():
    # Source: Lan and DeMets 1983, O'Brien-Fleming, two-sided .05, five looks: 4.8769, 3.3570, ...
    sums = arms(Mean(VISITS))
    found = contrast("mean", *sums)
    error = float(np.sqrt(found.variance))
    for look, bound in ((1, 4.8769), (2, 3.3570), (5, 2.0310)):
        effect = compare_at_look("mean", *sums, look, 5, "obrien_fleming")
        assert (effect.high - effect.low) / 2 / error == pytest.approx(bound, abs=1e-4)
        assert effect.method == "group sequential"
        assert (effect.p <= 0.05) == (effect.low > 0 or effect.high < 0)


def test_one_look_is_the_normal_test():
    sums = arms(Mean(VISITS))
    found = contrast("mean", *sums)
    z = float(found.difference / np.sqrt(found.variance))
    effect = compare_at_look("mean", *sums, 1, 1, "pocock")
    assert effect.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-3)


def test_sums_from_another_origin_say_the_same():
    values = rows(CASES["cuped ratio"][0], UNITS)
    for figure, columns_taken in (("mean", 2), ("ratio", 3), ("ratio", 4)):
        taken = values[:, :columns_taken]
        plain = [Aggregates.from_rows(taken[part]) for part in (TREATED, ~TREATED)]
        moved = [Aggregates.from_rows(taken[part], taken[7]) for part in (TREATED, ~TREATED)]
        here, there = contrast(figure, *plain), contrast(figure, *moved)
        for part in ("difference", "variance", "skewness", "control"):
            assert float(getattr(here, part)) == pytest.approx(float(getattr(there, part)))
    with pytest.raises(InvalidAggregates, match="one origin"):
        plain[0] + moved[1]


def test_a_covariate_that_is_the_metric_leaves_nothing_to_judge():
    values = np.column_stack([UNITS["spend"], UNITS["spend"]])
    effect = compare(
        "mean", Aggregates.from_rows(values[TREATED]), Aggregates.from_rows(values[~TREATED])
    )
    assert effect.p is None


def test_many_units_are_dealt_less_often():
    some = np.ones((1_000, 1))
    assert affordable_deals(some, some) == 9_999
    many = np.ones((200_000, 1))
    assert affordable_deals(many, many) == 1_999
    # Idle units cost nothing.
    many[:190_000] = 0
    assert affordable_deals(many, many) == 9_999


def test_a_ratio_of_before_that_may_be_zero_adjusts_nothing_whatever_judges():
    # Nobody bought before: the covariate is nothing over nothing.
    rng = np.random.default_rng(8)
    for scale in (0.3, 2.5):
        visits = rng.poisson(3.0, (2, 300)) + 1.0
        spend = visits * rng.lognormal(2.0, scale, (2, 300))
        now = [np.column_stack(arm) for arm in zip(spend, visits, strict=True)]
        both = [np.column_stack([arm, np.zeros((300, 2))]) for arm in now]
        told = compare("ratio", *map(Aggregates.from_rows, both), tuple(both))
        plain = compare("ratio", *map(Aggregates.from_rows, now), tuple(now))
        assert told.method == plain.method == ("welch" if scale < 1 else "randomisation")
        assert told.difference == pytest.approx(plain.difference)
        # Other columns are dealt by another seed.
        within = 1e-9 if scale < 1 else 0.05
        assert (told.low, told.high) == pytest.approx((plain.low, plain.high), rel=within)


@given(st.integers(0, 2**32 - 1))
def test_whether_a_ratio_is_refused_does_not_depend_on_how_many_visits_a_variant_got(seed):
    rng = np.random.default_rng(3)
    visits = rng.geometric(0.3, 1_000) * (rng.random(1_000) < 0.1)
    pooled = np.column_stack([rng.normal(10, 1, 1_000), visits])
    few = np.argsort(visits)
    found = []
    # Also dealt as unevenly as can be: the small variant has nobody with many visits.
    for order in (few, few[::-1], np.random.default_rng(seed).permutation(1_000)):
        sums = [Aggregates.from_rows(pooled[part]) for part in (order[:200], order[200:])]
        told = compare("ratio", *sums)
        found.append(
            "nothing to divide" in str(told.refused) or "denominator's" in str(told.refused)
        )
    assert found == [True] * 3


def test_a_ratio_bends_its_own_tails_and_is_no_longer_called_normal_there():
    # Simulation without effect: spend does not go with visits, 50 of 1,000 customers are treated.
    # First term of Edgeworth by hand: one unit's part is spend - 10 visits, of variance 1 + 9, its
    # covariance with visits -.9, so the bend -.9 / sqrt(10) = -.2846; times -2.6546 and
    # (1/50 - 1/950) / sqrt(1/50 + 1/950) it skews by .0986, and a tail of 2.5 % moves by
    # (2 * 1.96**2 + 1) / 6 * phi(1.96) * .0986 = .83 %.
    rng = np.random.default_rng(9)
    drawn = np.stack(
        [rng.normal(10, 1, (3_000, 1_000)), rng.normal(1, 0.3, (3_000, 1_000))], axis=-1
    )
    found = contrast(
        "ratio", Aggregates.from_rows(drawn[:, :50]), Aggregates.from_rows(drawn[:, 50:])
    )
    t = found.difference / np.sqrt(found.variance)
    assert np.mean(t < -1.96) == pytest.approx(0.0333, abs=0.009)
    assert np.mean(t > 1.96) == pytest.approx(0.0167, abs=0.009)
    assert found.bend.mean() == pytest.approx(-0.2846, abs=0.005)
    assert near_normal(found.skewness, 50, 950).mean() > 0.9
    assert not near_normal(found.skewness, 50, 950, found.bend).any()
    # Halves bend both ways.
    assert near_normal(0.0, 500, 500, -0.2846)


def test_a_ratio_to_what_may_be_negative_is_refused_clearly():
    rng = np.random.default_rng(9)
    rows = [np.column_stack([rng.normal(5, 1, 400), rng.normal(0.02, 1, 400)]) for _ in range(2)]
    refused = compare("ratio", *map(Aggregates.from_rows, rows), tuple(rows)).refused
    assert "not surely above 0" in str(refused)
    nothing = [np.column_stack([rows[0][:, 0], np.zeros(400)])] * 2
    refused = compare("ratio", *map(Aggregates.from_rows, nothing), tuple(nothing)).refused
    assert "nothing to divide by" in str(refused)

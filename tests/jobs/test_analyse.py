"""Is any file analysed rightly, and does a nasty one get a statement instead of a number?"""

import json

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adapters.unit_file import UnitFile
from experiments.analysis import analysis_lines
from experiments.metrics import Column, Mean, clustered, rows
from foundation.errors import RegularsError
from regulars.jobs.analyse import analyse_file

N = 4_000
RNG = np.random.default_rng(5)
LEVEL = RNG.gamma(9, 1 / 9, N)
UNITS = pd.DataFrame(
    {
        "customer_id": [f"c-{number}" for number in range(N)],
        "group": np.tile(["control", "offers"], N // 2),
        "before": LEVEL * RNG.gamma(9, 1.0, N),
        "visits": RNG.poisson(4 * LEVEL) + 1,
        "bought": (RNG.random(N) < 0.3),
        "store": np.arange(N) // 2 % 100 * 2 + np.tile([0, 1], N // 2),
    }
)
UNITS["spend"] = LEVEL * RNG.gamma(9, 1.0, N) + (UNITS["group"] == "offers") * 0.4


@pytest.fixture
def analyse(tmp_path):
    def analysed(units, *metrics, kind="csv", variant="group", control="control", **more):
        path = tmp_path / f"units.{kind}"
        units.to_csv(path, index=False) if kind == "csv" else units.to_parquet(path)
        return analyse_file(path, variant, metrics or ("spend",), control, **more)

    return analysed


def figures(effect):
    return (effect.difference, effect.low, effect.high, effect.p)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("metric", "more", "theirs"),
    [
        ("spend", {}, tt.Mean("spend")),
        ("spend", {"covariate": "before"}, tt.Mean("spend", covariate="before")),
        ("spend:ratio", {"denominator": "visits"}, tt.RatioOfMeans("spend", "visits")),
    ],
)
def test_tea_tasting_agrees_on_a_file(analyse, kind, metric, more, theirs):
    # Source: tea-tasting 1.14 on the same frame.
    other = tt.Experiment({"spend": theirs}, "group").analyze(UNITS, "control")["spend"]
    effect = analyse(UNITS, metric, kind=kind, **more).metrics["spend"]["offers"]
    assert figures(effect) == pytest.approx(
        (other.effect_size, other.effect_size_ci_lower, other.effect_size_ci_upper, other.pvalue),
        rel=1e-6,
    )
    assert effect.method == ("welch, adjusted" if "covariate" in more else "welch")


def test_a_covariate_that_does_nothing_is_told(analyse):
    found = analyse(UNITS.assign(before=1.0), "spend", "visits:median", covariate="before")
    assert found.metrics["spend"]["offers"].method == "welch"
    told = found.health.warnings
    assert "before tells nothing of spend in offers, so it is not adjusted: does it vary?" in told
    assert any("before adjusts no quantile, so visits" in one for one in told)
    plain = analyse(UNITS, "spend", covariate="before")
    assert not any("before" in one for one in plain.health.warnings)
    skewed = UNITS.assign(spend=UNITS["spend"] ** 4, before=UNITS["before"] ** 4)
    effect = analyse(skewed, covariate="before").metrics["spend"]["offers"]
    assert effect.method == "randomisation, adjusted"


def test_a_large_file_says_the_same_to_the_last_digit_each_time(tmp_path):
    rng = np.random.default_rng(2)
    units = pd.DataFrame({"group": rng.choice(["a", "b"], 600_000)})
    for name in ("spend", "before", "visits"):
        units[name] = rng.gamma(2, 5, 600_000)
    path = tmp_path / "units.parquet"
    units.to_parquet(path)
    found = [analyse_file(path, "group", ["spend", "visits"], "a", "before") for _ in range(4)]
    assert all(one == found[0] for one in found)


def test_a_ratio_adjusted_by_one_column_is_that_of_its_linearised_values(analyse):
    # Source: Deng et al. 2018: units' parts in the ratio, regressed on the covariate by hand.
    effect = analyse(UNITS, "spend:ratio", denominator="visits", covariate="before").metrics
    ratio = UNITS["spend"].mean() / UNITS["visits"].mean()
    part = (UNITS["spend"] - ratio * UNITS["visits"]) / UNITS["visits"].mean()
    slope = np.cov(part, UNITS["before"])[0, 1] / UNITS["before"].var()
    arms = [
        (group["spend"].mean() / group["visits"].mean() - slope * group["before"].mean())
        for _, group in UNITS.groupby("group")
    ]
    assert effect["spend"]["offers"].difference == pytest.approx(arms[1] - arms[0], rel=1e-9)
    plain = analyse(UNITS, "spend:ratio", denominator="visits").metrics["spend"]["offers"]
    assert plain.high - plain.low > effect["spend"]["offers"].high - effect["spend"]["offers"].low


def test_a_hand_example(analyse):
    # 60 units a variant of 1, 2, 3 and of 2, 3, 4: means 2 and 3, variances 40/59, so the standard
    # error is sqrt(2 * 40 / 59 / 60) = .15033; Student's quantile of 118 degrees is 1.98027.
    units = pd.DataFrame({"group": ["control", "offers"] * 60, "spend": 0})
    units["spend"] = np.repeat([1, 2, 3] * 20, 2) + (units["group"] == "offers")
    effect = analyse(units).metrics["spend"]["offers"]
    assert (effect.mean, effect.control_mean, effect.difference) == pytest.approx((3, 2, 1))
    assert (effect.low, effect.high) == pytest.approx((0.70231, 1.29769), abs=1e-5)
    assert effect.relative == pytest.approx(0.5)


def test_every_kind_has_its_own_method(analyse):
    found = analyse(
        UNITS, "bought:proportion", "spend:median", "spend:winsorised95", weights=None
    ).metrics
    methods = {name: by_variant["offers"].method for name, by_variant in found.items()}
    assert methods == {
        "bought": "score",
        "spend:median": "randomisation",
        "spend:winsorised95": "welch",
    }
    capped = np.minimum(UNITS["spend"], np.quantile(UNITS["spend"], 0.95))
    arms = [capped[UNITS["group"] == name] for name in ("offers", "control")]
    theirs = stats.ttest_ind(*arms, equal_var=False)
    effect = found["spend:winsorised95"]["offers"]
    assert (effect.difference, effect.p) == pytest.approx(
        (arms[0].mean() - arms[1].mean(), theirs.pvalue), rel=1e-9
    )


def test_p_values_are_adjusted_for_all_comparisons(analyse):
    # Source: Holm 1979 by hand: the smaller of two p-values doubled, the larger at least as much.
    found = analyse(UNITS, "spend", "visits")
    p = [found.metrics[name]["offers"].p for name in ("spend", "visits")]
    small, large = sorted(p)
    wanted = {small: min(2 * small, 1), large: max(large, min(2 * small, 1))}
    for name in ("spend", "visits"):
        effect = found.metrics[name]["offers"]
        assert effect.p_adjusted == pytest.approx(wanted[effect.p])
    assert found.correction == "holm"


def test_clusters_are_judged_by_their_sums(analyse):
    # Source: the same sums by pandas; tea-tasting 1.14 on one row a store.
    stores = UNITS.groupby(["group", "store"], as_index=False).agg(
        spend=("spend", "sum"), size=("spend", "size")
    )
    theirs = tt.Experiment({"spend": tt.RatioOfMeans("spend", "size")}, "group")
    other = theirs.analyze(stores, "control")["spend"]
    found = analyse(UNITS, "spend", cluster="store")
    assert found.units == {"control": 100, "offers": 100}
    assert figures(found.metrics["spend"]["offers"]) == pytest.approx(
        (other.effect_size, other.effect_size_ci_lower, other.effect_size_ci_upper, other.pvalue),
        rel=1e-6,
    )
    by_hand = clustered(
        Mean(Column("spend")),
        rows(Mean(Column("spend")), UNITS),
        UNITS["store"].to_numpy(),
    )
    assert len(by_hand) == 200


def test_a_quantile_of_clusters_is_refused_alone(analyse):
    found = analyse(UNITS, "spend", "visits:median", "bought:proportion", cluster="store").metrics
    assert found["spend"]["offers"].p is not None
    assert "where whole clusters were assigned" in found["visits"]["offers"].refused
    alone = analyse(UNITS, "spend:median", cluster="store").metrics["spend"]["offers"]
    assert (alone.p, alone.difference) == (None, None)
    assert "whole clusters" in alone.refused


def test_one_customer_who_holds_much_of_the_total_is_told(analyse):
    # She has a third of her variant's total: 10,000 of some 2,000 * 9 + 10,000.
    whale = UNITS.assign(spend=UNITS["spend"].where(UNITS.index > 0, 10_000))
    for more in ({}, {"cluster": "store"}):
        warnings = analyse(whale, **more).health.warnings
        assert sum("one unit holds" in one for one in warnings) == 1
        (told,) = [one for one in warnings if "one unit holds" in one]
        assert "of all spend in control" in told
        assert "winsorised99" in told
    assert not any("holds" in one for one in analyse(UNITS).health.warnings)
    capped = analyse(whale, "spend:winsorised99").health.warnings
    assert not any("holds" in one for one in capped)


def test_few_clusters_are_judged_by_chance_alone(analyse):
    few = UNITS.assign(store=UNITS["store"] // 2 % 10 * 2 + UNITS["store"] % 2)
    effect = analyse(few, "spend", cluster="store").metrics["spend"]["offers"]
    assert effect.method == "randomisation"
    fewer = UNITS.assign(store=UNITS["store"] // 2 % 2 * 2 + UNITS["store"] % 2)
    effect = analyse(fewer, "spend", cluster="store").metrics["spend"]["offers"]
    assert effect.p is None
    assert "too few" in str(effect.refused)


def test_skewed_spend_at_a_lopsided_split_is_never_welchs(analyse):
    n = 10_000
    rng = np.random.default_rng(1)
    spend = np.where(rng.random(n) < 0.05, rng.lognormal(3, 1, n), 0)
    lopsided = pd.DataFrame({"group": np.where(np.arange(n) < 500, "offers", "control")})
    effect = analyse(
        lopsided.assign(spend=spend), weights={"control": 0.95, "offers": 0.05}
    ).metrics["spend"]["offers"]
    assert effect.method == "randomisation"
    assert effect.low < effect.difference < effect.high


def test_tied_quantiles_are_refused_and_the_rest_stands(analyse):
    tied = UNITS.assign(price=np.round(UNITS["spend"] / 10) * 10)
    found = analyse(tied, "price:median", "spend").metrics
    assert "cannot be told apart" in found["price"]["offers"].refused
    assert found["price"]["offers"].p is None
    assert found["spend"]["offers"].p is not None


@pytest.mark.parametrize("offset", [0.1, 1e6 + 0.1])
def test_a_metric_that_never_varies_is_refused_whatever_its_digits(analyse, offset):
    constant = UNITS.assign(fee=offset, own=np.where(UNITS["group"] == "offers", 0.3, 0.1))
    for by_variant in analyse(constant, "fee", "own").metrics.values():
        assert "same value" in by_variant["offers"].refused
        assert by_variant["offers"].difference is None


def test_large_values_lose_no_digits(analyse):
    # Welch's figures do not depend on where values start; squares of 1e9 would.
    low, high = (
        figures(
            analyse(UNITS.assign(spend=(UNITS["spend"] + start).round(6))).metrics["spend"][
                "offers"
            ]
        )
        for start in (0, 1e9)
    )
    assert high == pytest.approx(low, rel=1e-4)


def test_a_variant_of_one_is_refused_on_every_metric(analyse):
    first = UNITS.index[UNITS["group"] == "offers"][0]
    one = UNITS[(UNITS["group"] == "control") | (UNITS.index == first)]
    found = analyse(one, "spend", "bought:proportion", "spend:median").metrics
    for by_variant in found.values():
        assert by_variant["offers"].p is None
        assert by_variant["offers"].refused


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("names", "control"),
    [
        ((0, 1), "0"),
        ((0.0, np.nan), "0"),
        ((False, True), "False"),
        ((False, True), "FALSE"),
        (("a,b", 'q"x'), "a,b"),
    ],
)
def test_variants_may_be_of_any_type(analyse, kind, names, control):
    units = UNITS.assign(
        arm=UNITS["group"].map(dict(zip(("control", "offers"), names, strict=True)))
    )
    if names[1] != names[1]:
        with pytest.raises(RegularsError, match=r"every unit is in|control '0' is no variant"):
            analyse(units, variant="arm", control=control, kind=kind)
        return
    found = analyse(units, variant="arm", control=control, kind=kind)
    assert sum(found.units.values()) == N
    theirs = analyse(UNITS, kind=kind).metrics["spend"]["offers"]
    (effect,) = found.metrics["spend"].values()
    assert figures(effect) == pytest.approx(figures(theirs))


def test_names_of_columns_may_be_any(analyse):
    odd = {"spend": 'spend "net"; DROP TABLE units', "group": "variant", "before": "number x"}
    found = analyse(
        UNITS.rename(columns=odd), odd["spend"], variant="variant", covariate="number x"
    )
    plain = analyse(UNITS, covariate="before")
    (effect,) = (by_variant["offers"] for by_variant in found.metrics.values())
    assert figures(effect) == pytest.approx(figures(plain.metrics["spend"]["offers"]))


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_and_names_of_variants_change_nothing(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("order")
    rng = np.random.default_rng(3)
    units = UNITS.iloc[:1_000].assign(
        group=np.where(np.arange(1_000) % 10, "control", "offers"),
        spend=np.where(rng.random(1_000) < 0.2, UNITS["spend"][:1_000], 0),
        mood=rng.normal(size=1_000),
    )
    renamed = units.assign(group=units["group"].map({"control": "z", "offers": "a"}))
    shuffled = renamed.sample(frac=1, random_state=seed)
    answers = []
    for place, (frame, control) in enumerate(((units, "control"), (shuffled, "z"))):
        path = folder / f"{place}.csv"
        frame.to_csv(path, index=False)
        asked = ("spend", "before:p90", "mood", "bought:proportion")
        found = analyse_file(path, "group", asked, control)
        answers.append({name: next(iter(one.values())) for name, one in found.metrics.items()})
    here, there = answers
    for name, effect in here.items():
        assert effect.method == there[name].method
        assert figures(effect) == pytest.approx(figures(there[name]), rel=1e-6)
    assert {effect.method for effect in here.values()} == {"randomisation", "welch", "score"}


class TestHealth:
    def test_of_a_broken_split_shows_why_and_no_metric(self, analyse):
        lost = UNITS[(UNITS["group"] == "control") | (np.arange(N) % 3 > 0)]
        found = analyse(lost, weights={"control": 0.5, "offers": 0.5})
        assert found.sample_ratio.p < 1e-9
        assert found.sample_ratio.deviation > 0.1
        assert not found.health.healthy
        assert "sample ratio broken" in found.health.reason
        assert found.metrics == {}

    def test_without_weights_does_not_judge_the_split(self, analyse):
        lost = UNITS[(UNITS["group"] == "control") | (np.arange(N) % 3 > 0)]
        found = analyse(lost)
        assert found.health.healthy
        assert "not judged" in found.health.warnings[0]
        assert found.metrics["spend"]["offers"].p is not None

    def test_of_a_customer_in_two_variants_names_her(self, analyse):
        torn = pd.concat([UNITS, UNITS.iloc[[0]].assign(group="offers")])
        found = analyse(torn)
        assert "'c-0'" in found.health.reason
        assert (found.health.healthy, found.metrics) == (False, {})

    @pytest.mark.parametrize("name", ["CustomerID", "Customer Id", "USER", "user_id", "unit-id"])
    def test_finds_the_units_whatever_case_their_column_is_in(self, analyse, name):
        units = UNITS.rename(columns={"customer_id": name})
        assert not [one for one in analyse(units).health.warnings if "duplicates" in one]
        with pytest.raises(RegularsError, match="4,000 units have more than one row"):
            analyse(pd.concat([units] * 3))
        torn = pd.concat([units, units.iloc[[0]].assign(group="offers")])
        assert f"of column {name!r}" in analyse(torn).health.reason
        assert "'c-0'" in analyse(torn).health.reason

    @pytest.mark.parametrize("name", ["unit", "ID", "household_id"])
    def test_takes_a_column_that_may_be_the_units_only_where_its_values_differ(self, analyse, name):
        units = UNITS.rename(columns={"customer_id": name})
        torn = pd.concat([units, units.iloc[[0]].assign(group="offers")])
        assert f"1 of column {name!r} are in two variants" in analyse(torn).health.reason
        for values in ("EUR", np.arange(N) // 3):
            found = analyse(units.assign(**{name: values}))
            assert found.health.healthy
            assert found.metrics["spend"]["offers"].p is not None
            assert any(f"column {name!r} has" in one for one in found.health.warnings)
            assert any("duplicates" in one for one in found.health.warnings)

    def test_counts_units_that_repeat_inside_their_clusters(self, analyse):
        again = pd.concat([UNITS, UNITS.iloc[:600]])
        warnings = analyse(again, cluster="store").health.warnings
        assert any("600 units of column 'customer_id' have several rows" in one for one in warnings)
        assert not any("several rows" in o for o in analyse(UNITS, cluster="store").health.warnings)
        nameless = UNITS.drop(columns="customer_id")
        warnings = analyse(nameless, cluster="store").health.warnings
        assert any("are not checked" in one for one in warnings)

    def test_without_a_column_of_units_says_what_is_not_checked(self, analyse):
        units = UNITS.rename(columns={"customer_id": "klant"})
        (warning,) = [one for one in analyse(units).health.warnings if "--unit" in one]
        assert "duplicates and units in two variants are not checked" in warning
        with pytest.raises(RegularsError, match="have more than one row"):
            analyse(pd.concat([units] * 2), unit="klant")

    @pytest.mark.parametrize("word", ["nan", "NULL", "NA", "n/a", " "])
    def test_of_words_for_nothing_is_of_rows_without_variant(self, analyse, word):
        found = analyse(UNITS.assign(group=UNITS["group"].where(UNITS.index > 6, word)))
        assert "7 of 4,000 rows have no variant" in found.health.reason

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    @pytest.mark.parametrize("word", ["none", "None"])
    def test_of_a_variant_called_none_is_of_a_variant(self, analyse, kind, word):
        named = UNITS.assign(group=UNITS["group"].replace("control", word))
        found = analyse(named, control=word, kind=kind)
        assert found.units == {word: 2_000, "offers": 2_000}
        named = UNITS.assign(group=UNITS["group"].replace("offers", word))
        assert analyse(named, kind=kind).metrics["spend"][word].p is not None

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_of_a_word_for_nothing_that_weights_name_is_of_a_variant(self, analyse, kind):
        named = UNITS.assign(group=UNITS["group"].replace("offers", "NA"))
        found = analyse(named, kind=kind, weights={"control": 0.5, "NA": 0.5})
        assert found.metrics["spend"]["NA"].p is not None

    def test_of_a_cluster_in_two_variants_names_it(self, analyse):
        found = analyse(UNITS.assign(store="s-1"), cluster="store")
        assert "'s-1'" in found.health.reason
        assert found.metrics == {}

    def test_of_rows_without_variant_counts_them(self, analyse):
        found = analyse(UNITS.assign(group=UNITS["group"].where(UNITS.index > 6)))
        assert "7 of 4,000 rows have no variant" in found.health.reason
        assert found.metrics == {}

    def test_of_a_covariate_that_the_offer_changed_says_so(self, analyse):
        later = UNITS.assign(before=UNITS["before"] + (UNITS["group"] == "offers") * 2)
        found = analyse(later, covariate="before")
        assert "differed before the experiment" in found.health.reason
        assert found.metrics == {}


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (lambda u: u.assign(spend=u["spend"].where(u.index > 2)), {}, ["'spend'", "3 of 4,000"]),
        (lambda u: u.assign(spend=np.where(u.index == 3, np.inf, 1)), {}, ["infinite for 1 of"]),
        (lambda u: u.assign(spend=np.nan), {}, ["no value at all"]),
        (lambda u: u.assign(spend="3,5"), {}, ["no numbers, such as '3,5'"]),
        (lambda u: u.iloc[:0], {}, ["no rows"]),
        (lambda u: pd.concat([u, u.iloc[:2]]), {}, ["2 units have more than one row", "--cluster"]),
        (lambda u: u, {"metrics": ["spnd"]}, ["no column 'spnd'", "customer_id, group"]),
        (lambda u: u, {"covariate": "pre"}, ["no column 'pre'"]),
        (lambda u: u, {"cluster": "shop"}, ["no column 'shop'"]),
        (lambda u: u, {"variant": "arm"}, ["no column 'arm'"]),
        (lambda u: u, {"variant": "customer_id"}, ["4,000 different values"]),
        (lambda u: u, {"control": "ctrl"}, ["control 'ctrl' is no variant", "control, offers"]),
        (lambda u: u[u["group"] == "control"], {}, ["nothing to compare"]),
        (lambda u: u, {"metrics": ["spend:proportion"]}, ["other than 0 and 1"]),
        (lambda u: u, {"weights": {"control": 1.0, "offers": 0.0}}, ["planned at 0"]),
        (lambda u: u, {"weights": {"control": 1.0}}, ["'offers' was planned at 0"]),
        (
            lambda u: u,
            {"weights": {"control": 0.5, "offers": 0.3, "bold": 0.2}},
            ["nobody was seen in variant 'bold'"],
        ),
        (lambda u: u, {"weights": {"control": 0.5, "offers": 0.3}}, ["sum to 0.8"]),
        (
            lambda u: u.assign(store=u["store"].where(u.index > 2)),
            {"cluster": "store"},
            ["names no cluster in 3 rows"],
        ),
        (lambda u: u.assign(spend=u["spend"] * 1e110), {}, ["too large", "scale them"]),
        (lambda u: u.assign(spend=u["spend"] * 1e160), {}, ["too large", "scale them"]),
        (lambda u: u.assign(spend=u["spend"] * 1e-120), {}, ["too small", "scale them"]),
        (lambda u: u.assign(spend=u["spend"] * 1e-170), {}, ["too small", "scale them"]),
        (
            lambda u: u.assign(group=u["group"].where(u.index > 2, "offers ")),
            {},
            ["'offers' and 'offers '", "only in blanks"],
        ),
        (
            lambda u: u.assign(customer_id=u["customer_id"].where(u.index > 2, "NULL")),
            {},
            ["names no unit in 3 rows"],
        ),
        (
            lambda u: u.assign(store=u["store"].astype(str).where(u.index > 2, "n/a")),
            {"cluster": "store"},
            ["names no cluster in 3 rows"],
        ),
    ],
)
def test_what_cannot_be_analysed_is_told_in_one_line(analyse, change, more, words):
    asked = dict(more)
    metrics = asked.pop("metrics", ["spend"])
    with pytest.raises(RegularsError) as caught:
        analyse(change(UNITS), *metrics, **asked)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_length_of_time_is_no_number(tmp_path):
    path = tmp_path / "units.parquet"
    row = "SELECT 'control' AS variant, INTERVAL 1 DAY AS spend"
    duckdb.sql(f"COPY ({row}) TO '{path}' (FORMAT parquet)")
    with pytest.raises(RegularsError, match="of type INTERVAL, not numeric"):
        analyse_file(path, "variant", ["spend"], "control")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("units.csv", ""),
        ("units.csv", "group,spend\ncontrol,1\ncontrol,1,2,3\n"),
        ("units.csv", "\x00\xff"),
        ("units.parquet", "no parquet"),
        ("units.xlsx", "x"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RegularsError) as caught:
        analyse_file(path, "group", ["spend"], "control")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ["control,1", "control,1,c-9,9", "control,1,c-9,8,7"])
@pytest.mark.parametrize("place", [0, 700, 1_999])
def test_a_row_too_short_or_too_long_is_told_with_its_line(tmp_path, row, place):
    rows = UNITS.loc[:1_999, ["group", "spend", "customer_id"]].to_csv(index=False).split("\n")
    rows[place + 1] = row
    path = tmp_path / "units.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(RegularsError, match=f"line {place + 2} has .* names 3 columns"):
        analyse_file(path, "group", ["spend"], "control")


@pytest.mark.parametrize("every", [1, 10, 2_000])
def test_lines_that_begin_with_a_hash_are_rows(tmp_path, every):
    marked = [f"#{n}" if n % every == 0 else f"c{n}" for n in range(N)]
    path = tmp_path / "units.csv"
    UNITS.assign(customer_id=marked)[["customer_id", "group", "spend"]].to_csv(path, index=False)
    assert sum(analyse_file(path, "group", ["spend"], "control").units.values()) == N


def test_a_gzipped_file_is_read_as_what_is_in_it(analyse, tmp_path):
    path = tmp_path / "units.csv.gz"
    UNITS.to_csv(path, index=False)
    zipped = analyse_file(path, "group", ["spend"], "control")
    assert zipped.metrics == analyse(UNITS).metrics


def test_a_file_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(RegularsError, match="is no file"):
        analyse_file(tmp_path / "units.csv", "group", ["spend"], "control")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separators_are_found(tmp_path, separator):
    path = tmp_path / "units.csv"
    UNITS.to_csv(path, index=False, sep=separator)
    with UnitFile(path) as file:
        assert file.columns == list(UNITS.columns)


def test_the_answer_is_json(analyse):
    answer = json.loads(json.dumps(msgspec.to_builtins(analyse(UNITS))))
    assert {"p", "deviation"} <= set(answer["sample_ratio"])
    assert {
        "difference",
        "low",
        "high",
        "p",
        "relative",
        "relative_low",
        "relative_high",
        "p_adjusted",
    } <= set(answer["metrics"]["spend"]["offers"])


def by_strata(units):
    """Return the post-stratified difference of spend and its error, in closed form."""
    told = error = 0.0
    for _, part in units.groupby("stratum"):
        share = len(part) / len(units)
        of = part.groupby("group")["spend"]
        mean, spread = of.mean(), of.var() / of.size()
        told += share * (mean["offers"] - mean["control"])
        error += share**2 * spread.sum()
    return told, np.sqrt(error)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_strata_are_compared_inside_and_small_ones_merged(analyse, kind):
    band = np.digitize(UNITS["before"], [7, 9, 11]).astype(str).astype(object)
    band[:6] = "rare"
    band[6:12] = None
    units = UNITS.assign(stratum=band)
    found = analyse(units, kind=kind, stratify="stratum")
    effect, plain = found.metrics["spend"]["offers"], analyse(UNITS).metrics["spend"]["offers"]
    # The smallest of the others takes in what is too small even together.
    sizes = units["stratum"].value_counts().drop("rare")
    merged = (
        units["stratum"].fillna("").replace(dict.fromkeys(["rare", "", sizes.index[-1]], "rest"))
    )
    told, error = by_strata(units.assign(stratum=merged))
    assert effect.method == "welch, post-stratified"
    assert effect.difference == pytest.approx(told)
    assert effect.standard_error == pytest.approx(error)
    assert effect.high - effect.low < 0.95 * (plain.high - plain.low)
    assert any("one stratum: " in warning for warning in found.health.warnings)


def test_strata_that_cannot_be_are_told(analyse):
    one = analyse(UNITS.assign(stratum="all"), stratify="stratum")
    assert one.metrics["spend"]["offers"].method == "welch"
    assert any("only one stratum" in warning for warning in one.health.warnings)
    with pytest.raises(RegularsError, match="4,000 strata are too many"):
        analyse(UNITS, stratify="customer_id", unit="before")
    with pytest.raises(RegularsError, match="do not go together"):
        analyse(UNITS, stratify="store", cluster="store")


@pytest.mark.parametrize(
    ("written", "said"),
    [("", "is empty"), ("\n \n", "is empty"), ("group,spend\n", "a header but no rows")],
)
def test_an_empty_file_says_so_in_one_line(tmp_path, written, said):
    path = tmp_path / "units.csv"
    path.write_text(written)
    with pytest.raises(RegularsError, match=said) as refusal:
        analyse_file(path, "group", ["spend"], "control")
    assert "\n" not in str(refusal.value)


def test_a_share_has_its_chance_to_win_beside_the_test(analyse):
    # Source: the reference's 49 of 100 against 51 of 100, as its normal posterior has it.
    rows = (
        [("control", 1)] * 49 + [("control", 0)] * 51 + [("offers", 1)] * 51 + [("offers", 0)] * 49
    )
    found = analyse(pd.DataFrame(rows, columns=["group", "bought"]), "bought:proportion")
    told = found.posteriors["bought"]["offers"]
    assert (round(told.lift, 5), round(told.chance_to_win, 5)) == (0.04082, 0.60918)
    assert any("with a chance of 60.9%" in line for line in analysis_lines(found))
    assert analyse(UNITS).posteriors == {}


@pytest.mark.slow
def test_files_without_an_effect_are_rejected_in_5_of_100(tmp_path):
    # Simulation without effect, each experiment a file: 100 of many small strata of strong levels
    # and 100 of ratios to sparse visits; 5 % within 3 standard errors.
    rng = np.random.default_rng(13)
    path = tmp_path / "units.parquet"
    strata, ratios = [], []
    for _ in range(100):
        month = rng.integers(0, 15, 800)
        units = pd.DataFrame(
            {
                "group": rng.permutation(["a", "b"] * 400),
                "month": month,
                "spend": rng.normal(20, 1, 800) + month,
            }
        )
        units.to_parquet(path)
        found = analyse_file(path, "group", ["spend"], "a", stratify="month")
        strata.append(found.metrics["spend"]["b"])
        units = pd.DataFrame(
            {
                "group": rng.permutation(["b"] * 100 + ["a"] * 900),
                "margin": rng.gamma(2, 5, 1_000),
                "visits": rng.poisson(0.6, 1_000),
            }
        )
        units.to_parquet(path)
        found = analyse_file(path, "group", ["margin"], "a", denominator="visits")
        ratios.append(found.metrics["margin"]["b"])
    for effects in (strata, ratios):
        answered = [one for one in effects if one.p is not None]
        assert len(answered) > 85
        rejected = np.mean([one.p <= 0.05 for one in answered])
        assert rejected == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / len(answered)))

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import stats

from experiments.assignment import assigned_variant, position, variant_of
from experiments.assignment_arrays import as_ids, assigned_variants, positions
from experiments.design import Experiment, Variant
from experiments.holdout import holdout_design, is_held_out
from experiments.layers import Layer

PUBLISHED = json.loads(
    (Path(__file__).parents[2] / "docs" / "assignment-vectors.json").read_text(encoding="utf-8")
)
VECTORS = PUBLISHED["vectors"]

# Surrogates have no UTF-8 form; JSON decoders of the service refuse them before.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def experiment(salt, weights):
    variants = [Variant(f"v{place}", weight) for place, weight in enumerate(weights)]
    return Experiment(key="k", salt=salt, variants=variants, control="v0")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['salt'][:14]}/{v['unit_id'][:14]}")
def test_the_published_vectors_hold(vector):
    # Source of the digests: GNU coreutils `b2sum -l 64`, an independent BLAKE2b.
    assert position(vector["salt"], vector["unit_id"]) == vector["position"]
    assert math.floor(vector["position"] * 2**53) == int(vector["digest"], 16) >> 11
    variants = [Variant(name, weight) for name, weight in vector["weights"]]
    design = Experiment("k", vector["salt"], variants, control=variants[0].name)
    assert variant_of(design, vector["unit_id"]).name == vector["variant"]


@pytest.mark.parametrize("vector", PUBLISHED["positions"], ids=lambda v: v["digest"])
def test_the_published_positions_of_exposure_and_layer_hold(vector):
    found = position(vector["salt"], vector["unit_id"], vector["purpose"])
    assert found == vector["position"] == (int(vector["digest"], 16) >> 11) / 2**53


def as_published(fields):
    layer = fields["layer"]
    return Experiment(
        "k",
        fields["salt"],
        [Variant(name, weight) for name, weight in fields["weights"]],
        fields["weights"][0][0],
        unit=fields["unit"],
        exposure=fields["exposure"],
        layer=None if layer is None else Layer(**layer),
    )


def test_the_published_assignments_hold():
    # Computed with coreutils' b2sum by the steps published beside them, apart from this code.
    for vector in PUBLISHED["assignments"]:
        design, customer = as_published(vector["experiment"]), vector["customer_id"]
        share = vector["holdout_share"]
        holdout = None if share is None else holdout_design(share)
        if holdout is not None:
            assert variant_of(holdout, customer).name == vector["holdout"]
        unit = {
            "customer": customer,
            "household": vector["household_id"],
            "store": vector["home_store_id"],
        }[design.unit]
        found = None
        if unit is not None and not is_held_out(holdout, customer):
            found = assigned_variant(design, unit)
        assert (None if found is None else found.name) == vector["variant"], vector


def test_the_published_assignments_meet_every_way_to_be_in_or_out():
    vectors = PUBLISHED["assignments"]
    assert {v["experiment"]["unit"] for v in vectors} == {"customer", "household", "store"}
    assert {v.get("holdout") for v in vectors} == {None, "held-out", "reached"}
    for fact in ("layer", "exposure"):
        usual = {"layer": None, "exposure": 1.0}[fact]
        met = {v["variant"] is None for v in vectors if v["experiment"][fact] != usual}
        assert met == {True, False}


def test_a_ramp_up_lets_more_in_and_moves_nobody():
    ids = [f"c-{number}" for number in range(5_000)]
    before, after = (
        [
            assigned_variant(replace(experiment("ramp", [0.2, 0.3, 0.5]), exposure=share), i)
            for i in ids
        ]
        for share in (0.05, 0.5)
    )
    assert all(late == early for early, late in zip(before, after, strict=True) if early)
    assert sum(v is not None for v in before) == pytest.approx(250, abs=62)  # 4 sigma
    assert sum(v is not None for v in after) == pytest.approx(2_500, abs=142)


def test_who_is_let_in_first_is_split_by_the_weights_too():
    # Were exposure and variant one position, everybody in at 5 % would be in the first variant.
    small = replace(experiment("ramp", [0.5, 0.5]), exposure=0.05)
    found = [assigned_variant(small, f"c-{number}") for number in range(20_000)]
    names = [variant.name for variant in found if variant is not None]
    assert abs(names.count("v0") - len(names) / 2) < 4 * math.sqrt(len(names) / 4)


def test_nobody_is_in_two_experiments_of_a_layer_and_everybody_in_one_where_it_is_full():
    ids = [f"c-{number}" for number in range(2_000)]
    parts = [(0.0, 0.2), (0.2, 0.7), (0.7, 1.0)]
    designs = [
        replace(experiment(f"salt-{low}", [0.5, 0.5]), layer=Layer("checkout", low, high))
        for low, high in parts
    ]
    for unit in ids:
        assert sum(assigned_variant(design, unit) is not None for design in designs) == 1


def test_the_vectors_cover_what_apps_get_wrong():
    ids = [vector["unit_id"] for vector in VECTORS]
    assert len(VECTORS) >= 20
    assert "" in ids
    assert any(not text.isascii() for text in ids)
    assert max(map(len, ids)) >= 256
    # One message length a salt: an app that leaves out the length gets these equal.
    assert position("ab", "c") != position("a", "bc")
    # Precomposed and decomposed letters are two ids.
    assert position("winter-latte", "Zo\u00eb") != position("winter-latte", "Zoe\u0308")


@given(TEXTS, TEXTS)
def test_assignment_is_a_function_of_salt_and_id_alone(salt, unit_id):
    assert 0 <= position(salt, unit_id) < 1
    assert position(salt, unit_id) == position(salt, unit_id)
    design = experiment(salt, [0.2, 0.3, 0.5])
    renamed = Experiment("other", salt, design.variants, "v1", unit="household")
    assert variant_of(design, unit_id) == variant_of(renamed, unit_id)


def test_the_highest_digest_stays_below_one(monkeypatch):
    class Highest:
        def digest(self):
            return b"\xff" * 8

    monkeypatch.setattr("experiments.assignment.hashlib.blake2b", lambda *_, **__: Highest())
    assert position("s", "u") == 1 - 2**-53
    # Ten times .1 adds up to .9999999999999999: the last variant takes what rounding leaves.
    assert variant_of(experiment("s", [0.1] * 10), "u").name == "v9"


def test_positions_are_uniform_under_every_salt():
    # One salt alone would fail by chance in 1 %; the p-values of 100 must be uniform themselves.
    p_values = [
        stats.kstest(
            [position(f"salt-{salt}", f"c-{number}") for number in range(2_000)], "uniform"
        ).pvalue
        for salt in range(100)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "weights", [[0.5, 0.5], [0.05, 0.95], [0.34, 0.33, 0.33], [0.1] * 10, [0.001, 0.999]]
)
@pytest.mark.parametrize("salt", ["winter-latte", "s-2"])
def test_weights_are_met_within_four_sigma_on_100_000_ids(weights, salt):
    n = 100_000
    design = experiment(salt, weights)
    names = [variant_of(design, f"c-{number}").name for number in range(n)]
    for variant in design.variants:
        # Source: a binomial count has variance n w (1 - w).
        sigma = math.sqrt(n * variant.weight * (1 - variant.weight))
        assert abs(names.count(variant.name) - n * variant.weight) < 4 * sigma


def test_assignments_of_different_experiments_are_independent():
    # 20 experiments, 190 pairs: the p-values of chi-square tests are uniform if no experiment
    # says anything about another. A 32-bit FNV left 51 % of such pairs below .05.
    ids = [f"c-{number}" for number in range(10_000)]
    halves = np.array(
        [[position(f"experiment-{salt}", one) < 0.5 for one in ids] for salt in range(20)]
    )
    p_values = []
    for first, second in combinations(halves, 2):
        table = [[np.sum((first == a) & (second == b)) for b in (0, 1)] for a in (0, 1)]
        p_values.append(stats.chi2_contingency(table, correction=False).pvalue)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) < 0.1


def test_ids_that_count_up_do_not_alternate():
    names = [position("runs", str(number)) < 0.5 for number in range(20_000)]
    table = np.histogram2d(names[:-1], names[1:], bins=2)[0]
    assert stats.chi2_contingency(table, correction=False).pvalue > 0.01


@settings(deadline=None, max_examples=50)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5),
    st.sampled_from(["variant", "exposure", "layer"]),
    st.integers(0, 3),
)
def test_many_at_once_stand_where_each_stands_alone(salt, ids, purpose, skipped):
    found = positions(salt, as_ids(ids)[skipped:], purpose)
    assert found.tolist() == [position(salt, one, purpose) for one in ids[skipped:]]


@pytest.mark.parametrize("length", [0, 1, 111, 112, 113, 127, 128, 129, 300])
def test_many_at_once_hash_messages_up_to_and_over_a_block_alike(length):
    # The message of salt `s` begins with 3 bytes; a block holds 128.
    ids = ["x" * length, "y", "x" * (length + 13), ""]
    assert positions("s", as_ids(ids)).tolist() == [position("s", one) for one in ids]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=12),
    st.floats(0.01, 1),
    st.tuples(st.floats(0, 0.9), st.floats(0.01, 0.1)),
    st.booleans(),
)
def test_many_at_once_get_the_variants_each_gets_alone(parts, exposure, edges, layered):
    layer = Layer("shared", edges[0], edges[0] + edges[1]) if layered else None
    design = experiment("many", [part / sum(parts) for part in parts])
    design = replace(design, exposure=exposure, layer=layer)
    ids = [f"c-{number}" for number in range(200)]
    alone = [assigned_variant(design, one) for one in ids]
    places = [-1 if v is None else design.variants.index(v) for v in alone]
    assert assigned_variants(design, as_ids(ids)).tolist() == places

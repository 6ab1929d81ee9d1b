import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.assignment import position, variant_of
from experiments.design import Experiment, Variant

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs" / "assignment-vectors.json").read_text(encoding="utf-8")
)["vectors"]

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

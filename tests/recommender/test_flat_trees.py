"""The oracle is LightGBM's own predict: raw scores must be equal to the last bit."""

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.flat_trees import UnknownTrees, flat_trees
from recommender.quick_response import quick_response
from recommender.response_model import Line, ResponseModel

INPUTS = 12
PLAIN = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 1}


def drawn(draw: np.random.Generator, shape: tuple[int, ...], *, known: bool = False) -> np.ndarray:
    """Values around thresholds: many zeros, some hardly more than zero, some unknown."""
    found = np.round(draw.normal(size=shape), 1)
    found[draw.random(shape) < 0.05] = 1e-36
    if not known:
        found[draw.random(shape) < 0.2] = np.nan
    return found


def booster(*, known: bool = False, **parameters: object) -> lightgbm.Booster:
    draw = np.random.default_rng(1)
    matrix = drawn(draw, (3_000, INPUTS), known=known)
    signal = np.nan_to_num(matrix) @ draw.normal(size=INPUTS)
    outcome = (signal + draw.normal(size=3_000) > 0).astype(float)
    return lightgbm.train(PLAIN | parameters, lightgbm.Dataset(matrix, outcome), 25)


# Of each treatment of missing values: as a direction of their own, as zeros, not in training.
BOOSTERS = (booster(), booster(zero_as_missing=True), booster(known=True))


@pytest.mark.parametrize("trained", BOOSTERS)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 150), st.sets(st.integers(0, INPUTS - 1)))
def test_raw_scores_are_the_boosters_whatever_rows_share(
    trained: lightgbm.Booster, seed: int, rows: int, own: set[int]
) -> None:
    draw = np.random.default_rng(seed)
    places = np.full(INPUTS, -1, dtype=np.int32)
    places[sorted(own)] = np.arange(len(own))
    # What is not shared is never read: it is NaN here.
    shared = np.where(places < 0, drawn(draw, (INPUTS,)), np.nan)
    hers = drawn(draw, (rows, len(own)))
    matrix = np.tile(shared, (rows, 1))
    matrix[:, sorted(own)] = hers
    nothing = np.empty((0, 0), dtype=np.float32)
    nowhere = np.full(rows, -1)
    found = flat_trees(trained).raw_of_offers(shared, hers, nothing, nowhere, places)
    expected = np.asarray(trained.predict(matrix, raw_score=True)) if rows else np.empty(0)
    assert found.tolist() == expected.tolist()


def test_trees_of_another_kind_are_left_to_the_booster() -> None:
    draw = np.random.default_rng(1)
    matrix = draw.integers(0, 9, (500, 3)).astype(float)
    data = lightgbm.Dataset(matrix, (matrix[:, 0] % 2), categorical_feature=[0])
    categorical = lightgbm.train(PLAIN | {"min_data_per_group": 1}, data, 5)
    with pytest.raises(UnknownTrees, match="categorical"):
        flat_trees(categorical)
    averaged = booster(boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    with pytest.raises(UnknownTrees, match="averaged"):
        flat_trees(averaged)
    assert quick_response(ResponseModel("lightgbm", averaged, (), "91bc", {})) is None


def test_probabilities_are_the_models_calibrated_ones_and_another_models_are_no_equal() -> None:
    names = tuple(f"x{n}" for n in range(INPUTS))
    model = ResponseModel("lightgbm", BOOSTERS[0], names, "91bc", {}, Line(0.3, 1.2))
    quick = quick_response(model)
    assert quick is not None
    matrix = drawn(np.random.default_rng(2), (200, INPUTS))
    # The last three of each row lie elsewhere, in another order, and some rows have none.
    matrix[:, -3:] = matrix[:, -3:].astype(np.float32)
    matrix[50:60, -3:] = np.nan
    order = np.random.default_rng(3).permutation(200)
    near = np.ascontiguousarray(matrix[order, -3:], dtype=np.float32)
    at = np.argsort(order)
    at[50:60] = -1
    parts = (matrix[0], np.ascontiguousarray(matrix[:, 4:-3]), near, at)
    places = np.array([-1] * 4 + list(range(INPUTS - 4)), dtype=np.int32)
    matrix[:, :4] = matrix[0, :4]
    assert quick.equals(matrix, *parts, places)
    told = quick.probabilities(*parts, places)
    assert told == pytest.approx(model.predict(matrix), rel=0, abs=1e-12)
    other = ResponseModel("lightgbm", BOOSTERS[1], names, "91bc", {}, Line(0.3, 1.2))
    assert not type(quick)(other, quick.trees).equals(matrix, *parts, places)

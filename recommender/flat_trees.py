"""Trees of LightGBM as flat arrays, walked by all rows of one customer together.

The rows of one request differ in few inputs: the customer and the moment are the same in all of
them. Where a node asks for one of those, all rows go one way after a single comparison; only the
others part the rows. Raw scores are the booster's to the last bit, since leaves are added in the
order of the trees.
"""

from dataclasses import dataclass
from typing import Any

import lightgbm
import numba
import numpy as np
import numpy.typing as npt

from foundation.errors import RegularsError

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

# How LightGBM treats a value at a node; zero is what is smaller than this.
_NONE, _ZERO, _NAN = 0, 1, 2
_MISSING = {"None": _NONE, "Zero": _ZERO, "NaN": _NAN}
_NEAR_ZERO = 1e-35


class UnknownTrees(RegularsError):
    """Trees of a kind that this evaluator does not walk; the booster itself does."""


@dataclass(frozen=True)
class FlatTrees:
    """Nodes of all trees in a row; a child below 0 is leaf -child - 1.

    Shapes: `roots` (n trees,), `values` (n leaves,), the others (n nodes,). No tree is deeper than
    `deepest`.
    """

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    missing: npt.NDArray[np.int8]
    default_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    deepest: int

    def raw_of_offers(
        self,
        shared: npt.NDArray[np.float64],
        features: npt.NDArray[np.float64],
        near: npt.NDArray[np.float32],
        at: npt.NDArray[np.intp],
        places: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float64]:
        """Return raw scores (log-odds) of rows that are put together on the way, shape (n,).

        Args:
            shared: Inputs that are the same in all rows, shape (n inputs,); others are not read.
            features: The first of each row's own inputs, shape (n, n features).
            near: Holds the last of them, shape (m, n affinities); m may be 0.
            at: Row of `near` that is each row's, -1 where it has none (NaN), shape (n,).
            places: Which of a row's own inputs an input is, -1 where it is shared, shape
                (n inputs,).
        """
        # One kind of array, so that nothing is left to compile when the first request comes.
        near = near.view()
        near.flags.writeable = False
        return _raw_of_offers(
            self.roots,
            self.feature,
            self.threshold,
            self.missing,
            self.default_left,
            self.left,
            self.right,
            self.values,
            self.deepest,
            shared,
            features,
            near,
            at,
            places,
        )


def flat_trees(booster: lightgbm.Booster) -> FlatTrees:
    """Return a booster's trees.

    Raises:
        UnknownTrees: They are averaged, have categorical splits, linear leaves or several outputs.
    """
    told: dict[str, Any] = booster.dump_model()
    if told["num_class"] != 1 or told.get("average_output"):
        raise UnknownTrees("trees of several outputs, or averaged ones, are walked by the booster")
    flat = _Flat()
    roots = [flat.add(tree["tree_structure"]) for tree in told["tree_info"]]
    return FlatTrees(
        np.array(roots, dtype=np.int32),
        np.array([node["split_feature"] for node in flat.nodes], dtype=np.int32),
        np.array([float(node["threshold"]) for node in flat.nodes]),
        np.array([_MISSING[node["missing_type"]] for node in flat.nodes], dtype=np.int8),
        np.array([node["default_left"] for node in flat.nodes], dtype=np.bool_),
        np.array([left for left, _ in flat.children], dtype=np.int32),
        np.array([right for _, right in flat.children], dtype=np.int32),
        np.array(flat.values),
        flat.deepest,
    )


class _Flat:
    """Nodes and leaves as they are met."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.children: list[tuple[int, int]] = []
        self.values: list[float] = []
        self.deepest = 0

    def add(self, node: dict[str, Any], depth: int = 0) -> int:
        """Add a node with all below it; return its place."""
        self.deepest = max(self.deepest, depth)
        if "split_index" not in node:
            if "leaf_const" in node or "leaf_coeff" in node:
                raise UnknownTrees("trees with linear leaves are walked by the booster")
            self.values.append(float(node["leaf_value"]))
            return -len(self.values)
        if node["decision_type"] != "<=":
            raise UnknownTrees("trees with categorical splits are walked by the booster")
        place = len(self.nodes)
        self.nodes.append(node)
        self.children.append((0, 0))
        left, right = node["left_child"], node["right_child"]
        self.children[place] = (self.add(left, depth + 1), self.add(right, depth + 1))
        return place


@numba.njit(cache=True)
def _goes_left(value: Any, threshold: Any, missing: Any, default_left: Any) -> Any:
    if np.isnan(value):
        if missing == _NAN:
            return default_left
        value = 0.0
    if missing == _ZERO and abs(value) <= _NEAR_ZERO:
        return default_left
    return value <= threshold


@numba.njit(cache=True)
def _parted(
    values: Floats,
    threshold: Any,
    missing: Any,
    default_left: Any,
    here: Integers,
    left: Integers,
    right: Integers,
) -> Any:
    """Mark which of the rows that are `here` go left and which right; return how many do each.

    Loops without a branch: the compiler makes them of wide instructions.
    """
    unknown_left = _goes_left(np.nan, threshold, missing, default_left)
    n_here, n_left = 0, 0
    for row in range(len(values)):
        value = values[row]
        goes = (value <= threshold) | ((value != value) & unknown_left)
        left[row] = here[row] & goes
        n_here += here[row]
        n_left += left[row]
    if missing == _ZERO:
        n_left = 0
        for row in range(len(values)):
            if abs(values[row]) <= _NEAR_ZERO:
                left[row] = here[row] & default_left
            n_left += left[row]
    for row in range(len(values)):
        right[row] = here[row] - left[row]
    return n_left, n_here - n_left


@numba.njit(cache=True)
def _raw_of_offers(
    roots: Integers,
    feature: Integers,
    threshold: Floats,
    missing: Integers,
    default_left: npt.NDArray[np.bool_],
    left: Integers,
    right: Integers,
    values: Floats,
    deepest: int,
    shared: Floats,
    features: Floats,
    near: npt.NDArray[np.float32],
    at: Integers,
    places: Integers,
) -> Floats:
    # Numpy would take longer to put these few numbers together than the trees take to walk.
    n, first, last = len(features), features.shape[1], near.shape[1]
    own = np.empty((first + last, n))
    for row in range(n):
        own[:first, row] = features[row]
        if at[row] >= 0:
            own[first:, row] = near[at[row]]
        else:
            own[first:, row] = np.nan
    found = np.zeros(n)
    # Nodes yet to be walked, and the rows that come there: a mark for each.
    stack = np.empty(deepest + 2, dtype=np.int64)
    marks = np.empty((deepest + 2, n), dtype=np.int8)
    for root in roots:
        stack[0], marks[0] = root, 1
        depth = 1
        while depth:
            depth -= 1
            node = stack[depth]
            while node >= 0:
                column = places[feature[node]]
                if column < 0:
                    value = shared[feature[node]]
                    goes = _goes_left(value, threshold[node], missing[node], default_left[node])
                    node = left[node] if goes else right[node]
                    continue
                n_left, n_right = _parted(
                    own[column],
                    threshold[node],
                    missing[node],
                    default_left[node],
                    marks[depth],
                    marks[depth + 1],
                    marks[depth + 2],
                )
                if n_right == 0:
                    node = left[node]
                elif n_left == 0:
                    node = right[node]
                else:
                    stack[depth], marks[depth] = right[node], marks[depth + 2]
                    depth += 1
                    node = left[node]
            value, here = values[-node - 1], marks[depth]
            for row in range(n):
                # Times 0 or 1 is exact, and quicker than to ask.
                found[row] += value * here[row]
    return found

"""Trees of LightGBM as flat arrays, walked by all rows of one customer together.

The rows of one request differ in few inputs: the customer and the moment are the same in all of
them. Where a node asks for one of those, all rows go one way after a single comparison; only the
others part the rows, of which a word of 64 bits holds as many. Raw scores are the booster's to the
last bit, since leaves are added in the order of the trees.
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

# To LightGBM zero is what is smaller than this.
_NEAR_ZERO = 1e-35

# A node's parts stand side by side: one look into memory fetches them all.
_NODE = np.dtype(
    [
        ("threshold", np.float64),
        ("feature", np.int32),
        ("left", np.int32),
        ("right", np.int32),
        ("unknown_left", np.bool_),
        # Whether zero is unknown, too.
        ("zero_unknown", np.bool_),
    ],
    align=True,
)
_WORD = 64
_NO_ROW, _ONE_ROW, _ALL_ROWS = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)


class UnknownTrees(RegularsError):
    """Trees of a kind that this evaluator does not walk; the booster itself does."""


@dataclass(frozen=True)
class FlatTrees:
    """Nodes of all trees in a row; a child below 0 is leaf -child - 1.

    Shapes: `roots` (n trees,), `nodes` (n nodes,), `values` (n leaves,). No tree is deeper than
    `deepest`.
    """

    roots: npt.NDArray[np.int32]
    nodes: npt.NDArray[np.void]
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
            self.roots, self.nodes, self.values, self.deepest, shared, features, near, at, places
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
    nodes = np.empty(len(flat.nodes), dtype=_NODE)
    nodes["threshold"] = [float(node["threshold"]) for node in flat.nodes]
    nodes["feature"] = [node["split_feature"] for node in flat.nodes]
    nodes["unknown_left"] = [_unknown_left(node) for node in flat.nodes]
    nodes["zero_unknown"] = [node["missing_type"] == "Zero" for node in flat.nodes]
    nodes["left"] = [left for left, _ in flat.children]
    nodes["right"] = [right for _, right in flat.children]
    return FlatTrees(np.array(roots, dtype=np.int32), nodes, np.array(flat.values), flat.deepest)


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


def _unknown_left(node: dict[str, Any]) -> bool:
    """Return where a node sends NaN: as zero, where there was none in training."""
    if node["missing_type"] == "None":
        return float(node["threshold"]) >= 0
    return bool(node["default_left"])


@numba.njit(cache=True)
def _goes_left(value: Any, node: Any) -> Any:
    if node.zero_unknown and abs(value) <= _NEAR_ZERO:
        return node.unknown_left
    return (value <= node.threshold) | ((value != value) & node.unknown_left)


@numba.njit(cache=True)
def _going_left(values: Floats, node: Any) -> Any:
    """Return which of a word's rows go left.

    Loops without a branch: the compiler makes them of wide instructions.
    """
    found = _NO_ROW
    for row in range(_WORD):
        value = values[row]
        goes = (value <= node.threshold) | ((value != value) & node.unknown_left)
        found |= np.uint64(goes) << np.uint64(row)
    if node.zero_unknown:
        zero = _NO_ROW
        for row in range(_WORD):
            zero |= np.uint64(abs(values[row]) <= _NEAR_ZERO) << np.uint64(row)
        found = found | zero if node.unknown_left else found & ~zero
    return found


@numba.njit(cache=True)
def _own_inputs(
    words: int, features: Floats, near: npt.NDArray[np.float32], at: Integers
) -> Floats:
    """Return each row's own inputs, an input a line, with room for whole words of rows."""
    n, first, last = len(features), features.shape[1], near.shape[1]
    own = np.empty((first + last, words * _WORD))
    for place in range(first):
        for row in range(n):
            own[place, row] = features[row, place]
    for row in range(n):
        for place in range(last):
            own[first + place, row] = near[at[row], place] if at[row] >= 0 else np.nan
    return own


@numba.njit(cache=True)
def _raw_of_offers(
    roots: Integers,
    nodes: Any,
    values: Floats,
    deepest: int,
    shared: Floats,
    features: Floats,
    near: npt.NDArray[np.float32],
    at: Integers,
    places: Integers,
) -> Floats:
    n = len(features)
    words = (n + _WORD - 1) // _WORD
    # Numpy would take longer to put these few numbers together than the trees take to walk.
    own = _own_inputs(words, features, near, at)
    found = np.zeros(words * _WORD)
    every = np.full(words, _ALL_ROWS)
    if n % _WORD:
        every[words - 1] = (_ONE_ROW << np.uint64(n % _WORD)) - _ONE_ROW
    # Nodes yet to be walked, and the rows that come there: a bit for each.
    stack = np.empty(deepest + 2, dtype=np.int64)
    rows = np.empty((deepest + 2, words), dtype=np.uint64)
    for root in roots:
        stack[0] = root
        for word in range(words):
            rows[0, word] = every[word]
        depth = 1
        while depth:
            depth -= 1
            node = stack[depth]
            while node >= 0:
                asked = nodes[node]
                place = places[asked.feature]
                if place < 0:
                    goes = _goes_left(shared[asked.feature], asked)
                    node = asked.left if goes else asked.right
                    continue
                # Those that go right stay here, those that go left come on top of them.
                any_left, any_right = _NO_ROW, _NO_ROW
                for word in range(words):
                    here, begin = rows[depth, word], word * _WORD
                    left = here & _going_left(own[place, begin : begin + _WORD], asked)
                    rows[depth, word], rows[depth + 1, word] = here & ~left, left
                    any_left, any_right = any_left | left, any_right | (here & ~left)
                if any_left and any_right:
                    stack[depth] = asked.right
                    depth += 1
                elif any_left:
                    for word in range(words):
                        rows[depth, word] = rows[depth + 1, word]
                node = asked.left if any_left else asked.right
            value = values[-node - 1]
            for word in range(words):
                here, begin = rows[depth, word], word * _WORD
                for row in range(_WORD):
                    # To add 0 is exact, and quicker than a branch.
                    is_here = (here >> np.uint64(row)) & _ONE_ROW
                    found[begin + row] += value if is_here else 0.0
    return found[:n]

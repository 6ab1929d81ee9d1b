"""Scores of many customers and offers at once, as a batch needs them.

Inputs are put together block by block in one buffer: a matrix of all pairs would take gigabytes. In
double precision, so that a score is the same to the last bit as the one given online.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foundation.errors import RegularsError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# Pairs at once: a call has LightGBM's threads wait for each other, so not too few of them.
BLOCK = 32_768


class Model(Protocol):
    """A fitted response model."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def predict(self, matrix: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Inputs:
    """What is known of N customers and M offers, in the order of the model's inputs.

    Attributes:
        customers: A vector a customer, shape (N, F).
        offers: A vector an offer, shape (M, G).
        affinity: Of each customer and offer, shape (N, M, A), NaN where unknown.
        context: Of each customer's moment, shape (N, C): zones differ, so do hours.
    """

    customers: Floats
    offers: Floats
    affinity: Floats
    context: Floats

    @property
    def width(self) -> int:
        """Return how many inputs a pair has."""
        parts = (self.customers, self.offers, self.affinity, self.context)
        return sum(part.shape[-1] for part in parts)


def pair_scores(model: Model, inputs: Inputs, customers: Integers, offers: Integers) -> Floats:
    """Return the response probability of each pair, shape (S,).

    Args:
        customers, offers: Rows of the pairs in the inputs, shape (S,) each.

    Raises:
        RegularsError: The inputs are not as many as the model's, or it answers no probability.
    """
    if inputs.width != len(model.names):
        raise RegularsError(
            f"{inputs.width} inputs are given, the model was trained on {len(model.names)}; "
            "publish the matching snapshot or run 'regulars train response'"
        )
    found = np.empty(len(customers))
    buffer = np.empty((min(BLOCK, len(customers)), inputs.width))
    for start in range(0, len(customers), BLOCK):
        block = slice(start, min(start + BLOCK, len(customers)))
        rows = buffer[: block.stop - start]
        _fill(rows, inputs, customers[block], offers[block])
        found[block] = model.predict(rows)
    # Also true of NaN.
    wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(wrong):
        raise RegularsError(
            f"the model answered {found[wrong[0]]} for customer {customers[wrong[0]]} and offer "
            f"{offers[wrong[0]]}, which is no probability; run 'regulars train response'"
        )
    return found


def pair_matrix(inputs: Inputs, customers: Integers, offers: Integers) -> Floats:
    """Return the inputs of each pair, shape (S, width)."""
    matrix = np.empty((len(customers), inputs.width))
    _fill(matrix, inputs, customers, offers)
    return matrix


def _fill(rows: Floats, inputs: Inputs, customers: Integers, offers: Integers) -> None:
    first = 0
    for part in (
        inputs.customers[customers],
        inputs.offers[offers],
        inputs.affinity[customers, offers],
        inputs.context[customers],
    ):
        rows[:, first : first + part.shape[1]] = part
        first += part.shape[1]

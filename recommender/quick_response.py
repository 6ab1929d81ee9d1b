"""A response model of trees answered by flat trees, once they have proved to be its equal."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from recommender.flat_trees import FlatTrees, UnknownTrees, flat_trees
from recommender.response_model import ResponseModel

# The logistic function is computed by another library than LightGBM's own.
ROUNDING = 1e-12


@dataclass(frozen=True)
class QuickResponse:
    """The same probabilities as `model`, sooner for rows that differ in few inputs."""

    model: ResponseModel
    trees: FlatTrees

    def probabilities(
        self,
        shared: npt.NDArray[np.float64],
        own: npt.NDArray[np.float64],
        places: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, shape (n,); arguments as of `FlatTrees.raw`."""
        return self.model.line(expit(self.trees.raw(shared, own, places)))

    def equals(self, matrix: npt.NDArray[np.float64]) -> bool:
        """Whether it answers these inputs as the model does: raw scores to the last bit.

        Args:
            matrix: Shape (n, inputs of the model).
        """
        every = np.arange(matrix.shape[1], dtype=np.int32)
        raw = self.trees.raw(np.empty(matrix.shape[1]), matrix, every)
        told = self.probabilities(np.empty(matrix.shape[1]), matrix, every)
        return bool(
            (raw == self.model.estimator.predict(matrix, raw_score=True)).all()
            and np.abs(told - self.model.predict(matrix)).max(initial=0.0) <= ROUNDING
        )


def quick_response(model: ResponseModel) -> QuickResponse | None:
    """Return the quick way to a model; None where there is none: it has no trees, or other ones."""
    if model.kind != "lightgbm":
        return None
    try:
        return QuickResponse(model, flat_trees(model.estimator))
    except UnknownTrees:
        return None

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
        features: npt.NDArray[np.float64],
        near: npt.NDArray[np.float32],
        at: npt.NDArray[np.intp],
        places: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, shape (n,); arguments as of `raw_of_offers`."""
        raw = self.trees.raw_of_offers(shared, features, near, at, places)
        return self.model.line(expit(raw))

    def equals(
        self,
        matrix: npt.NDArray[np.float64],
        shared: npt.NDArray[np.float64],
        features: npt.NDArray[np.float64],
        near: npt.NDArray[np.float32],
        at: npt.NDArray[np.intp],
        places: npt.NDArray[np.int32],
    ) -> bool:
        """Whether it answers these inputs as the model does: raw scores to the last bit.

        Args:
            matrix: All inputs of the model, shape (n, inputs); the others as of `raw_of_offers`.
        """
        parts = (shared, features, near, at, places)
        raw, told = self.trees.raw_of_offers(*parts), self.probabilities(*parts)
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

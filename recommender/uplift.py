"""What does each treatment cause, and for whom: effects against the control.

T-learner: a model of the outcome under each treatment; effects are differences. DR-learner: each
row's doubly robust score (its modelled effect, corrected by what it really did, weighted by its
logged propensity) is an unbiased if noisy effect of its own, and is learned directly. Beside them
stands "same": everybody has the treatment's average effect.

Small data do not bear fine effects, so a learner's deviations from the average are scaled by how
well they foretold the scores of rows it had not seen, and dropped where that is no better than
chance. Squared loss throughout: it estimates means, of binary outcomes as of money.

Sources: T-learner, Künzel et al. 2019; DR-learner, Kennedy 2023 (arXiv 2004.14497); scores,
Robins, Rotnitzky and Zhao 1994; scaling, the best linear predictor of Chernozhukov et al. 2018
(arXiv 1712.04802); LightGBM, Ke et al. 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import lightgbm
import numpy as np

from foundation.errors import RegularsError
from recommender.trial import Trial, cluster_error, folds

Learner = Literal["same", "t", "dr"]
LEARNERS: tuple[Learner, ...] = ("same", "t", "dr")
INNER_FOLDS = 4
_TREES: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
# The level of the outcome is learned from all rows, its differences from few: small trees.
_LEVEL = {"num_leaves": 8, "min_data_in_leaf": 40, "rounds": 100}
_DIFFERENCE = {"num_leaves": 4, "min_data_in_leaf": 40, "rounds": 60}


@dataclass(frozen=True)
class UpliftModel:
    """Fitted learners; each is an average over models that left one part of the rows out.

    Attributes:
        average: Average effect of each treatment against the control, shape (k,).
        average_error: Its standard error, shape (k,).
        scale: By how much each learner's deviations from the average are multiplied.
        scale_error: Standard error of that, by learner; empty in models of before it was kept.
        best: The learner whose effects were nearest to unseen rows' scores.
        sharpest: The one, "same" left out, whose ranking foretold them surest.
    """

    average: np.ndarray
    average_error: np.ndarray
    scale: dict[Learner, float]
    best: Learner
    sharpest: Learner
    n_features: int
    _outcomes: list["_Outcomes"]
    _scores: list[list[Any]]
    _centre: dict[Learner, np.ndarray]
    scale_error: dict[Learner, float] = field(default_factory=dict[Learner, float])

    def responses(self, features: np.ndarray) -> np.ndarray:
        """Return the expected outcome under each treatment, control first, shape (n, k + 1)."""
        self._check(features)
        return np.mean([model.predict(features) for model in self._outcomes], axis=0)

    def effects(self, features: np.ndarray, learner: Learner | None = None) -> np.ndarray:
        """Return each treatment's effect against the control, shape (n, k), scaled.

        Args:
            features: Shape (n, p), the columns of the training rows.
            learner: The best one by default.

        Raises:
            RegularsError: The columns are not those of training.
        """
        name = learner or self.best
        if name == "same" or self.scale[name] == 0:
            self._check(features)
            return np.tile(self.average, (len(features), 1))
        return self.average + self.scale[name] * (self.raw(features, name) - self._centre[name])

    def error_of_sum(self, effects: np.ndarray, given: np.ndarray) -> float | None:
        """Return the standard error of a sum of effects, None where the model kept none.

        It comes from the treatments' averages and from the scale of the deviations. These are
        taken to err together, so it is rather too large; that single deviations err is not in it.

        Args:
            effects: The sum of each treatment's effects, shape (k,).
            given: Over how many rows, shape (k,).
        """
        averages = float(given @ self.average_error)
        scale = self.scale[self.best] if self.best != "same" else 0.0
        if scale == 0:
            return averages
        if self.best not in self.scale_error:
            return None
        deviations = abs(float((effects - given * self.average).sum())) / scale
        return averages + deviations * self.scale_error[self.best]

    def raw(self, features: np.ndarray, learner: Learner) -> np.ndarray:
        """Return a learner's effects as learned, not scaled, shape (n, k): for ranking."""
        if learner == "same":
            return self.effects(features, "same")
        if learner == "t":
            outcomes = self.responses(features)
            return outcomes[:, 1:] - outcomes[:, :1]
        self._check(features)
        return np.mean([_predict(models, features) for models in self._scores], axis=0)

    def _check(self, features: np.ndarray) -> None:
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise RegularsError(
                f"the uplift model learned {self.n_features} features, these rows have shape "
                f"{features.shape}; give the same columns in the same order"
            )

    def document(self) -> dict[str, Any]:
        """Return the model as plain JSON; trees are in LightGBM's own text."""
        return {
            "average": self.average.tolist(),
            "average_error": self.average_error.tolist(),
            "scale": self.scale,
            "scale_error": self.scale_error,
            "best": self.best,
            "sharpest": self.sharpest,
            "n_features": self.n_features,
            "outcomes": [
                [one.level.model_to_string(), *(d.model_to_string() for d in one.differences)]
                for one in self._outcomes
            ],
            "scores": [[one.model_to_string() for one in models] for models in self._scores],
            "centre": {name: values.tolist() for name, values in self._centre.items()},
        }

    @staticmethod
    def of(document: dict[str, Any]) -> "UpliftModel":
        """Return the model of a document.

        Raises:
            KeyError, ValueError, TypeError, lightgbm.basic.LightGBMError: It is none.
        """
        trees = [[_trees(text) for text in texts] for texts in document["outcomes"]]
        return UpliftModel(
            average=np.array(document["average"]),
            average_error=np.array(document["average_error"]),
            scale=document["scale"],
            best=document["best"],
            sharpest=document["sharpest"],
            n_features=document["n_features"],
            _outcomes=[_Outcomes(level, differences) for level, *differences in trees],
            _scores=[[_trees(text) for text in texts] for texts in document["scores"]],
            _centre={name: np.array(values) for name, values in document["centre"].items()},
            scale_error=document.get("scale_error", {}),
        )


@dataclass(frozen=True)
class _Outcomes:
    """Outcome under each treatment: a level common to all, and each treatment's difference."""

    level: Any
    differences: list[Any]

    def predict(self, features: np.ndarray) -> np.ndarray:
        return _predict([self.level], features) + _predict(self.differences, features)


def fit_uplift(rows: Trial, seed: int) -> UpliftModel:
    """Fit all learners, and choose among them by rows that each had not seen.

    Args:
        rows: At least one row of each treatment in each of INNER_FOLDS folds.
    """
    fold = folds(rows, INNER_FOLDS, seed)
    outcomes: list[_Outcomes] = []
    expected = np.empty((len(rows.outcome), rows.k + 1))
    for part in range(INNER_FOLDS):
        model = _fit_outcomes(rows.take(fold != part), seed)
        outcomes.append(model)
        expected[fold == part] = model.predict(rows.features[fold == part])
    scores = doubly_robust_scores(rows, expected)
    effect = scores[:, 1:] - scores[:, :1]
    regressions: list[list[Any]] = []
    unseen: dict[Learner, np.ndarray] = {
        "t": expected[:, 1:] - expected[:, :1],
        "dr": np.empty_like(effect),
    }
    for part in range(INNER_FOLDS):
        seen = fold != part
        models = [
            _boost(rows.features[seen], effect[seen, a], None, _DIFFERENCE, seed)
            for a in range(rows.k)
        ]
        regressions.append(models)
        unseen["dr"][~seen] = _predict(models, rows.features[~seen])
    average = effect.mean(axis=0)
    scale: dict[Learner, float] = {"same": 0.0}
    loss: dict[Learner, float] = {"same": float(((effect - average) ** 2).sum())}
    centre: dict[Learner, np.ndarray] = {}
    sureness: dict[Learner, float] = {}
    scale_error: dict[Learner, float] = {}
    for name, found in unseen.items():
        centre[name] = found.mean(axis=0)
        slope, error = effect_slope(effect - average, found - centre[name], rows.unit)
        sureness[name] = slope / error if error > 0 else 0.0
        scale[name], scale_error[name] = shrunk(slope, error), error
        told = average + scale[name] * (found - centre[name])
        loss[name] = float(((effect - told) ** 2).sum())
    return UpliftModel(
        average=average,
        average_error=np.array(
            [cluster_error(effect[:, a] - average[a], rows.unit) for a in range(rows.k)]
        ),
        scale=scale,
        best=min(LEARNERS, key=lambda name: loss[name]),
        sharpest=max(sureness, key=lambda name: sureness[name]),
        n_features=rows.features.shape[1],
        _outcomes=outcomes,
        _scores=regressions,
        _centre=centre,
        scale_error=scale_error,
    )


def doubly_robust_scores(rows: Trial, expected: np.ndarray) -> np.ndarray:
    """Return each row's unbiased score of the outcome under each treatment, shape (n, k + 1).

    Args:
        expected: Modelled outcome under each treatment, by models that did not see the row, shape
            (n, k + 1); however wrong they are, scores are unbiased where propensities are right.
    """
    scores = expected.copy()
    place = np.arange(len(rows.outcome)), rows.treatment
    scores[place] += (rows.outcome - expected[place]) / rows.propensity
    return scores


def effect_slope(effect: np.ndarray, told: np.ndarray, unit: np.ndarray) -> tuple[float, float]:
    """Return the slope of scores on what was told of them unseen, and its standard error.

    Args:
        effect, told: Deviations from each treatment's mean, shape (n, k).
        unit: Codes from 0 without gaps, shape (n,).

    Returns:
        Both 0 where nothing told differs.
    """
    spread = float((told**2).sum())
    if spread == 0:
        return 0.0, 0.0
    slope = float((told * effect).sum()) / spread
    each = (told * (effect - slope * told)).sum(axis=1)
    return slope, cluster_error(each, unit) * len(each) / spread


def shrunk(slope: float, error: float) -> float:
    """Return a slope drawn towards 0 by its noise; 0 where it is no better than chance.

    Args:
        error: Its standard error.
    """
    if slope <= 0:
        return 0.0
    # Parts share training rows, so that without any heterogeneity the slope varies twice as much.
    return slope * max(0.0, 1 - 2 * (error / slope) ** 2)


def _fit_outcomes(rows: Trial, seed: int) -> _Outcomes:
    weight = 1 / rows.propensity
    level = _boost(rows.features, rows.outcome, weight, _LEVEL, seed)
    rest = rows.outcome - _predict([level], rows.features)[:, 0]
    differences: list[Any] = []
    for code in range(rows.k + 1):
        got = rows.treatment == code
        differences.append(_boost(rows.features[got], rest[got], weight[got], _DIFFERENCE, seed))
    return _Outcomes(level, differences)


def _boost(
    features: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    size: dict[str, int],
    seed: int,
) -> Any:
    kept = {name: value for name, value in size.items() if name != "rounds"}
    settings = {**_TREES, **kept, "seed": seed, "num_threads": 1}
    data = lightgbm.Dataset(features, target, weight=weight)
    return lightgbm.train(settings, data, num_boost_round=size["rounds"])


def _trees(text: str) -> Any:
    return lightgbm.Booster(model_str=text)


def _predict(models: Sequence[Any], features: np.ndarray) -> np.ndarray:
    return np.column_stack([model.predict(features, num_threads=1) for model in models])

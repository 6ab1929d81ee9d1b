"""A fitted response model: its inputs, its probabilities and how they were calibrated.

LightGBM or a logistic regression, tuned on earlier periods only. Probabilities are calibrated by
the line in logits that fits the forward folds: what a model told of exposures it had not seen.

Sources: Ke et al. 2017 (LightGBM); Platt 1999, Cox 1958 (recalibration).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import lightgbm
import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from foundation.calibration import recalibrate
from foundation.errors import TooLittleData
from foundation.scores import EDGE, log_loss
from recommender.exposures import TrainingFrame
from recommender.tuning import Fold, Settings, Tuned, tune

if TYPE_CHECKING:
    import optuna

Kind = Literal["lightgbm", "logistic"]
BASELINE: Kind = "logistic"
FEW_ROWS = 100_000
TRIALS: dict[Kind, int] = {"logistic": 10, "lightgbm": 20}


@dataclass(frozen=True)
class Line:
    """Recalibration: log-odds that happen, from log-odds that are told."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, any shape; the identity leaves them to the last bit."""
        if self == _IDENTITY:
            return probability
        told = logit(np.clip(probability, EDGE, 1 - EDGE))
        return expit(self.intercept + self.slope * told)


_IDENTITY = Line()


@dataclass(frozen=True)
class ResponseModel:
    """A fitted model. `names` are its inputs in order; `feature_hash` the definitions' own."""

    kind: Kind
    estimator: Any
    names: tuple[str, ...]
    feature_hash: str
    settings: Settings
    line: Line = _IDENTITY

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return response probabilities, shape (n,), for inputs of shape (n, len(names))."""
        if not len(matrix):
            # scikit-learn refuses what needs no answer.
            return np.empty(0)
        return self.line(_told(self.kind, self.estimator, matrix))

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input adds to the log-odds, against the average of training.

        Args:
            matrix: Inputs, shape (n, len(names)).

        Returns:
            Before calibration, shape (n, len(names)).
        """
        if self.kind == "lightgbm":
            # The last column is the average.
            return np.asarray(self.estimator.predict(matrix, pred_contrib=True))[:, :-1]
        parts = self.estimator[:-1].transform(matrix) * self.estimator[-1].coef_[0]
        found = parts[:, : len(self.names)].copy()
        # Whether a value is missing speaks for the input that it is missing from.
        indicator = self.estimator[0].indicator_
        missing = np.empty(0, dtype=int) if indicator is None else indicator.features_
        found[:, missing] += parts[:, len(self.names) :]
        return found

    def importance(self) -> list[tuple[str, float]]:
        """Return inputs by weight: total gain of LightGBM, |coefficient| of the logistic."""
        if self.kind == "lightgbm":
            weights = self.estimator.feature_importance(importance_type="gain")
        else:
            # Indicators of missing values follow the inputs; they are counted with none.
            weights = np.abs(self.estimator[-1].coef_[0][: len(self.names)])
        pairs = zip(self.names, (float(w) for w in weights), strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


@dataclass(frozen=True)
class Fitted:
    """A model, and the calibrated probabilities it gave on the forward folds, folds in a row.

    `forward` is None where the training period is too short for folds.
    """

    model: ResponseModel
    forward: np.ndarray | None


def fit_response_model(
    kind: Kind, frame: TrainingFrame, folds: Sequence[Fold], feature_hash: str, seed: int
) -> Fitted:
    """Choose settings on forward folds, fit them on the whole frame and calibrate.

    Args:
        frame: The training period.
        folds: Its forward folds; without any the plainest settings are taken.
        feature_hash: Fingerprint of what the inputs mean.
    """
    way = _WAYS[kind]
    if not folds:
        estimator = way.fit(frame, way.plain, seed)
        return Fitted(ResponseModel(kind, estimator, frame.names, feature_hash, way.plain), None)
    outcome = np.concatenate([fold.later.outcome for fold in folds])

    def forward(settings: Settings) -> list[Tuned]:
        parts = [
            way.variants(way.fit(fold.earlier, settings, seed), settings, fold.later.matrix)
            for fold in folds
        ]
        return [
            Tuned(variant[0][0], np.concatenate([told for _, told in variant]))
            for variant in zip(*parts, strict=True)
        ]

    best = tune(forward, way.space, way.plain, outcome, seed, TRIALS[kind])
    line = _line(outcome, best.forward)
    model = ResponseModel(
        kind,
        way.fit(frame, best.settings, seed),
        frame.names,
        feature_hash,
        best.settings,
        line,
    )
    return Fitted(model, line(best.forward))


def _line(outcome: np.ndarray, forward: np.ndarray) -> Line:
    """Return the line that fits, where it surely does so better than what was told."""
    try:
        line = Line(*recalibrate(outcome, logit(np.clip(forward, EDGE, 1 - EDGE))))
    except TooLittleData:
        return _IDENTITY
    # A line that falls would turn the order round: forward the model knew nothing.
    if not line.slope > 0:
        return _IDENTITY
    gained = log_loss(outcome, forward) - log_loss(outcome, line(forward))
    # Likelihood ratio (Wilks 1938): the line's own noise must not spoil a calibrated model.
    sure = 2 * len(outcome) * gained > chi2.ppf(0.95, df=2)
    return line if sure else _IDENTITY


def _told(kind: Kind, estimator: Any, matrix: np.ndarray) -> np.ndarray:
    if kind == "lightgbm":
        return np.asarray(estimator.predict(matrix), dtype=np.float64)
    return np.asarray(estimator.predict_proba(matrix)[:, 1], dtype=np.float64)


# ---------------------------------------------------------------------------------- LightGBM

_ROUNDS = (40, 80, 120, 160, 240)


def _tree_space(trial: "optuna.Trial") -> Settings:
    return {
        "num_leaves": trial.suggest_int("num_leaves", 3, 24, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 0.8),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 30, log=True),
    }


def _fit_trees(frame: TrainingFrame, settings: Settings, seed: int) -> Any:
    data = lightgbm.Dataset(frame.matrix, frame.outcome, feature_name=_tree_names(frame.names))
    return lightgbm.train(
        {
            "objective": "binary",
            "num_leaves": int(settings["num_leaves"]),
            "min_data_in_leaf": int(settings["min_data_in_leaf"]),
            "feature_fraction": settings["feature_fraction"],
            "lambda_l2": settings["lambda_l2"],
            "learning_rate": 0.04,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            # On few rows threads wait for each other longer than they work.
            "num_threads": 1 if len(frame.rows) < FEW_ROWS else 0,
            "verbose": -1,
        },
        data,
        num_boost_round=int(settings.get("rounds", _ROUNDS[-1])),
    )


def _fewer_trees(
    estimator: Any, settings: Settings, matrix: np.ndarray
) -> list[tuple[Settings, np.ndarray]]:
    """Return what the first trees tell: a shorter training is the start of a longer one."""
    return [
        (
            {**settings, "rounds": float(rounds)},
            np.asarray(estimator.predict(matrix, num_iteration=rounds), dtype=np.float64),
        )
        for rounds in _ROUNDS
    ]


def _tree_names(names: Sequence[str]) -> list[str]:
    # LightGBM refuses JSON's special characters in names, and names that occur twice.
    plain = ["".join(c if c.isalnum() or c in "_=-" else "_" for c in name) for name in names]
    if len(set(plain)) == len(plain):
        return plain
    return [f"{place}_{name}" for place, name in enumerate(plain)]


# -------------------------------------------------------------------------------- logistic


def _penalty_space(trial: "optuna.Trial") -> Settings:
    return {"C": trial.suggest_float("C", 0.0005, 1.0, log=True)}


def _fit_logistic(frame: TrainingFrame, settings: Settings, _seed: int) -> Pipeline:
    pipeline = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        # Spend and counts are heavy-tailed: arcsinh is a logarithm that takes 0 and negatives,
        # so that a few big baskets do not rule the fit, and it costs nothing when serving.
        FunctionTransformer(np.arcsinh),
        # A line knows nothing beyond what it was fitted on: an offer of 60 days where all had 21
        # (and one an hour more, by daylight saving) would be answered for sure.
        MinMaxScaler(clip=True),
        StandardScaler(),
        LogisticRegression(C=settings["C"], max_iter=2000),
    )
    return pipeline.fit(frame.matrix, frame.outcome)


def _as_fitted(
    estimator: Any, settings: Settings, matrix: np.ndarray
) -> list[tuple[Settings, np.ndarray]]:
    return [(settings, _told("logistic", estimator, matrix))]


@dataclass(frozen=True)
class _Way:
    """How one kind is fitted and searched; `plain` is taken where there is nothing to choose on."""

    fit: Callable[[TrainingFrame, Settings, int], Any]
    variants: Callable[[Any, Settings, np.ndarray], list[tuple[Settings, np.ndarray]]]
    space: "Callable[[optuna.Trial], Settings]"
    plain: Settings


_WAYS: dict[Kind, _Way] = {
    "logistic": _Way(_fit_logistic, _as_fitted, _penalty_space, {"C": 0.01}),
    "lightgbm": _Way(
        _fit_trees,
        _fewer_trees,
        _tree_space,
        {
            "num_leaves": 4,
            "min_data_in_leaf": 60,
            "feature_fraction": 0.3,
            "lambda_l2": 1.0,
            "rounds": 80.0,
        },
    ),
}

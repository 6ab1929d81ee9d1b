"""The response model: how likely is this customer to redeem this offer, shown here and now?

LightGBM against a logistic baseline, split by time and tuned on earlier periods only. The plain
model keeps the title unless the other one beats it on the same held-out rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import lightgbm
import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from foundation.errors import TooLittleData
from foundation.scores import Bin, calibration_error, equal_count_bins
from recommender.evaluation import Comparison, compare_auc, log_loss
from recommender.exposures import TrainingFrame

Kind = Literal["lightgbm", "logistic"]
BASELINE: Kind = "logistic"
HELD_OUT_SHARE = 0.25
FEWEST_RESPONSES = 50
FEW_ROWS = 100_000


@dataclass(frozen=True)
class ResponseModel:
    """A fitted model. `names` are its inputs in order; `feature_hash` the definitions' own."""

    kind: Kind
    estimator: Any
    names: tuple[str, ...]
    feature_hash: str
    settings: dict[str, float]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return response probabilities, shape (n,), for inputs of shape (n, len(names))."""
        if self.kind == "lightgbm":
            return np.asarray(self.estimator.predict(matrix), dtype=np.float64)
        return np.asarray(self.estimator.predict_proba(matrix)[:, 1], dtype=np.float64)

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
class HeldOut:
    """What one model did on the held-out rows."""

    log_loss: float
    calibration_error: float
    bins: list[Bin]


@dataclass(frozen=True)
class ResponseReport:
    """Two fitted models on one time split, and which of them is to serve."""

    champion: Kind
    models: dict[Kind, ResponseModel]
    comparison: Comparison
    held_out: dict[Kind, HeldOut]
    test_from: datetime
    rows_trained: int
    rows_held_out: int
    rows_straddling: int
    rows_censored: int
    responses_trained: int
    responses_held_out: int
    rows_unanswerable: int = 0

    def verdict(self) -> str:
        """Say in one sentence which model won and how sure that is."""
        gain = self.comparison.gain["lightgbm"]
        by = f"{gain.value:+.3f} AUC [{gain.low:+.3f}, {gain.high:+.3f}]"
        if self.champion == BASELINE:
            return f"the logistic baseline wins: LightGBM against it {by}"
        sure = "surely" if gain.low > 0 else "not surely"
        return f"LightGBM wins, {sure}: against the logistic baseline {by}"


def held_out_start(rows: pd.DataFrame, share: float = HELD_OUT_SHARE) -> datetime:
    """Return the latest exposure time that leaves at least `share` of the rows after it.

    Raises:
        TooLittleData: All exposures happened at one time, so that no past can predict a future.
    """
    times = rows["at"].sort_values(ignore_index=True)
    found = times.iloc[int(np.floor(len(times) * (1 - share)))] if len(times) else None
    if found is None or found == times.iloc[0]:
        raise TooLittleData(
            f"{len(rows)} exposures lie at too few times for a split by time; load more history"
        )
    return found.to_pydatetime()


def train_response(
    frame: TrainingFrame, feature_hash: str, seed: int, test_from: datetime | None = None
) -> ResponseReport:
    """Train both models and compare them on later exposures.

    Args:
        frame: All exposures whose window is over.
        feature_hash: Fingerprint of the customer features' definitions.
        test_from: First instant of the held-out period; by default the latest quarter.

    Raises:
        TooLittleData: Too few responses, or too few exposures without one, before or after the
            split.
    """
    test_from = test_from or held_out_start(frame.rows)
    earlier, later = _split(frame, test_from)
    for part, word in ((earlier, "before"), (later, "from")):
        for outcome, what in ((1, "responses"), (0, "exposures without a response")):
            found = int((part.outcome == outcome).sum())
            if found < FEWEST_RESPONSES:
                raise TooLittleData(
                    f"{found} {what} {word} {test_from:%Y-%m-%d}; an offer model needs "
                    f"{FEWEST_RESPONSES} on either side of the split"
                )
    models: dict[Kind, ResponseModel] = {
        kind: _tuned(kind, earlier, feature_hash, seed) for kind in ("logistic", "lightgbm")
    }
    scores: dict[Kind, np.ndarray] = {
        kind: model.predict(later.matrix) for kind, model in models.items()
    }
    comparison = compare_auc(
        later.outcome,
        {str(k): v for k, v in scores.items()},
        later.rows["customer_id"].to_numpy(),
        BASELINE,
        seed,
    )
    wins = comparison.gain["lightgbm"].value > 0
    return ResponseReport(
        champion="lightgbm" if wins else BASELINE,
        models=models,
        comparison=comparison,
        held_out={kind: _held_out(later.outcome, score) for kind, score in scores.items()},
        test_from=test_from,
        rows_trained=len(earlier.rows),
        rows_held_out=len(later.rows),
        rows_straddling=len(frame.rows) - len(earlier.rows) - len(later.rows),
        rows_censored=frame.censored,
        responses_trained=int(earlier.outcome.sum()),
        responses_held_out=int(later.outcome.sum()),
        rows_unanswerable=frame.unanswerable,
    )


def _split(frame: TrainingFrame, instant: datetime) -> tuple[TrainingFrame, TrainingFrame]:
    """Cut by time: a training row's window is over before the first test row is shown."""
    earlier = (frame.rows["ends"] <= instant).to_numpy()
    later = (frame.rows["at"] >= instant).to_numpy()
    return frame.take(earlier), frame.take(later)


def _held_out(outcome: np.ndarray, probability: np.ndarray) -> HeldOut:
    bins = equal_count_bins(outcome, probability)
    return HeldOut(log_loss(outcome, probability), calibration_error(bins), bins)


def _tuned(kind: Kind, frame: TrainingFrame, feature_hash: str, seed: int) -> ResponseModel:
    """Choose settings on the latest part of the training period, then fit on all of it."""
    fit, grid = (_fit_lightgbm, _TREES) if kind == "lightgbm" else (_fit_logistic, _PENALTIES)
    return _wrap(kind, fit, frame, feature_hash, seed, _best(kind, fit, grid, frame, seed))


_Fit = Callable[[TrainingFrame, dict[str, float], int], Any]


def _best(
    kind: Kind, fit: _Fit, grid: list[dict[str, float]], frame: TrainingFrame, seed: int
) -> dict[str, float]:
    try:
        past, recent = _split(frame, held_out_start(frame.rows))
    except TooLittleData:
        return grid[0]
    if len(np.unique(past.outcome)) < 2 or not recent.outcome.any():
        return grid[0]
    losses = [
        log_loss(recent.outcome, _wrap(kind, fit, past, "", seed, s).predict(recent.matrix))
        for s in grid
    ]
    return grid[int(np.argmin(losses))]


def _wrap(
    kind: Kind,
    fit: _Fit,
    frame: TrainingFrame,
    feature_hash: str,
    seed: int,
    settings: dict[str, float],
) -> ResponseModel:
    return ResponseModel(kind, fit(frame, settings, seed), frame.names, feature_hash, settings)


# The plainest first: it is taken where the training period is too short to choose.
_TREES: list[dict[str, float]] = [
    {"num_leaves": leaves, "rounds": rounds} for leaves in (4, 8, 15) for rounds in (100, 200, 400)
]
_PENALTIES: list[dict[str, float]] = [{"C": c} for c in (0.001, 0.003, 0.01, 0.03, 0.1)]


def _fit_lightgbm(frame: TrainingFrame, settings: dict[str, float], seed: int) -> Any:
    data = lightgbm.Dataset(frame.matrix, frame.outcome, feature_name=_tree_names(frame.names))
    return lightgbm.train(
        {
            "objective": "binary",
            "num_leaves": int(settings["num_leaves"]),
            "learning_rate": 0.03,
            "min_data_in_leaf": 60,
            "feature_fraction": 0.3,
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
        num_boost_round=int(settings["rounds"]),
    )


def _tree_names(names: Sequence[str]) -> list[str]:
    # LightGBM refuses JSON's special characters in names, and names that occur twice.
    plain = ["".join(c if c.isalnum() or c in "_=-" else "_" for c in name) for name in names]
    if len(set(plain)) == len(plain):
        return plain
    return [f"{place}_{name}" for place, name in enumerate(plain)]


def _fit_logistic(frame: TrainingFrame, settings: dict[str, float], _seed: int) -> Pipeline:
    pipeline = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        # Spend and counts are heavy-tailed: arcsinh is a logarithm that takes 0 and negatives,
        # so that a few big baskets do not rule the fit, and it costs nothing when serving.
        FunctionTransformer(np.arcsinh),
        StandardScaler(),
        LogisticRegression(C=settings["C"], max_iter=2000),
    )
    return pipeline.fit(frame.matrix, frame.outcome)

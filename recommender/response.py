"""The response model: how likely is this customer to redeem this offer, shown here and now?

LightGBM against a logistic baseline, split by time. Settings, calibration and the choice between
the two come from earlier periods only, so the held-out figures are nobody's own choice. The plain
model keeps the title unless the other one surely beats it on earlier periods' forward folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from foundation.calibration import calibration
from foundation.errors import TooLittleData
from foundation.scores import Bin, Interval, calibration_error, equal_count_bins, log_loss
from recommender.evaluation import Comparison, compare_auc
from recommender.exposures import TrainingFrame
from recommender.offer_features import is_offer_feature
from recommender.reference import Reference, distribution, once_each
from recommender.response_model import (
    BASELINE,
    Fitted,
    Kind,
    ResponseModel,
    fit_response_model,
)
from recommender.tuning import Fold, forward_folds

HELD_OUT_SHARE = 0.25
FEWEST_RESPONSES = 50


@dataclass(frozen=True)
class HeldOut:
    """What one model did on the held-out rows.

    `calibration` adds slope, observed / expected, skill and more, each with its bounds as name_low
    and name_high; empty where the probabilities are all alike, so that no slope can be told.
    """

    log_loss: float
    calibration_error: float
    bins: list[Bin]
    calibration: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def mean_score(self) -> float:
        """The mean of its probabilities."""
        rows = [one.n for one in self.bins]
        return float(np.average([one.predicted for one in self.bins], weights=rows))


@dataclass(frozen=True)
class Group:
    """Held-out rows that a model may know least of: each kind's AUC, or why there is none."""

    rows: int
    responses: int
    auc: dict[str, Interval]
    refused: str | None = None


@dataclass(frozen=True)
class ResponseReport:
    """Two fitted models on one time split, and which of them is to serve.

    `groups` are held-out rows of cold offers (not shown in training) and of cold customers (who
    had not bought anything before). `recorded` counts exposures of our own decisions, `outdated`
    those left out because they were recorded under other definitions of the inputs.
    """

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
    groups: Mapping[str, Group] = field(default_factory=dict[str, Group])
    recorded: int = 0
    outdated: int = 0
    references: Mapping[Kind, Reference] = field(default_factory=dict[Kind, Reference])

    def verdict(self) -> str:
        """Say in one sentence which model is to serve and how sure its gain is."""
        gain = self.comparison.gain["lightgbm"]
        by = f"{gain.value:+.3f} AUC [{gain.low:+.3f}, {gain.high:+.3f}]"
        if self.champion == BASELINE:
            return f"the logistic baseline is kept: LightGBM against it {by}"
        sure = "surely" if gain.low > 0 else "not surely"
        return f"LightGBM wins, {sure}: against the logistic baseline {by}"

    def sources(self) -> str:
        """Say in one line what the exposures are of, and how many could not be used."""
        used = self.rows_trained + self.rows_held_out + self.rows_straddling
        return (
            f"{used:,} exposures: {self.recorded:,} of own decisions, {used - self.recorded:,} of "
            f"loaded history; left out: {self.rows_censored:,} still open, "
            f"{self.rows_unanswerable:,} of unknown or ended offers, {self.outdated:,} recorded "
            "under other definitions"
        )


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
        feature_hash: Fingerprint of what the inputs mean.
        test_from: First instant of the held-out period; by default the latest quarter.

    Raises:
        TooLittleData: Too few responses, or too few exposures without one, before or after the
            split.
    """
    test_from = test_from or held_out_start(frame.rows)
    earlier, later = split(frame, test_from)
    for part, word in ((earlier, "before"), (later, "from")):
        for outcome, what in ((1, "responses"), (0, "exposures without a response")):
            found = int((part.outcome == outcome).sum())
            if found < FEWEST_RESPONSES:
                raise TooLittleData(
                    f"{found} {what} {word} {test_from:%Y-%m-%d}; an offer model needs "
                    f"{FEWEST_RESPONSES} on either side of the split"
                )
    folds = forward_folds(earlier)
    kinds: tuple[Kind, ...] = (BASELINE, "lightgbm")
    fitted: dict[Kind, Fitted] = {
        kind: fit_response_model(kind, earlier, folds, feature_hash, seed) for kind in kinds
    }
    models: dict[Kind, ResponseModel] = {kind: found.model for kind, found in fitted.items()}
    scores: dict[Kind, np.ndarray] = {
        kind: model.predict(later.matrix) for kind, model in models.items()
    }
    customers = later.rows["customer_id"].to_numpy()
    named = {str(kind): score for kind, score in scores.items()}
    rate = np.full(len(later.rows), earlier.outcome.mean())
    return ResponseReport(
        champion=chosen_kind(fitted, folds, seed),
        models=models,
        comparison=compare_auc(later.outcome, named, customers, BASELINE, seed),
        held_out={
            kind: _held_out(later.outcome, score, rate, scores[BASELINE], customers, seed)
            for kind, score in scores.items()
        },
        test_from=test_from,
        rows_trained=len(earlier.rows),
        rows_held_out=len(later.rows),
        rows_straddling=len(frame.rows) - len(earlier.rows) - len(later.rows),
        rows_censored=frame.censored,
        responses_trained=int(earlier.outcome.sum()),
        responses_held_out=int(later.outcome.sum()),
        rows_unanswerable=frame.unanswerable,
        groups={
            "cold offers": _group(
                later, named, ~later.rows["offer_id"].isin(earlier.rows["offer_id"]), seed
            ),
            "cold customers": _group(later, named, ~later.rows["bought_before"], seed),
        },
        recorded=frame.recorded,
        outdated=frame.outdated,
        references=_references(frame, earlier, later, scores),
    )


def split(frame: TrainingFrame, instant: datetime) -> tuple[TrainingFrame, TrainingFrame]:
    """Cut by time: a training row's window is over before the first test row is shown."""
    earlier = (frame.rows["ends"] <= instant).to_numpy()
    later = (frame.rows["at"] >= instant).to_numpy()
    return frame.take(earlier), frame.take(later)


def _references(
    frame: TrainingFrame,
    earlier: TrainingFrame,
    later: TrainingFrame,
    scores: Mapping[Kind, np.ndarray],
) -> dict[Kind, Reference]:
    """Return inputs as trained on, and scores as told of held-out rows.

    Scores of rows that a model has learned from are more extreme than those to come.
    """
    customers, offers = (
        once_each(earlier.rows[unit].to_numpy()) for unit in ("customer_id", "offer_id")
    )
    inputs = {
        name: distribution(
            earlier.matrix[:, place], offers if is_offer_feature(name) else customers
        )
        for place, name in enumerate(frame.names)
    }
    held_out = once_each(later.rows["customer_id"].to_numpy())
    shown, known = (frame.rows[name].max().to_pydatetime() for name in ("at", "ends"))
    return {
        kind: Reference(inputs, distribution(score, held_out), shown, known)
        for kind, score in scores.items()
    }


def chosen_kind(fitted: Mapping[Kind, Fitted], folds: Sequence[Fold], seed: int) -> Kind:
    """Return the plain model unless the other one is surely better on the forward folds."""
    told = {str(kind): found.forward for kind, found in fitted.items() if found.forward is not None}
    if len(told) < len(fitted):
        return BASELINE
    outcome = np.concatenate([fold.later.outcome for fold in folds])
    customers = np.concatenate([fold.later.rows["customer_id"].to_numpy() for fold in folds])
    try:
        gain = compare_auc(outcome, told, customers, BASELINE, seed).gain["lightgbm"]
    except TooLittleData:
        return BASELINE
    return "lightgbm" if gain.low > 0 else BASELINE


def _held_out(
    outcome: np.ndarray,
    probability: np.ndarray,
    rate: np.ndarray,
    baseline: np.ndarray,
    customers: np.ndarray,
    seed: int,
) -> HeldOut:
    bins = equal_count_bins(outcome, probability)
    try:
        judged = calibration(outcome, probability, rate, baseline, customers, seed).figures()
    except TooLittleData:
        judged = {}
    return HeldOut(log_loss(outcome, probability), calibration_error(bins), bins, judged)


def _group(
    later: TrainingFrame, scores: Mapping[str, np.ndarray], chosen: "pd.Series[bool]", seed: int
) -> Group:
    here = chosen.to_numpy()
    outcome = later.outcome[here]
    rows, responses = int(here.sum()), int(outcome.sum())
    inside = {name: score[here] for name, score in scores.items()}
    customers = later.rows["customer_id"].to_numpy()[here]
    try:
        return Group(rows, responses, compare_auc(outcome, inside, customers, BASELINE, seed).auc)
    except TooLittleData as refused:
        return Group(rows, responses, {}, str(refused))

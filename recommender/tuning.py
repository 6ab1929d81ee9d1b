"""Settings of a response model: which predict the next exposures best, seen from earlier ones?

Every trial is judged on forward folds: fitted on exposures whose windows were over, scored on
those that came next. Nothing later than the training period is looked at.

Sources: rolling origins, Tashman 2000; tree-structured Parzen estimator, Bergstra et al. 2011,
by Optuna (Akiba et al. 2019).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundation.scores import log_loss
from recommender.exposures import TrainingFrame

if TYPE_CHECKING:
    import optuna

FOLDS = 3
# A fold with fewer of either outcome says little about which settings are better.
FEWEST_OUTCOMES = 10

Settings = dict[str, float]


@dataclass(frozen=True)
class Fold:
    """Exposures whose windows were over, and those that came next."""

    earlier: TrainingFrame
    later: TrainingFrame


def forward_folds(frame: TrainingFrame) -> list[Fold]:
    """Cut a frame by time so that the later half of its rows is predicted in three steps.

    Returns:
        The folds in the order of time, without those that lack one of the outcomes on either
        side; none where all exposures lie at too few times.
    """
    at, ends = frame.rows["at"], frame.rows["ends"]
    times = at.sort_values(ignore_index=True)
    places = [int(len(times) * (1 + step / FOLDS) / 2) for step in range(FOLDS)]
    cuts = sorted({times.iloc[place] for place in places}) if len(times) else []
    found: list[Fold] = []
    for place, cut in enumerate(cuts):
        later = at >= cut
        if place + 1 < len(cuts):
            later &= at < cuts[place + 1]
        fold = Fold(frame.take((ends <= cut).to_numpy()), frame.take(later.to_numpy()))
        if min(_fewest(fold.earlier), _fewest(fold.later)) >= FEWEST_OUTCOMES:
            found.append(fold)
    return found


def _fewest(frame: TrainingFrame) -> int:
    responses = int(frame.outcome.sum())
    return min(responses, len(frame.rows) - responses)


@dataclass(frozen=True)
class Tuned:
    """Settings, and the probabilities they gave to the folds' later rows, folds in a row."""

    settings: Settings
    forward: np.ndarray


def tune(
    forward: Callable[[Settings], list[Tuned]],
    space: "Callable[[optuna.Trial], Settings]",
    plain: Settings,
    outcome: np.ndarray,
    seed: int,
    trials: int,
) -> Tuned:
    """Search for the settings with the least log loss over all forward folds.

    Args:
        forward: Tries settings, and variants of them that come at no cost (fewer trees).
        space: Asks a trial for settings.
        plain: What is tried first.
        outcome: Of the folds' later rows, folds in a row.
        seed: The same seed tries the same settings.
    """
    import optuna

    tried: list[tuple[float, Tuned]] = []

    def loss(trial: "optuna.Trial") -> float:
        found = [(log_loss(outcome, t.forward), t) for t in forward(space(trial))]
        tried.extend(found)
        return min(value for value, _ in found)

    # It tells of every trial otherwise.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(plain)
    study.optimize(loss, n_trials=trials)
    return min(tried, key=lambda pair: pair[0])[1]

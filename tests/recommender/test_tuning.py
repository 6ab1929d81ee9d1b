"""Settings are chosen by what they tell of exposures that come later, inside the past alone."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from recommender.exposures import TrainingFrame
from recommender.response_model import Line, fit_response_model
from recommender.tuning import FEWEST_OUTCOMES, Tuned, forward_folds, tune

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def frame(n: int = 1_200, days: int = 120, window: int = 10, rate: float = 0.3) -> TrainingFrame:
    draw = np.random.default_rng(4)
    matrix = draw.normal(size=(n, 2))
    at = START + pd.to_timedelta(np.sort(draw.integers(0, days, n)), unit="D")
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{i}" for i in range(n)],
            "offer_id": "o",
            "at": at,
            "ends": at + window * DAY,
            "outcome": (draw.random(n) < expit(logit(rate) + 1.5 * matrix[:, 0])).astype(int),
            "source": "history",
            "bought_before": True,
        }
    )
    return TrainingFrame(rows, matrix, ("one", "two"), 0, START + 900 * DAY)


def test_a_fold_is_fitted_on_windows_that_were_over_before_its_later_rows() -> None:
    whole = frame()

    folds = forward_folds(whole)

    assert len(folds) == 3
    for fold in folds:
        assert fold.earlier.rows["ends"].max() <= fold.later.rows["at"].min()
    # The later half, each row once.
    later = pd.concat([fold.later.rows for fold in folds])
    assert later["customer_id"].is_unique
    assert len(later) == pytest.approx(len(whole.rows) / 2, abs=20)


def test_a_fold_that_lacks_an_outcome_is_left_out() -> None:
    whole = frame(rate=0.002)
    assert whole.outcome.sum() < 6 * FEWEST_OUTCOMES

    assert len(forward_folds(whole)) < 3
    assert forward_folds(whole.take(np.zeros(len(whole.rows), dtype=bool))) == []
    assert forward_folds(frame(days=1)) == []


def test_the_least_forward_loss_wins_also_among_free_variants() -> None:
    outcome = np.array([0.0, 1.0, 1.0, 0.0])

    def forward(settings: dict[str, float]) -> list[Tuned]:
        told = [abs(settings["x"] - 0.4), settings["x"]]
        return [
            Tuned({**settings, "way": w}, np.where(outcome, 1 - t, t)) for w, t in enumerate(told)
        ]

    best = tune(
        forward, lambda trial: {"x": trial.suggest_float("x", 0.1, 0.9)}, {"x": 0.5}, outcome, 7, 30
    )

    # Source: the truth is told best where |x - .4| is near 0 in the first way.
    assert best.settings["way"] == 0
    assert best.settings["x"] == pytest.approx(0.4, abs=0.05)


def test_forward_probabilities_add_up_to_what_happened() -> None:
    whole = frame()

    fitted = fit_response_model("lightgbm", whole, forward_folds(whole), "91bc", 7)

    assert fitted.forward is not None
    outcome = np.concatenate([fold.later.outcome for fold in forward_folds(whole)])
    # Source: 600 rows; five hundredths are two and a half standard errors of their mean.
    assert fitted.forward.mean() == pytest.approx(outcome.mean(), abs=0.05)


def test_a_line_keeps_the_order_and_the_identity_every_bit() -> None:
    told = np.array([0.0, 1e-9, 0.2, 0.5, 1.0])

    assert Line()(told) is told
    moved = Line(-0.5, 0.8)(told)
    assert np.all(np.diff(moved) >= 0)
    assert moved[2] == pytest.approx(expit(-0.5 + 0.8 * logit(0.2)))
    assert np.all((moved > 0) & (moved < 1))

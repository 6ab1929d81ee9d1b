"""The benchmark of churn: figures under their names, each held to its own bar."""

import numpy as np

from benchmarks import churn
from foundation.calibration import calibration


def figures(probability: np.ndarray, happened: np.ndarray) -> dict[str, float]:
    n = len(happened)
    rate, recency = np.full(n, happened.mean()), np.random.default_rng(2).random(n)
    return churn._figures(calibration(happened, probability, rate, recency, np.arange(n), 7))


def test_figures_have_their_names_and_true_probabilities_hold_every_bar() -> None:
    draw = np.random.default_rng(1)
    # Mostly near 0 or 1, as of customers who are nearly all told apart.
    probability = draw.beta(0.3, 0.5, 8_000)
    happened = (draw.random(8_000) < probability).astype(float)
    found = figures(probability, happened)

    named = {"ece", "slope", "observed_expected", "brier_skill", "auc", "recency_auc", "n"}
    assert named <= found.keys()
    assert all(bar.holds for bar in churn.bars(found))
    # Squeezed towards a half: in the right order, and miscalibrated.
    squeezed = churn.bars(figures(0.25 + probability / 2, happened))
    assert {bar.name for bar in squeezed if not bar.holds} >= {"ece", "slope"}
    # A constant is calibrated, and knows nothing of anyone.
    constant = churn.bars(found | {"brier_skill": 0.0, "auc": 0.5})
    assert {bar.name for bar in constant if not bar.holds} == {"brier_skill", "auc"}

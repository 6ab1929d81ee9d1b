"""Randomised rows whose true effects are known."""

from dataclasses import dataclass

import numpy as np

from recommender.trial import Trial, trial


@dataclass(frozen=True)
class World:
    """Rows, and the true effect of each treatment on each, shape (n, k)."""

    rows: Trial
    effects: np.ndarray


def world(n: int, k: int, kind: str, seed: int, binary: bool = False) -> World:
    """Draw rows: `none` (no effect), `same` (.3 for all) or `split` (1 for some, else 0).

    Treatment a of `split` helps those whose feature 1 + a is above .3.
    """
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 6))
    treatment = draw.integers(0, k + 1, n)
    effects = np.full((n, k), {"none": 0.0, "same": 0.3, "split": 0.0}[kind])
    if kind == "split":
        effects = (x[:, 2 : 2 + k] > 0.3).astype(float)
    caused = np.column_stack([np.zeros(n), effects])[np.arange(n), treatment]
    if binary:
        chance = 0.2 + 0.1 * (x[:, 0] > 0) + 0.4 * caused
        return World(trial(x, treatment, (draw.random(n) < chance) * 1.0), 0.4 * effects)
    outcome = x[:, 0] + 0.5 * x[:, 1] ** 2 + caused + draw.normal(size=n)
    return World(trial(x, treatment, outcome), effects)

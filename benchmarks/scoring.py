"""How much of bare LightGBM's speed is left when a batch puts its inputs together itself?

Both score the same customer-offer pairs with the same model and threads. Bare LightGBM gets a ready
matrix; the product gets customers, offers, affinities and context, as a snapshot and a catalogue
have them. They take turns, part by part, so that a busy machine slows both alike. Their scores must
be equal to the last bit.
"""

import argparse
import os
import time
from typing import Any

import lightgbm
import numpy as np

from benchmarks.run import Bar
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.errors import RegularsError
from foundation.features import definitions
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_feature_names
from recommender.pair_scores import Inputs, pair_scores
from recommender.response_model import ResponseModel

RATIO = 0.8
PART = 250_000
TRAINED_ON, TREES = 20_000, 100


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=5_000_000, help="customer-offer pairs")
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--offers", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of LightGBM, for both")
    parser.add_argument("--seed", type=int, default=0, help="chance of customers and offers")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return rows a second of both, and their ratio.

    Raises:
        RegularsError: There is no row, customer or offer.
    """
    if min(options.rows, options.customers, options.offers) < 1:
        raise RegularsError(
            f"--rows {options.rows} --customers {options.customers} --offers {options.offers}: at "
            "least one of each is needed"
        )
    draw = np.random.default_rng(options.seed)
    features = [feature.name for feature in definitions()]
    offered = offer_feature_names(["TypeA", "TypeB", "TypeC"])
    names = (*features, *offered, *AFFINITY_NAMES, *CONTEXT_NAMES)
    inputs = Inputs(
        customers=_drawn(draw, (options.customers, len(features))),
        offers=_drawn(draw, (options.offers, len(offered))),
        affinity=_drawn(draw, (options.customers, options.offers, len(AFFINITY_NAMES))).astype(
            np.float32
        ),
        context=_drawn(draw, (options.customers, len(CONTEXT_NAMES))),
    )
    model = ResponseModel("lightgbm", _trained(draw, inputs, options.threads), names, "", {})
    ours = bare = 0.0
    differing, found, expected = 0, np.empty(0), np.empty(0)
    for start in range(0, options.rows, PART):
        customers = draw.integers(0, options.customers, min(PART, options.rows - start))
        offers = draw.integers(0, options.offers, len(customers))
        matrix = _matrix(inputs, customers, offers)
        for turn in (0, 1) if start // PART % 2 else (1, 0):
            begun = time.perf_counter()
            if turn:
                expected = model.estimator.predict(matrix)
                bare += time.perf_counter() - begun
            else:
                found = pair_scores(model, inputs, customers, offers)
                ours += time.perf_counter() - begun
        differing += int((found != expected).sum())
    return {
        "rows_per_second_ratio": bare / ours,
        "rows_per_second": options.rows / ours,
        "bare_rows_per_second": options.rows / bare,
        "differing": differing,
        "rows": options.rows,
        "inputs": len(names),
        "trees": TREES,
        "threads": options.threads,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    ratio, differing = figures["rows_per_second_ratio"], figures["differing"]
    return [
        Bar("rows_per_second_ratio", ratio, f"at least {RATIO}", ratio >= RATIO),
        Bar("differing", differing, "0", differing == 0),
    ]


def _drawn(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return heavy-tailed figures, one in ten unknown."""
    found = draw.lognormal(2, 1.5, shape)
    found[draw.random(shape) < 0.1] = np.nan
    return found


def _trained(draw: np.random.Generator, inputs: Inputs, threads: int) -> lightgbm.Booster:
    """Return trees that look at every input."""
    customers = draw.integers(0, len(inputs.customers), TRAINED_ON)
    matrix = _matrix(inputs, customers, draw.integers(0, len(inputs.offers), TRAINED_ON))
    signal = np.nan_to_num(np.log1p(matrix)) @ draw.normal(0, 0.3, matrix.shape[1])
    outcome = draw.random(TRAINED_ON) < 1 / (1 + np.exp(signal.mean() - signal + 2))
    return lightgbm.train(
        {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": threads, "seed": 0},
        lightgbm.Dataset(matrix, outcome.astype(float)),
        num_boost_round=TREES,
    )


def _matrix(inputs: Inputs, customers: np.ndarray, offers: np.ndarray) -> np.ndarray:
    affinity = inputs.affinity[customers, offers]
    parts = [inputs.customers[customers], inputs.offers[offers], affinity]
    return np.hstack([*parts, inputs.context[customers]])

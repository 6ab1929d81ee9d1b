"""Does off-policy evaluation hold what its intervals say, or refuse?

Logs of known truth are simulated in every cell of a grid: how far the target policy is from the
one that logged, how often and how much customers reward. Each log is evaluated or refused like any
other. Beside it stand the published figures of a real log (Open Bandit, men's campaign, small
sample), whose uniform policy is evaluated on what Thompson sampling logged.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import benchmarks
from benchmarks.run import Bar
from foundation.errors import RegularsError
from recommender.evidence import effective_size
from recommender.off_policy import Logged, ips, off_policy_value, snips

LOGS = 2_000
SMALLEST_COVERAGE = 0.92
# A cell in which fewer are answered is one that refuses; its few answers tell no coverage.
FEWEST_ANSWERED = 0.05
DATA = Path(benchmarks.__path__[0]).resolve().parents[1] / "shared/data/open_bandit_men"
# Source: the data's own figures, inverse propensity weighting of the rows, position ignored.
BANDIT = {"ips": (0.00300863, 5e-9), "snips": (0.00318942, 5e-9), "ess": (655.71, 0.005)}
OFFERS = 10
MISMATCH = (0.5, 1.0, 1.5, 2.5)
RATES = {0.002: 20_000, 0.02: 5_000, 0.2: 1_000}


@dataclass(frozen=True)
class Cell:
    """One way to make logs.

    Over the offers in turn the logging policy's chances fall, and the target's rise, by e to the
    power of `mismatch`; rates rise by half from the first to the last and then some. `spread` is
    the standard deviation of the logarithm of a reward of mean 1, `repeats` the decisions for each
    customer, whose rates then differ by a gamma factor of coefficient of variation 1.
    """

    mismatch: float
    rate: float
    decisions: int
    spread: float = 0.0
    repeats: int = 1

    def chances(self) -> tuple[np.ndarray, np.ndarray]:
        steps = np.exp(self.mismatch * np.linspace(0, 1, OFFERS))
        return (1 / steps) / (1 / steps).sum(), steps / steps.sum()

    def rates(self) -> np.ndarray:
        return self.rate * np.linspace(0.75, 1.25, OFFERS)

    def truth(self) -> float:
        return float(self.chances()[1] @ self.rates())

    def log(self, draw: np.random.Generator) -> Logged:
        logging, target = self.chances()
        offer = draw.choice(OFFERS, self.decisions, p=logging)
        customer = np.arange(self.decisions) // self.repeats
        rate = self.rates()[offer]
        if self.repeats > 1:
            rate = rate * draw.gamma(1.0, 1.0, customer[-1] + 1)[customer]
            # Above 1 it is a number of responses: the mean stays what the truth says.
            reward = draw.poisson(rate).astype(float)
        else:
            reward = (draw.random(self.decisions) < rate).astype(float)
        if self.spread:
            noise = draw.normal(-(self.spread**2) / 2, self.spread, self.decisions)
            reward *= np.exp(noise)
        return Logged(customer, logging[offer], target[offer], reward)


def grid() -> Iterator[Cell]:
    """Name the cells: overlap by reward rate, then money and customers who come again."""
    for mismatch in MISMATCH:
        for rate, decisions in RATES.items():
            yield Cell(mismatch, rate, decisions)
    for spread in (0.7, 1.2):
        yield Cell(0.5, 0.05, 4_000, spread=spread)
        yield Cell(1.5, 0.05, 10_000, spread=spread)
    for repeats in (5, 20):
        yield Cell(0.5, 0.05, 4_000, repeats=repeats)
        yield Cell(1.5, 0.05, 10_000, repeats=repeats)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of Open Bandit, one campaign"
    )
    parser.add_argument("--logs", type=int, default=LOGS, help="simulated logs in each cell")
    parser.add_argument("--seed", type=int, default=0, help="chance of the simulated logs")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the bandit's figures, and how the intervals held in each cell.

    Raises:
        RegularsError: There are no logs to make.
    """
    if options.logs < 1:
        raise RegularsError(f"--logs {options.logs}: at least one log is needed")
    draw = np.random.default_rng(options.seed)
    cells = [_cell(cell, options.logs, draw) for cell in grid()]
    answering = [cell for cell in cells if cell["refusal_rate"] <= 1 - FEWEST_ANSWERED]
    return {
        "bandit": _bandit(options.data),
        "cells": cells,
        "coverage_min": min((cell["coverage"] for cell in answering), default=None),
        "refusal_rate": float(np.mean([cell["refusal_rate"] for cell in cells])),
        "median_width": float(np.median([cell["median_width"] for cell in answering]))
        if answering
        else None,
        "logs_per_cell": options.logs,
        "data": str(options.data),
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold the figures to the bars; a bandit that was not there is said to be not measured."""
    held: list[Bar] = []
    for name, (published, within) in BANDIT.items():
        found = figures["bandit"][name]
        if found is None:
            wanted = f"not measured: {figures['data']} has no bts/men.csv.gz; give it by --data"
            held.append(Bar(f"bandit.{name}", 0.0, wanted, False))
            continue
        near = abs(found - published) <= within
        held.append(Bar(f"bandit.{name}", found, f"{published} +- {within}", near))
    lowest = figures["coverage_min"]
    return [
        *held,
        Bar(
            "coverage_min",
            lowest if lowest is not None else 1.0,
            f"at least {SMALLEST_COVERAGE} in each cell, or refusal",
            lowest is None or lowest >= SMALLEST_COVERAGE,
        ),
    ]


def _cell(cell: Cell, logs: int, draw: np.random.Generator) -> dict[str, Any]:
    truth, held, widths = cell.truth(), list[tuple[bool, bool]](), list[float]()
    for _ in range(logs):
        value = off_policy_value(cell.log(draw))
        if value.ips is None or value.snips is None:
            continue
        held.append(
            (
                value.ips.low <= truth <= value.ips.high,
                value.snips.low <= truth <= value.snips.high,
            )
        )
        widths.append((value.snips.high - value.snips.low) / truth)
    plain = float(np.mean([one for one, _ in held])) if held else None
    normalised = float(np.mean([other for _, other in held])) if held else None
    logging, target = cell.chances()
    return {
        "largest_weight": float((target / logging).max()),
        "rate": cell.rate,
        "decisions": cell.decisions,
        "spread": cell.spread,
        "repeats": cell.repeats,
        "answered": len(held),
        "refusal_rate": 1 - len(held) / logs,
        "coverage_ips": plain,
        "coverage_snips": normalised,
        "coverage": None if plain is None or normalised is None else min(plain, normalised),
        "median_width": float(np.median(widths)) if held else None,
    }


def _bandit(folder: Path) -> dict[str, Any]:
    files = {name: folder / name / "men.csv.gz" for name in ("bts", "random")}
    if not all(path.is_file() for path in files.values()):
        return {"ips": None, "snips": None, "ess": None, "on_policy": None, "refusal": None}
    rows = pd.read_csv(files["bts"], usecols=["item_id", "click", "propensity_score"])
    uniform = pd.read_csv(files["random"], usecols=["click"])
    reward = rows["click"].to_numpy(dtype=float)
    propensity = rows["propensity_score"].to_numpy(dtype=float)
    target = np.full(len(rows), 1 / rows["item_id"].nunique())
    weight = target / propensity
    # Each row is taken for a customer of its own: the data name none.
    log = Logged(np.arange(len(rows)), propensity, target, reward, adaptive=True)
    return {
        "ips": ips(weight, reward),
        "snips": snips(weight, reward),
        "ess": effective_size(weight),
        "on_policy": float(uniform["click"].mean()),
        "refusal": off_policy_value(log).refusal,
    }

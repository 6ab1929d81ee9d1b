"""Does off-policy evaluation hold what its intervals say, or refuse?

Logs of known truth are simulated in every cell of a grid: how far the target policy is from the
one that logged, how often and how much customers reward. Each log is evaluated or refused like any
other: by IPS, SNIPS and the doubly robust value of a single offer, with the mean rewards of other
customers as forecasts, and by IPS and SNIPS of whole slates. Refusing is no way out: in easy cells,
of many effective successes, nearly all logs must be answered. Beside it stand the published figures
of a real log (Open Bandit, men's campaign, small sample), whose uniform policy is evaluated on what
Thompson sampling logged.
"""

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import benchmarks
from benchmarks.run import Bar
from foundation.errors import RegularsError
from recommender.evidence import effective_size
from recommender.off_policy import Direct, Logged, OffPolicyValue, ips, off_policy_value, snips
from recommender.slate_value import slate_value

LOGS = 2_000
SMALLEST_COVERAGE = 0.92
# A cell in which fewer are answered is one that refuses; its few answers tell no coverage.
FEWEST_ANSWERED = 0.05
# A cell of so many expected effective successes, of the 30 that an answer takes, is easy.
EASY_SUCCESSES = 80
MOST_REFUSED_EASY = 0.05
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
    customer, whose rates then differ by a gamma factor of coefficient of variation 1. A slate of
    several `positions` is filled from the top by the same chances among the offers left, and each
    position earns half of the one above it.
    """

    mismatch: float
    rate: float
    decisions: int
    spread: float = 0.0
    repeats: int = 1
    positions: int = 1

    def chances(self) -> tuple[np.ndarray, np.ndarray]:
        steps = np.exp(self.mismatch * np.linspace(0, 1, OFFERS))
        return (1 / steps) / (1 / steps).sum(), steps / steps.sum()

    def slates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return every slate, shape (n, positions), and its chance by either policy, shape (n,)."""
        every = np.array(list(permutations(range(OFFERS), self.positions)))
        chance = [np.ones(len(every)), np.ones(len(every))]
        for known, offers in zip(chance, self.chances(), strict=True):
            left = np.ones(len(every))
            for offer in every.T:
                known *= offers[offer] / left
                left -= offers[offer]
        return every, chance[0], chance[1]

    def marginals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how likely each offer is at each position, shape (positions, OFFERS), twice."""
        every, *both = self.slates()
        logging, target = (
            np.array([np.bincount(offer, chance, OFFERS) for offer in every.T]) for chance in both
        )
        return logging, target

    def truth(self) -> float:
        return float((self.marginals()[1] * self.rates()).sum())

    def rates(self) -> np.ndarray:
        """Return the mean reward of each offer by position, shape (positions, OFFERS)."""
        steps = 0.5 ** np.arange(self.positions)
        return np.outer(steps, self.rate * np.linspace(0.75, 1.25, OFFERS))

    def easy(self) -> bool:
        """Whether its logs must be answered, by the cell's truth and not by an estimator's word."""
        if self.repeats > 1:
            return False
        logging, target = self.marginals()
        squares = float((target**2 / logging * self.rates()).sum()) * np.exp(self.spread**2)
        return bool(self.decisions * self.truth() ** 2 / squares >= EASY_SUCCESSES)

    def log(self, draw: np.random.Generator) -> tuple[Logged, Direct | None]:
        """Return a log, a row for each decision and position, and forecasts for single offers."""
        every, chances, _ = self.slates()
        logging, target = self.marginals()
        offer = every[draw.choice(len(every), self.decisions, p=chances)].ravel()
        place = np.tile(np.arange(self.positions), self.decisions)
        customer = np.repeat(np.arange(self.decisions) // self.repeats, self.positions)
        rate = self.rates()[place, offer]
        if self.repeats > 1:
            rate = rate * draw.gamma(1.0, 1.0, customer[-1] + 1)[customer]
            # Above 1 it is a number of responses: the mean stays what the truth says.
            reward = draw.poisson(rate).astype(float)
        else:
            reward = (draw.random(len(rate)) < rate).astype(float)
        if self.spread:
            noise = draw.normal(-(self.spread**2) / 2, self.spread, len(rate))
            reward *= np.exp(noise)
        logged = Logged(customer, logging[place, offer], target[place, offer], reward)
        return logged, self.forecasts(offer, logged) if self.positions == 1 else None

    def forecasts(self, offer: np.ndarray, logged: Logged) -> Direct:
        """Forecast each half of the customers by the offers' mean rewards among the others."""
        half = logged.customer % 2
        means = np.zeros((2, OFFERS))
        for fold in (0, 1):
            others = half != fold
            shown = np.bincount(offer[others], minlength=OFFERS)
            earned = np.bincount(offer[others], logged.reward[others], OFFERS)
            means[fold] = earned / np.maximum(shown, 1)
        return Direct(means[half, offer], (means @ self.chances()[1])[half])


def grid() -> Iterator[Cell]:
    """Name the cells: overlap by reward rate, then money, customers who come again, slates."""
    for mismatch in MISMATCH:
        for rate, decisions in RATES.items():
            yield Cell(mismatch, rate, decisions)
    for spread in (0.7, 1.2):
        yield Cell(0.5, 0.05, 4_000, spread=spread)
        yield Cell(1.5, 0.05, 10_000, spread=spread)
    for repeats in (5, 20):
        yield Cell(0.5, 0.05, 4_000, repeats=repeats)
        yield Cell(1.5, 0.05, 10_000, repeats=repeats)
    for positions in (2, 3):
        for mismatch in (0.5, 1.5):
            yield Cell(mismatch, 0.05, 4_000, positions=positions)
        yield Cell(0.5, 0.05, 4_000, repeats=5, positions=positions)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of Open Bandit, one campaign"
    )
    parser.add_argument("--logs", type=int, default=LOGS, help="simulated logs in each cell")
    parser.add_argument("--seed", type=int, default=0, help="chance of the simulated logs")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the bandit's figures, and how the intervals held in each cell.

    Raises:
        RegularsError: There are no logs to make, or files of the bandit are not as published.
    """
    if options.logs < 1:
        raise RegularsError(f"--logs {options.logs}: at least one log is needed")
    bandit = _bandit(options.data)
    draw = np.random.default_rng(options.seed)
    cells = [_cell(cell, options.logs, draw) for cell in grid()]
    answering = [cell for cell in cells if cell["refusal_rate"] <= 1 - FEWEST_ANSWERED]
    return {
        "bandit": bandit,
        "cells": cells,
        "coverage_min": min((cell["coverage"] for cell in answering), default=None),
        "refusal_rate": float(np.mean([cell["refusal_rate"] for cell in cells])),
        "refusal_easy_max": max(cell["refusal_rate"] for cell in cells if cell["easy"]),
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
            held.append(Bar(f"bandit.{name}", None, wanted, False))
            continue
        near = abs(found - published) <= within
        held.append(Bar(f"bandit.{name}", found, f"{published} +- {within}", near))
    lowest, refused = figures["coverage_min"], figures["refusal_easy_max"]
    return [
        *held,
        Bar(
            "coverage_min",
            lowest,
            f"at least {SMALLEST_COVERAGE} in each cell, or refusal; none where all refuse",
            lowest is not None and lowest >= SMALLEST_COVERAGE,
        ),
        Bar(
            "refusal_easy_max",
            refused,
            f"at most {MOST_REFUSED_EASY} in each easy cell",
            refused <= MOST_REFUSED_EASY,
        ),
    ]


def _cell(cell: Cell, logs: int, draw: np.random.Generator) -> dict[str, Any]:
    truth, widths = cell.truth(), list[float]()
    held: dict[str, list[bool]] = {"ips": [], "snips": [], "doubly_robust": []}
    for _ in range(logs):
        value = _valued(cell, draw)
        if value.ips is None or value.snips is None:
            continue
        widths.append((value.snips.high - value.snips.low) / truth)
        for name, found in held.items():
            interval = getattr(value, name)
            if interval is not None:
                found.append(interval.low <= truth <= interval.high)
    coverage = {name: float(np.mean(found)) if found else None for name, found in held.items()}
    told = [share for share in coverage.values() if share is not None]
    logging, target = cell.chances()
    return {
        "largest_weight": float((target / logging).max()),
        "rate": cell.rate,
        "decisions": cell.decisions,
        "spread": cell.spread,
        "repeats": cell.repeats,
        "positions": cell.positions,
        "easy": cell.easy(),
        "answered": len(widths),
        "refusal_rate": 1 - len(widths) / logs,
        **{f"coverage_{name}": share for name, share in coverage.items()},
        "coverage": min(told) if told else None,
        "median_width": float(np.median(widths)) if widths else None,
    }


def _valued(cell: Cell, draw: np.random.Generator) -> OffPolicyValue:
    logged, direct = cell.log(draw)
    if direct is None:
        return slate_value(logged, cell.positions)
    return off_policy_value(logged, direct=direct)


def _bandit(folder: Path) -> dict[str, Any]:
    files = {name: folder / name / "men.csv.gz" for name in ("bts", "random")}
    if not all(path.is_file() for path in files.values()):
        return {"ips": None, "snips": None, "ess": None, "on_policy": None, "refusal": None}
    rows = _read(files["bts"], ["item_id", "click", "propensity_score"])
    uniform = _read(files["random"], ["click"])
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


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, usecols=lambda name: name in columns)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RegularsError(
            f"file {path}: {str(error).splitlines()[0]}; give Open Bandit's own by --data"
        ) from error
    for name in columns:
        if name not in rows.columns:
            raise RegularsError(
                f"file {path}: no column is called {name!r}; give Open Bandit's own by --data"
            )
        if not pd.api.types.is_numeric_dtype(rows[name]) or rows[name].isna().any():
            raise RegularsError(
                f"file {path}: column {name!r} holds what is no number; give Open Bandit's own by "
                "--data"
            )
    if rows.empty:
        raise RegularsError(f"file {path}: has no rows; give Open Bandit's own by --data")
    return rows

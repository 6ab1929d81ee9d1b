"""Are churn probabilities what then happens? Five origins of a grocer's real year, pooled.

Each origin is tested by a model that knows only labels ended before it. The plain baseline ranks
customers by recency alone.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.complete_journey import read_complete_journey
from adapters.duckdb_lake import DuckDbLake
from benchmarks.run import Bar
from foundation.calibration import Calibration
from foundation.clock import FixedClock
from foundation.lake import Lake
from regulars.jobs.customers import SEED
from regulars.jobs.load import load
from regulars.jobs.train_churn import ACTIVE, DAYS, churn_frame, churn_origins
from regulars.progress import Progress
from segmentation.churn_report import evaluate_churn
from segmentation.origins import FEWEST_TESTS

# The first local midnight after the data.
NOW = datetime(2018, 1, 1, 5, tzinfo=UTC)
# What is promised of the point estimates; what may serve is the gate's matter (churn_report.py).
LARGEST_ECE = 0.02
SLOPE_BAR = (0.9, 1.1)
OBSERVED_EXPECTED_BAR = (0.85, 1.15)
SMALLEST_SKILL = 0.30
SMALLEST_AUC = 0.88


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=DAYS, help="no purchase in so many days")
    parser.add_argument("--active", type=int, default=ACTIVE, help="bought in so many days before")
    parser.add_argument("--origins", type=int, default=FEWEST_TESTS, help="pooled test origins")
    parser.add_argument("--seed", type=int, default=SEED, help="of trees and bootstrap")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return pooled held-out figures with intervals, and those of each origin."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        lake = DuckDbLake(Path(folder) / "lake")
        load(lake, read_complete_journey(0), FixedClock(NOW), progress)
        return forecast(lake, options, NOW, progress)


def forecast(
    lake: Lake, options: argparse.Namespace, now: datetime, progress: Progress
) -> dict[str, Any]:
    """Return the figures on a lake's purchases before an instant."""
    with progress.step("churn") as step:
        # One year of data has no year in front of its origins.
        history = min(options.active, ACTIVE)
        origins = churn_origins(lake, options.days, history, options.origins, before=now)
        frame = churn_frame(lake, origins, options.active, step)
        report = evaluate_churn(frame, origins, options.active, options.seed)
        step.show(report.verdict())
    return {
        **_figures(report.pooled),
        "origins": len(origins.tests),
        "by_origin": {f"{at:%Y-%m-%d}": _figures(c) for at, c in report.by_origin.items()},
        "verdict": report.verdict(),
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    ece, slope, ratio = (figures[name] for name in ("ece", "slope", "observed_expected"))
    skill, area = figures["brier_skill"], figures["auc"]
    return [
        Bar("ece", ece, f"at most {LARGEST_ECE}", ece <= LARGEST_ECE),
        _between("slope", slope, SLOPE_BAR),
        _between("observed_expected", ratio, OBSERVED_EXPECTED_BAR),
        Bar("brier_skill", skill, f"at least {SMALLEST_SKILL}", skill >= SMALLEST_SKILL),
        Bar("auc", area, f"at least {SMALLEST_AUC}", area >= SMALLEST_AUC),
    ]


def _between(name: str, value: float, bounds: tuple[float, float]) -> Bar:
    low, high = bounds
    return Bar(name, value, f"{low} to {high}", low <= value <= high)


def _figures(judged: Calibration) -> dict[str, float]:
    return {k.replace("baseline", "recency"): v for k, v in judged.figures().items()}

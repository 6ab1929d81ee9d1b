"""How well is a response told before it comes? Two data sets, each on its stated split.

Complete Journey: "redeems any coupon of this campaign", trained on campaigns that started with the
data and were over before October 2017, tested on those within October to December. Settings,
calibration and the choice of the champion see nothing from October on. The plain rule is the
household's past redemption rate. No basket is known when a letter is read, so what goes with a
basket is judged on baskets themselves (readers/journey_baskets.py). Starbucks rewards: offers over
by hour 504, tested on that wave's; "influenced" means viewed and then completed.
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lightgbm
import numpy as np

import benchmarks
from adapters.complete_journey import ZONE, read_complete_journey
from adapters.duckdb_lake import DuckDbLake
from benchmarks.readers.journey_baskets import Asked, asked_baskets
from benchmarks.readers.starbucks_responses import HELD_OUT_FROM, read_responses, response_frame
from benchmarks.run import Bar
from foundation.clock import FixedClock
from foundation.scores import Interval, auc
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.evaluation import Comparison, compare_auc
from recommender.exposures import TrainingFrame
from recommender.response import ResponseReport, split, train_response
from recommender.response_model import BASELINE
from regulars.jobs.customers import SEED, registry
from regulars.jobs.load import load
from regulars.jobs.train import training_frame
from regulars.progress import Progress

STARBUCKS = Path(benchmarks.__path__[0]).resolve().parents[1] / "shared/data/starbucks_rewards"
FIRST_DAY = datetime(2017, 1, 1, tzinfo=ZoneInfo(ZONE))
OCTOBER = datetime(2017, 10, 1, tzinfo=ZoneInfo(ZONE))
NOVEMBER = datetime(2017, 11, 1, tzinfo=ZoneInfo(ZONE))
# The first local midnight after the data.
NOW = datetime(2018, 1, 1, tzinfo=ZoneInfo(ZONE))
RATE = "redeem_rate_365d"

WORSE_THAN_LOGISTIC = -0.01
COMPLETED, INFLUENCED = 0.878, 0.793


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--starbucks", type=Path, default=STARBUCKS, help="folder of its files")
    parser.add_argument("--seed", type=int, default=SEED, help="of search, trees and bootstrap")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return held-out figures with intervals of households, the champion's beside plain ones."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        lake = DuckDbLake(Path(folder) / "lake")
        load(lake, read_complete_journey(0), FixedClock(NOW), progress)
        with progress.step("response") as step:
            frame = journey_frame(lake, Path(folder))
            report = train_response(frame, response_hash(registry(lake)), options.seed, OCTOBER)
            step.show(report.verdict())
        with progress.step("basket") as step:
            basket = basket_figures(lake, options.seed)
            step.show(f"gain {basket['basket_gain']:+.3f} AUC")
    found = journey_figures(frame, report, options.seed) | basket
    with progress.step("starbucks") as step:
        if options.starbucks.is_dir():
            figures = starbucks_figures(options.starbucks, options.seed)
            step.show(f"champion {figures['starbucks_completed_champion']}")
        else:
            figures = dict.fromkeys(("starbucks_completed_auc", "starbucks_influenced_auc"))
            step.show(f"not measured: there is no folder {options.starbucks}; name it --starbucks")
    return found | figures | {"starbucks_data": str(options.starbucks)}


def journey_frame(lake: DuckDbLake, home: Path) -> TrainingFrame:
    """Return the pairs of household and campaign, less those sent before there were data."""
    frame = training_frame(lake, Settings(home=home, time_zone=ZONE))
    return frame.take((frame.rows["at"] >= FIRST_DAY).to_numpy())


def journey_figures(frame: TrainingFrame, report: ResponseReport, seed: int) -> dict[str, Any]:
    """Return the champion's held-out AUC and its paired gains over the plain ones."""
    later = split(frame, report.test_from)[1]
    champion = report.models[report.champion].predict(later.matrix)
    logistic = report.models[BASELINE].predict(later.matrix)
    # Who never got an offer has redeemed none.
    rate = np.nan_to_num(later.matrix[:, frame.names.index(RATE)])
    customers = later.rows["customer_id"].to_numpy()

    def beside(plain: np.ndarray) -> Comparison:
        scores = {"champion": champion, "plain": plain}
        return compare_auc(later.outcome, scores, customers, "plain", seed)

    over_rate, over_logistic = beside(rate), beside(logistic)
    trees = report.comparison.auc["lightgbm"]
    found: dict[str, Any] = {
        "champion": report.champion,
        # Then its gain over the logistic one is 0 by construction, and says nothing.
        "champion_is_baseline": report.champion == BASELINE,
        **_interval("auc", over_rate.auc["champion"]),
        **_interval("logistic_auc", over_logistic.auc["plain"]),
        **_interval("lightgbm_auc", trees),
        **_interval("rate_auc", over_rate.auc["plain"]),
        **_interval("gain_over_rate", over_rate.gain["champion"]),
        **_interval("gain_over_logistic", over_logistic.gain["champion"]),
        **_interval("lightgbm_gain_over_logistic", report.comparison.gain["lightgbm"]),
        "rows_trained": report.rows_trained,
        "responses_trained": report.responses_trained,
        "rows_held_out": report.rows_held_out,
        "responses_held_out": report.responses_held_out,
        "calibration_error": report.held_out[report.champion].calibration_error,
        "settings": {kind: model.settings for kind, model in report.models.items()},
    }
    judged = report.held_out[report.champion].calibration
    found |= {f"calibration_{n}": judged[n] for n in judged if n.startswith("slope")}
    for name, group in report.groups.items():
        found[name.replace(" ", "_")] = {
            "rows": group.rows,
            "responses": group.responses,
            "auc": {kind: _interval("auc", area) for kind, area in group.auc.items()},
            "refused": group.refused,
        }
    return found


def basket_figures(lake: DuckDbLake, seed: int) -> dict[str, Any]:
    """Return what the basket adds to a customer's affinities; see readers/journey_baskets.py.

    Learned on October's baskets and tested on November's and December's, by the same trees with
    the basket known and unknown; what is known of customers is of the last night of September.
    """
    earlier = asked_baskets(lake, OCTOBER, OCTOBER, NOVEMBER, seed)
    later = asked_baskets(lake, OCTOBER, NOVEMBER, NOW, seed)
    scores = {
        "basket": _fitted(earlier, seed).predict(later.inputs),
        "none": _fitted(earlier.without_basket(), seed).predict(later.without_basket().inputs),
    }
    found = compare_auc(later.outcome, scores, later.customers, "none", seed)
    return {
        **_interval("basket_auc", found.auc["basket"]),
        "no_basket_auc": found.auc["none"].value,
        **_interval("basket_gain", found.gain["basket"]),
        "basket_rows": len(later.outcome),
        "basket_rate": float(later.outcome.mean()),
    }


def _fitted(asked: Asked, seed: int) -> Any:
    data = lightgbm.Dataset(asked.inputs, asked.outcome, feature_name=list(asked.names))
    settings = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.05, "seed": seed}
    return lightgbm.train({**settings, "deterministic": True, "verbose": -1}, data, 200)


def starbucks_figures(folder: Path, seed: int) -> dict[str, Any]:
    """Return the champion's AUC of each outcome beside the logistic's and the offer's own rate."""
    responses = read_responses(folder)
    found: dict[str, Any] = {}
    for outcome in ("completed", "influenced"):
        frame = response_frame(responses, outcome)
        report = train_response(frame, "starbucks", seed, HELD_OUT_FROM)
        earlier, later = split(frame, HELD_OUT_FROM)
        rates = earlier.rows.groupby("offer_id")["outcome"].mean()
        alone = later.rows["offer_id"].map(rates).to_numpy(dtype=np.float64)
        name = f"starbucks_{outcome}"
        found |= {
            **_interval(f"{name}_auc", report.comparison.auc[report.champion]),
            f"{name}_champion": report.champion,
            f"{name}_logistic_auc": report.comparison.auc[BASELINE].value,
            f"{name}_offer_auc": auc(later.outcome, alone),
            f"{name}_rows_trained": report.rows_trained,
            f"{name}_rows_held_out": report.rows_held_out,
        }
    return found


def bars(figures: dict[str, Any]) -> list[Bar]:
    over_rate, over_logistic = figures["gain_over_rate_low"], figures["gain_over_logistic_low"]
    found = [
        Bar("gain_over_rate_low", over_rate, "above 0", over_rate > 0),
        # The lower bound, not the point: surely not worse by more than so much.
        Bar(
            "gain_over_logistic_low",
            over_logistic,
            f"at least {WORSE_THAN_LOGISTIC}",
            over_logistic >= WORSE_THAN_LOGISTIC,
        ),
    ]
    basket = figures["basket_gain_low"]
    found.append(Bar("basket_gain_low", basket, "above 0", basket > 0))
    for name, least in (
        ("starbucks_completed_auc", COMPLETED),
        ("starbucks_influenced_auc", INFLUENCED),
    ):
        value = figures[name]
        if value is None:
            folder = figures["starbucks_data"]
            missing = f"not measured: there is no folder {folder}; name it by --starbucks"
            found.append(Bar(name, None, missing, False))
        else:
            found.append(Bar(name, value, f"at least {least}", value >= least))
    return found


def _interval(name: str, figure: Interval) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}

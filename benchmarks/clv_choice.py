"""Does the choice of a value model inside the history find the one that forecasts best?

Shops of known truth: their customers stop as BG/NBD, MBG/NBD or Pareto/NBD say, in turn, with
parameters drawn anew for each shop. Each is observed for 39 weeks; what the choice loses is its
error in the next 39 weeks against the best model of that shop. Beside it stands the choice by
likelihood, which is right more often about how customers stop, and each model for all shops.
"""

import argparse
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.run import Bar
from foundation.errors import RegularsError
from regulars.progress import Progress
from segmentation.clv_champion import Candidate, choose, expected, fit_candidates, held_out_error
from segmentation.forecast_error import ForecastError
from segmentation.purchase_models import NAMES, Name, PurchaseModel

OBSERVED, AHEAD, JOINING = 39 * 7, 39 * 7, 12 * 7
SEED = 7
# Of MAE and RMSE, on average.
LOSS_BAR = 0.01


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shops", type=int, default=24, help="how many, a third of each world")
    parser.add_argument("--customers", type=int, default=2_000, help="of each shop")
    parser.add_argument("--seed", type=int, default=0, help="where the chance begins")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return what each way of choosing loses, as a share of the best model's error."""
    if options.shops < 1:
        raise RegularsError(f"--shops {options.shops}: at least 1 is needed to measure")
    rows: list[dict[str, Any]] = []
    with Progress().step("choose") as step:
        step.expect(options.shops)
        for shop in range(options.shops):
            world = NAMES[shop % len(NAMES)]
            draw = np.random.default_rng([options.seed, shop])
            rows += _losses(world, made_up_shop(world, options.customers, draw))
            step.advance()
    frame = pd.DataFrame(rows)
    told = frame.groupby("way")[["mae_lost", "rmse_lost", "bias", "right"]]
    found = told.mean().join(told.sem(), rsuffix="_error")
    return {
        "shops": options.shops,
        "customers": options.customers,
        "ways": found.to_dict("index"),
        "chosen": frame[frame["way"] == "inside the history"]["model"].value_counts().to_dict(),
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    ours = figures["ways"]["inside the history"]
    lost = (ours["mae_lost"] + ours["rmse_lost"]) / 2
    return [Bar("mean loss of MAE and RMSE", lost, f"at most {LOSS_BAR}", lost <= LOSS_BAR)]


def made_up_shop(world: Name, customers: int, draw: np.random.Generator) -> pd.DataFrame:
    """Return customer_id, day and amount of a shop whose customers stop as a world says."""
    first = draw.integers(0, JOINING, customers)
    seen = OBSERVED + AHEAD - first
    rate = draw.gamma(draw.uniform(0.4, 1.2), 1 / draw.uniform(4.0, 10.0), customers) / 7
    third, fourth = draw.uniform(0.4, 1.0), draw.uniform(1.5, 4.0)
    stopping = np.maximum(draw.beta(third, fourth, customers), 1e-12)
    stays = draw.exponential(1 / draw.gamma(third, 1 / (6 * fourth), customers)) * 7
    # Purchases until she stops; under MBG/NBD the first one may have been the last.
    allowed = draw.geometric(stopping) - (world == "mbg_nbd")
    if world == "pareto_nbd":
        seen, allowed = np.minimum(seen, stays), np.full(customers, np.iinfo(np.int64).max)
    who = np.repeat(np.arange(customers), draw.poisson(rate * seen))
    frame = pd.DataFrame({"customer": who, "after": draw.random(len(who)) * seen[who]})
    frame = frame.sort_values(["customer", "after"], ignore_index=True)
    again = frame[frame.groupby("customer").cumcount() < allowed[frame["customer"]]]
    days = first[again["customer"]] + again["after"].to_numpy().astype(np.int64)
    return pd.DataFrame(
        {
            "customer_id": np.r_[np.arange(customers), again["customer"]].astype(str),
            "day": np.r_[first, days],
            "amount": 1.0,
        }
    )


def _losses(world: Name, purchases: pd.DataFrame) -> list[dict[str, Any]]:
    end, last = OBSERVED - 1, OBSERVED + AHEAD - 1
    choice = choose(purchases, end, SEED)
    fitted, _ = fit_candidates(purchases, end, AHEAD / 7, SEED)
    errors: dict[Candidate, ForecastError] = {
        name: held_out_error(partial(expected, model), purchases, end, last)
        for name, model in fitted.items()
    }
    likelihood: dict[Candidate, float] = {
        name: m.log_likelihood for name, m in fitted.items() if isinstance(m, PurchaseModel)
    }
    ways: dict[str, Candidate] = {
        "inside the history": choice.champion,
        "by likelihood": max(likelihood, key=lambda name: likelihood[name]),
        **{f"always {name}": name for name in fitted},
    }
    best_mae = min(error.mae.value for error in errors.values())
    best_rmse = min(error.rmse.value for error in errors.values())
    return [
        {
            "way": way,
            "model": name,
            "mae_lost": errors[name].mae.value / best_mae - 1,
            "rmse_lost": errors[name].rmse.value / best_rmse - 1,
            "bias": abs(errors[name].bias.value),
            "right": float(name == world),
        }
        for way, name in ways.items()
    ]

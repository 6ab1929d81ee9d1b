"""Do value intervals of a million customers come quickly, and do they hold what they say?

Customers of known truth buy at a rate of their own until they stop, each by a Pareto/NBD drawn with
the seed, for amounts around a mean of their own. A purchase model and a spend model are fitted on
two years of them, and every customer gets her expected discounted value with its 80 % interval.
Then her next year happens, and the intervals are held against it. The peak is that of the process,
the making of the customers included.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.run import Bar
from foundation.errors import RegularsError
from foundation.scores import Z_95
from segmentation.clv_champion import summary_of
from segmentation.customer_value import Horizon, customer_values, futures, held_share
from segmentation.purchase_models import fit
from segmentation.spend_model import fit_spend

SECONDS, PEAK_MB, COVERAGE, HISTORIES = 60.0, 2_000.0, (0.77, 0.83), 300_000
FULL_SIZE = 1_000_000
# Coverage is told to a tenth of a percent by these.
JUDGED = 100_000
HORIZON = Horizon(weeks=52.0, annual_discount=0.1)
OBSERVED_DAYS = 730


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=FULL_SIZE, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="chance of customers and their futures")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak memory of all intervals, and how many held."""
    if options.customers < 1_000:
        raise RegularsError(
            f"--customers {options.customers}: at least 1000 are needed to fit and judge models"
        )
    truth = Truth.of(options.customers, options.seed)
    began = time.perf_counter()
    model = fit("pareto_nbd", summary_of(truth.summary))
    spend = fit_spend(truth.summary["x"].to_numpy(), truth.summary["spend"].to_numpy())
    fitted = time.perf_counter()
    values = customer_values(model, spend, truth.summary, HORIZON, options.seed).customers
    ended = time.perf_counter()
    peak = _peak_mb()
    judged = truth.summary.iloc[:JUDGED]
    held: dict[str, list[np.ndarray]] = {"purchases": [], "value": []}
    for rows, purchases, value in futures(model, spend, judged, HORIZON, options.seed):
        held["purchases"].append(held_share(purchases, truth.purchases[rows]))
        held["value"].append(held_share(value, truth.value[rows]))
    share = {name: np.concatenate(parts) for name, parts in held.items()}
    within = _within(values, "value", truth.value)
    silent = truth.summary["x"].to_numpy()[:JUDGED] == 0
    return {
        "seconds": ended - began,
        "seconds_fitting": fitted - began,
        "peak_mb": peak,
        "coverage_80": float(share["value"].mean()),
        "coverage_80_error": float(Z_95 * share["value"].std() / np.sqrt(len(share["value"]))),
        "coverage_80_purchases": float(share["purchases"].mean()),
        "coverage_80_repeat_buyers": float(share["value"][~silent].mean()),
        "coverage_80_one_time_buyers": float(share["value"][silent].mean()),
        "closed_interval_holds": float(within.mean()),
        "closed_interval_holds_where_wide": float(within[values["value_low"] > 0].mean()),
        "customers": options.customers,
        "histories": len(summary_of(truth.summary).x),
        "repeat_buyers": int((truth.summary["x"] > 0).sum()),
        "value_bias": float(np.nansum(values["value"]) / truth.value.sum() - 1),
        "planted": truth.planted,
        "parameters": model.parameters,
        "planted_spend": truth.planted_spend,
        "spend_parameters": spend.parameters,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    low, high = COVERAGE
    coverage = figures["coverage_80"]
    # Fewer customers have fewer histories: the bar is in proportion.
    histories = HISTORIES * min(1.0, figures["customers"] / FULL_SIZE)
    return [
        Bar("seconds", figures["seconds"], f"at most {SECONDS}", figures["seconds"] <= SECONDS),
        Bar("peak_mb", figures["peak_mb"], f"at most {PEAK_MB}", figures["peak_mb"] <= PEAK_MB),
        Bar("coverage_80", coverage, f"{low} to {high}", low <= coverage <= high),
        Bar(
            "distinct histories",
            figures["histories"],
            f"at least {histories:,.0f}",
            figures["histories"] >= histories,
        ),
    ]


@dataclass(frozen=True)
class Truth:
    """Customers as observed, and their year afterwards.

    `planted` are (r, alpha, s, beta), `planted_spend` (p, q, v); `purchases` and discounted
    `value` happened in the horizon, shape (n,).
    """

    planted: tuple[float, ...]
    planted_spend: tuple[float, ...]
    summary: pd.DataFrame
    purchases: np.ndarray
    value: np.ndarray

    @staticmethod
    def of(customers: int, seed: int) -> "Truth":
        draw = np.random.default_rng(seed)
        # A shop of its own for every seed, from monthly to fortnightly buyers.
        r, alpha = draw.uniform(0.6, 1.5), draw.uniform(4.0, 8.0)
        s, beta = draw.uniform(0.4, 0.8), draw.uniform(10.0, 40.0)
        p, q, v = draw.uniform(2.0, 8.0), draw.uniform(3.0, 6.0), draw.uniform(20.0, 200.0)
        rate = draw.gamma(r, 1 / alpha, customers)
        stays = draw.exponential(1 / draw.gamma(s, 1 / beta, customers))
        T = draw.integers(30, OBSERVED_DAYS, customers) / 7
        nu = draw.gamma(q, 1 / v, customers)
        seen = np.minimum(stays, T)
        x = draw.poisson(rate * seen)
        # Given their number, purchases lie uniformly: the last of them is a maximum.
        last = np.where(x > 0, seen * draw.random(customers) ** (1 / np.maximum(x, 1)), 0.0)
        # Days, as a till knows them.
        t_x = np.minimum(np.ceil(last * 7) / 7, T)
        spend = np.full(customers, np.nan)
        again = x > 0
        spend[again] = draw.gamma(p * x[again]) / (nu[again] * x[again])
        ahead = np.clip(stays - T, 0.0, HORIZON.weeks)
        later = draw.poisson(rate * ahead)
        who = np.repeat(np.arange(customers), later)
        moment = draw.random(len(who)) * ahead[who]
        amount = draw.gamma(p, 1 / nu[who]) * np.exp(-HORIZON.force * moment)
        return Truth(
            planted=(r, alpha, s, beta),
            planted_spend=(p, q, v),
            summary=pd.DataFrame({"x": x.astype(float), "t_x": t_x, "T": T, "spend": spend}),
            purchases=later.astype(float),
            value=np.bincount(who, weights=amount, minlength=customers),
        )


def _within(values: pd.DataFrame, name: str, actual: np.ndarray) -> np.ndarray:
    low, high = values[f"{name}_low"].to_numpy(), values[f"{name}_high"].to_numpy()
    return (low <= actual) & (actual <= high)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS tells bytes, Linux kilobytes.
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024

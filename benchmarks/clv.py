"""How well are purchases forecast on a file of purchases, and which model is the champion?

Every model is fitted on days up to the calibration's end and forecasts the rest of the file; the
champion is chosen inside the calibration. Files: CSV with a header (customer, date, amount), or
CDNOW's own layout (no header; customer, ..., yyyymmdd, number of CDs, dollars, in columns of
spaces). On the CDNOW sample the figures are held to published ones.
"""

import argparse
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.run import Bar
from foundation.errors import RegularsError
from segmentation.clv_champion import (
    ClvModel,
    as_often_as_so_far,
    choose,
    expected,
    fit_candidates,
    held_out_error,
    summary_of,
)
from segmentation.forecast_error import ForecastError
from segmentation.likelihood import NotConverged
from segmentation.purchase_summary import DAYS_A_WEEK, summarise_days
from segmentation.spend_model import fit_spend
from segmentation.two_stage import TwoStage

NAMES = {
    "customer_id": ("customer_id", "customer", "id", "user_id", "cust_id"),
    "date": ("date", "day", "at", "order_date", "purchase_date", "invoice_date"),
    "amount": ("amount", "dollars", "spend", "value", "sales", "revenue", "price"),
}

# The 1/10 sample through 1997-09-30: Fader, Hardie and Lee 2005; Fader and Hardie 2005 and 2013.
CDNOW = {"customers": 2_357, "repeat_purchases": 2_457, "calibration_end": "1997-09-30"}
PUBLISHED: dict[str, tuple[tuple[float, ...], float]] = {
    "bg_nbd": ((0.2426, 4.4135, 0.7929, 2.4258), -9582.43),
    "mbg_nbd": ((0.5248, 6.183, 0.8914, 1.614), -9582.13),
    "pareto_nbd": ((0.5533, 10.578, 0.6062, 11.668), -9594.97),
    "gamma_gamma": ((6.2488, 3.7446, 15.4477), -4055.92),
}
PARAMETER_BAR, LIKELIHOOD_BAR = 0.005, 0.01
MAE_BAR, RMSE_BAR, BIAS_BAR = 0.76, 1.61, 0.12


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="file of purchases")
    parser.add_argument(
        "--calibration-end", type=date.fromisoformat, required=True, help="last day to learn from"
    )
    parser.add_argument("--seed", type=int, default=7, help="chance of the trees")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return every model's parameters, likelihood and held-out error, and the champion's."""
    purchases = read_purchases(options.data)
    end = (options.calibration_end - date(1970, 1, 1)).days
    first, last = int(purchases["day"].min()), int(purchases["day"].max())
    if not first < end < last:
        raise RegularsError(
            f"--calibration-end {options.calibration_end}: must lie inside the file's days "
            f"({_date(first)} to {_date(last)}), so that there are days to learn from and to "
            "forecast"
        )
    frame = summarise_days(purchases, end)
    weeks = (last - end) / DAYS_A_WEEK
    choice = choose(purchases, end, options.seed)
    models: dict[str, Any] = {}
    fitted, refused = fit_candidates(purchases, end, weeks, options.seed)
    for name, model in fitted.items():
        error = held_out_error(partial(expected, model), purchases, end, last)
        models[name] = _facts(model) | _errors(error) | {"inner_score": choice.scores.get(name)}
    if choice.champion in refused:
        raise NotConverged(refused[choice.champion])
    chosen = models[choice.champion]
    spend = fit_spend(frame["x"].to_numpy(), frame["spend"].to_numpy())
    plain = held_out_error(as_often_as_so_far, purchases, end, last)
    return {
        "customers": len(frame),
        "histories": len(summary_of(frame).x),
        "repeat_purchases": int(frame["x"].sum()),
        "calibration_end": str(options.calibration_end),
        "held_out_weeks": weeks,
        "held_out_purchases": plain.purchases,
        "models": models,
        "refused": refused,
        "gamma_gamma": {
            "parameters": spend.parameters,
            "log_likelihood": spend.log_likelihood,
            "customers": spend.customers,
        },
        "baseline": {"name": "as often as so far", **_errors(plain)},
        "champion": {"name": choice.champion, **chosen},
        "inner": {
            "cuts": [_date(cut) for cut in choice.cuts],
            "scores": choice.scores,
            "errors": {n: [asdict(e) for e in found] for n, found in choice.errors.items()},
            "refused": choice.refused,
        },
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    champion, baseline = figures["champion"], figures["baseline"]
    found: list[Bar] = []
    for error in ("mae", "rmse"):
        share = champion[error] / baseline[error]
        found.append(_bar(f"champion {error} in parts of the plain forecast's", share, 1.0))
    if any(figures[fact] != value for fact, value in CDNOW.items()):
        return found
    for name, (parameters, likelihood) in PUBLISHED.items():
        model = figures["gamma_gamma"] if name == "gamma_gamma" else figures["models"][name]
        away = float(np.abs(np.subtract(model["parameters"], parameters)).max())
        found.append(_bar(f"{name} parameters from published", away, PARAMETER_BAR))
        # Published to two digits: .005 of the difference may be theirs.
        away = abs(model["log_likelihood"] - likelihood)
        found.append(_bar(f"{name} log-likelihood from published", away, LIKELIHOOD_BAR))
    return [
        *found,
        _bar("champion MAE", champion["mae"], MAE_BAR),
        _bar("champion RMSE", champion["rmse"], RMSE_BAR),
        _bar("champion absolute bias", abs(champion["bias"]), BIAS_BAR),
    ]


def read_purchases(path: Path) -> pd.DataFrame:
    """Return customer_id, day (days since 1970-01-01) and amount of every purchase in a file.

    Raises:
        RegularsError: The file cannot be read, or its columns are none of those known.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        frame = _cdnow_layout(path) if head.strip()[:1].isdigit() else _csv(path)
        dates = pd.to_datetime(frame["date"].astype(str), errors="raise")
        amount = pd.to_numeric(frame["amount"], errors="raise")
    except (OSError, ValueError) as error:
        raise RegularsError(
            f"file {path}: {str(error).splitlines()[0]}; give a CSV with customer, date and "
            "amount, or CDNOW's own layout"
        ) from error
    if frame.empty or bool(dates.isna().any()) or bool(amount.isna().any()):
        raise RegularsError(
            f"file {path}: has no rows, or rows without a date or an amount; give every purchase "
            "all three of customer, date and amount"
        )
    days = (dates.dt.tz_localize(None) - pd.Timestamp(0)).dt.days
    return pd.DataFrame(
        {"customer_id": frame["customer_id"].astype(str), "day": days, "amount": amount}
    )


def _cdnow_layout(path: Path) -> pd.DataFrame:
    """Customer first, then (in the samples) a second number, date, CDs and dollars."""
    frame = pd.read_csv(path, sep=r"\s+", header=None, dtype=str)
    if frame.shape[1] not in (4, 5):
        raise ValueError(f"has no header and {frame.shape[1]} columns, CDNOW's layout has 4 or 5")
    return pd.DataFrame(
        {"customer_id": frame[0], "date": frame.iloc[:, -3], "amount": frame.iloc[:, -1]}
    )


def _csv(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, sep=None, engine="python", dtype=str, encoding="utf-8-sig")
    known = {str(column).strip().lower(): column for column in frame.columns}
    found: dict[str, pd.Series] = {}
    for name, words in NAMES.items():
        column = next((known[word] for word in words if word in known), None)
        if column is None:
            raise ValueError(f"no column is called {' or '.join(words)}")
        found[name] = frame[column]
    return pd.DataFrame(found)


def _facts(model: ClvModel) -> dict[str, Any]:
    if isinstance(model, TwoStage):
        return {"learned_weeks": model.learned_weeks}
    return {
        "parameters": model.parameters,
        "standard_errors_of_logs": np.sqrt(np.diag(model.covariance)).tolist(),
        "log_likelihood": model.log_likelihood,
    }


def _errors(error: ForecastError) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, figure in (("mae", error.mae), ("rmse", error.rmse), ("bias", error.bias)):
        found |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return found


def _bar(name: str, value: float, most: float) -> Bar:
    return Bar(name, value, f"at most {most}", value <= most)


def _date(day: int) -> str:
    return str(date.fromordinal(date(1970, 1, 1).toordinal() + day))

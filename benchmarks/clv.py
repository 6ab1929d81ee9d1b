"""How well are purchases forecast on a file of purchases, and which model is the champion?

Every model is fitted on days up to the calibration's end and forecasts the rest of the file; the
champion is chosen inside the calibration and has to pass the same gate as one that serves. Files
are those of readers/purchases.py. On the CDNOW sample, recognised by its raw rows, the figures are
held to published ones.
"""

import argparse
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.readers.purchases import Columns, Purchases, read_purchases
from benchmarks.run import Bar
from foundation.errors import RegularsError, TooLittleData
from segmentation.clv_champion import (
    ClvModel,
    choose,
    day_told,
    expected,
    fit_candidates,
    held_out_error,
    judged,
    summary_of,
)
from segmentation.forecast_error import ForecastError, NoForecast
from segmentation.forecast_gate import MOST_BIAS, WIDEST_HALF
from segmentation.likelihood import NotConverged
from segmentation.purchase_summary import DAYS_A_WEEK, summarise_days
from segmentation.spend_model import fit_spend
from segmentation.two_stage import TwoStage

# The 1/10 sample through 1997-09-30: Fader, Hardie and Lee 2005; Fader and Hardie 2005 and 2013.
CDNOW = {"rows": 6_919, "first": "1997-01-01", "last": "1998-06-30", "amount_total": 244_091.94}
CDNOW_CALIBRATION_END = "1997-09-30"
CDNOW_COUNTS = {"customers": 2_357, "repeat_purchases": 2_457, "held_out_purchases": 1_882}
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
    for column in ("customer", "date", "amount"):
        parser.add_argument(f"--{column}", help="its column's name; position from 1 without header")
    parser.add_argument("--date-format", help="as of strptime, %%d/%%m/%%Y say")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return every model's parameters, likelihood and held-out error, and the champion's."""
    wanted = Columns(options.customer, options.date, options.amount, options.date_format)
    file = read_purchases(options.data, wanted)
    purchases = file.frame
    end = (options.calibration_end - date(1970, 1, 1)).days
    first, last = int(purchases["day"].min()), int(purchases["day"].max())
    if not first < end < last:
        raise RegularsError(
            f"--calibration-end {options.calibration_end}: must lie inside the file's days "
            f"({day_told(first)} to {day_told(last)}), so that there are days to learn from and to "
            "forecast"
        )
    frame = summarise_days(purchases, end)
    weeks = (last - end) / DAYS_A_WEEK
    choice = choose(purchases, end, options.seed)
    models: dict[str, Any] = {}
    fitted, refused = fit_candidates(purchases, end, weeks, options.seed)
    for name, model in fitted.items():
        try:
            error = held_out_error(partial(expected, model), purchases, end, last)
        except NoForecast as unknown:
            refused[name] = str(unknown)
            continue
        models[name] = _facts(model) | _errors(error) | {"inner_score": choice.scores.get(name)}
    champion = choice.best_of(refused)
    found = judged(partial(expected, fitted[champion]), purchases, end, last, options.seed)
    spend, spend_refused = _spend(frame["x"].to_numpy(), frame["spend"].to_numpy())
    return {
        "file": _told(file),
        "customers": len(frame),
        "histories": len(summary_of(frame).x),
        "repeat_purchases": int(frame["x"].sum()),
        "calibration_end": str(options.calibration_end),
        "held_out_weeks": weeks,
        "held_out_purchases": int(found.ours.actual_total),
        "models": models,
        "refused": refused | spend_refused,
        "gamma_gamma": spend,
        "plain": {name: _errors(error) for name, error in found.plain.items()},
        "champion": {
            "name": champion,
            **models[champion],
            "rivals": dict(found.rivals),
            "gains": {error: asdict(gain) for error, gain in found.gains.items()},
            "bias_half_width": found.bias_half,
            "faults": found.faults(),
        },
        "inner": {
            "cuts": [day_told(cut) for cut in choice.cuts],
            "skipped": choice.skipped,
            "before": choice.before,
            "scores": choice.scores,
            "errors": {n: [asdict(e) for e in errors] for n, errors in choice.errors.items()},
            "refused": choice.refused,
        },
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    champion = figures["champion"]
    half = champion["bias_half_width"]
    found = [
        *(
            Bar(
                f"champion {error.upper()} surely below that of {champion['rivals'][error]!r}, by",
                gain["low"],
                "above 0",
                gain["low"] > 0,
            )
            for error, gain in champion["gains"].items()
        ),
        _bar("champion absolute bias on any file", abs(champion["bias"]), MOST_BIAS),
        _bar("half width of the bias (wider: too few purchases to judge)", half, WIDEST_HALF),
    ]
    if not _is_cdnow(figures):
        return found
    for name, count in CDNOW_COUNTS.items():
        found.append(Bar(name, figures[name], f"{count}", figures[name] == count))
    for name, (parameters, likelihood) in PUBLISHED.items():
        model = figures["gamma_gamma"] if name == "gamma_gamma" else figures["models"].get(name)
        told = f"{name} parameters from published", f"{name} log-likelihood from published"
        if model is None:
            found += [Bar(bar, None, "a fitted model", False) for bar in told]
            continue
        away = float(np.abs(np.subtract(model["parameters"], parameters)).max())
        found.append(_bar(told[0], away, PARAMETER_BAR))
        # Published to two digits: .005 of the difference may be theirs.
        away = abs(model["log_likelihood"] - likelihood)
        found.append(_bar(told[1], away, LIKELIHOOD_BAR))
    return [
        *found,
        _bar("champion MAE", champion["mae"], MAE_BAR),
        _bar("champion RMSE", champion["rmse"], RMSE_BAR),
        _bar("champion absolute bias", abs(champion["bias"]), BIAS_BAR),
    ]


def _is_cdnow(figures: dict[str, Any]) -> bool:
    """Told by the raw file alone: what is computed from it is what the bars protect."""
    same_file = all(figures["file"][fact] == value for fact, value in CDNOW.items())
    return same_file and figures["calibration_end"] == CDNOW_CALIBRATION_END


def _told(file: Purchases) -> dict[str, Any]:
    return {
        "rows": file.rows,
        "without_customer": file.without_customer,
        "first": day_told(int(file.frame["day"].min())),
        "last": day_told(int(file.frame["day"].max())),
        "amount_total": round(float(file.frame["amount"].sum()), 2),
        "columns": dict(file.columns),
        "date_format": file.date_format,
    }


def _spend(x: np.ndarray, spend: np.ndarray) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Fit Gamma-Gamma, or return why it has no figures."""
    try:
        model = fit_spend(x, spend)
    except (TooLittleData, NotConverged) as error:
        return None, {"gamma_gamma": str(error)}
    return {
        "parameters": model.parameters,
        "log_likelihood": model.log_likelihood,
        "customers": model.customers,
    }, {}


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

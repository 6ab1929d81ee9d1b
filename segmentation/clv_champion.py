"""Which model forecasts purchases best here, judged inside the history alone?

The history is cut at several earlier days. At each, every candidate is fitted on what came before
and forecasts what came after, up to the end. A candidate's score is its MAE and RMSE, each in parts
of the plain forecast's ("as often as so far"), averaged over the days: below 1 it beats that
forecast. The cuts begin at half the history, since models differ in the long run: that is the
longest horizon that leaves as much to learn from. Nothing after the end is looked at.

Source: rolling-origin evaluation, Tashman 2000; relative errors, Hyndman and Koehler 2006.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from foundation.errors import TooLittleData
from segmentation.forecast_error import ForecastError, forecast_error
from segmentation.likelihood import NotConverged
from segmentation.purchase_models import NAMES, PurchaseModel, fit
from segmentation.purchase_summary import (
    DAYS_A_WEEK,
    PurchaseSummary,
    group_histories,
    purchases_after,
    summarise_days,
)
from segmentation.two_stage import TwoStage, fit_two_stage

Floats = np.ndarray
Candidate = Literal["bg_nbd", "mbg_nbd", "pareto_nbd", "two_stage"]
CANDIDATES: tuple[Candidate, ...] = (*NAMES, "two_stage")
ClvModel: TypeAlias = PurchaseModel | TwoStage

# Beyond the horizon that trees have seen.
GROWTH: Candidate = "pareto_nbd"

# Parts of the history after which it is cut.
CUTS = (1 / 2, 5 / 8, 3 / 4)
SHORTEST_DAYS = 56


@dataclass(frozen=True)
class Choice:
    """The champion of a history and how the candidates did at each cut.

    `errors` are by candidate, one for each day of `cuts`; `baseline` is the plain forecast's.
    `refused` says why a candidate has none.
    """

    champion: Candidate
    scores: dict[Candidate, float]
    errors: dict[Candidate, tuple[ForecastError, ...]]
    baseline: tuple[ForecastError, ...]
    cuts: tuple[int, ...]
    refused: dict[Candidate, str]


def summary_of(frame: pd.DataFrame) -> PurchaseSummary:
    """Group the histories of summarise_days."""
    return group_histories(*(frame[column].to_numpy() for column in ("x", "t_x", "T")))


def fit_candidates(
    purchases: pd.DataFrame, end_day: int, weeks: float, seed: int
) -> tuple[dict[Candidate, ClvModel], dict[Candidate, str]]:
    """Fit every candidate on purchases up to and including a day, to forecast the next `weeks`.

    Returns:
        The fitted ones, and of each other the reason why it is none.
    """
    summary = summary_of(summarise_days(purchases, end_day))
    fitted: dict[Candidate, ClvModel] = {}
    refused: dict[Candidate, str] = {}
    for name in NAMES:
        try:
            fitted[name] = fit(name, summary)
        except NotConverged as error:
            refused[name] = str(error)
    growth = fitted.get(GROWTH)
    if not isinstance(growth, PurchaseModel):
        refused["two_stage"] = f"two-stage model: needs the growth of {GROWTH}; {refused[GROWTH]}"
        return fitted, refused
    try:
        fitted["two_stage"] = fit_two_stage(purchases, end_day, weeks, growth, seed)
    except TooLittleData as error:
        refused["two_stage"] = str(error)
    return fitted, refused


def expected(model: ClvModel, summary: pd.DataFrame, weeks: float) -> Floats:
    """Return expected purchases in the next `weeks` by the rows of summarise_days, shape (n,)."""
    if isinstance(model, TwoStage):
        return model.expected(summary, weeks)
    x, t_x, T = (summary[column].to_numpy() for column in ("x", "t_x", "T"))
    return model.expected(x, t_x, T, weeks)


def alive_chance(model: ClvModel, summary: pd.DataFrame) -> Floats:
    """Return the probability that each customer has not stopped, shape (n,).

    Trees know of none: theirs is that of the model they grow by.
    """
    fitted = model.growth if isinstance(model, TwoStage) else model
    return fitted.alive(*(summary[column].to_numpy() for column in ("x", "t_x", "T")))


def as_often_as_so_far(summary: pd.DataFrame, weeks: float) -> Floats:
    """Return the plain forecast: purchases go on at each customer's rate so far, shape (n,)."""
    x, T = summary["x"].to_numpy(), summary["T"].to_numpy()
    return np.where(T > 0, x / np.maximum(T, 1 / DAYS_A_WEEK), 0.0) * weeks


def held_out_error(
    forecast: Callable[[pd.DataFrame, float], Floats],
    purchases: pd.DataFrame,
    cut: int,
    end_day: int,
) -> ForecastError:
    """Return the error of a forecast made after `cut` for the days up to `end_day`."""
    summary = summarise_days(purchases, cut)
    actual = purchases_after(purchases[purchases["day"] <= end_day], cut, summary.index)
    return forecast_error(actual, forecast(summary, (end_day - cut) / DAYS_A_WEEK))


def choose(purchases: pd.DataFrame, end_day: int, seed: int) -> Choice:
    """Choose the champion on purchases up to and including `end_day`.

    Args:
        purchases: As for summarise_days; what lies after `end_day` is not read.

    Raises:
        TooLittleData: The history is shorter than 8 weeks.
        NotConverged: No candidate could be fitted at every cut.
    """
    seen = purchases[purchases["day"] <= end_day]
    first = int(seen["day"].min()) if len(seen) else end_day
    span = end_day - first
    if span < SHORTEST_DAYS:
        raise TooLittleData(
            f"purchases of {span} days are too few to choose a model of value: at least "
            f"{SHORTEST_DAYS} are needed; load a longer history"
        )
    cuts = tuple(first + int(span * part) for part in CUTS)
    baseline = tuple(held_out_error(as_often_as_so_far, seen, cut, end_day) for cut in cuts)
    tried = [fit_candidates(seen, cut, (end_day - cut) / DAYS_A_WEEK, seed) for cut in cuts]
    refused: dict[Candidate, str] = {
        name: reason for _, reasons in tried for name, reason in reasons.items()
    }
    errors: dict[Candidate, tuple[ForecastError, ...]] = {
        name: tuple(
            held_out_error(partial(expected, fitted[name]), seen, cut, end_day)
            for cut, (fitted, _) in zip(cuts, tried, strict=True)
        )
        for name in CANDIDATES
        if name not in refused
    }
    if not errors:
        raise NotConverged("; ".join(refused.values()))
    scores: dict[Candidate, float] = {n: _score(e, baseline) for n, e in errors.items()}
    return Choice(
        champion=min(scores, key=lambda name: scores[name]),
        scores=scores,
        errors=errors,
        baseline=baseline,
        cuts=cuts,
        refused=refused,
    )


def _score(found: tuple[ForecastError, ...], plain: tuple[ForecastError, ...]) -> float:
    parts = [
        (ours.mae.value / theirs.mae.value + ours.rmse.value / theirs.rmse.value) / 2
        for ours, theirs in zip(found, plain, strict=True)
    ]
    return float(np.mean(parts))

"""Which model forecasts purchases best here, judged inside the history alone?

The history is cut at several earlier days. At each, every candidate is fitted on what came before
and forecasts what came after, up to the end. A candidate's score is its MAE and RMSE, each in parts
of the plain forecast's ("as often as so far"), averaged over the days: below 1 it beats that
forecast. The cuts begin at half the history, since models differ in the long run: that is the
longest horizon that leaves as much to learn from. Nothing after the end is looked at. A day after
which nothing can be judged is skipped, and that is said.

Source: rolling-origin evaluation, Tashman 2000; relative errors, Hyndman and Koehler 2006.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from foundation.errors import TooLittleData
from segmentation.forecast_error import ForecastError, NoForecast, forecast_error
from segmentation.forecast_gate import Judged, judge
from segmentation.likelihood import NotConverged
from segmentation.plain_forecast import PLAIN, Forecast, as_often_as_so_far
from segmentation.purchase_models import NAMES, PurchaseModel, fit
from segmentation.purchase_summary import (
    DAYS_A_WEEK,
    PurchaseSummary,
    first_day,
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

# Parts of the history after which it is cut, from the day on which the shop had begun.
CUTS = (1 / 2, 5 / 8, 3 / 4)
SHORTEST_DAYS = 56


@dataclass(frozen=True)
class Choice:
    """The champion of a history and how the candidates did at each cut.

    `errors` are by candidate, one for each day of `cuts`; `baseline` is the plain forecast's.
    `refused` says why a candidate has none, `skipped` why a day (by its date) was not judged.
    `first` are the models fitted up to the first of the cuts. `before` says which lines lie so far
    before the history that they may be slips of a date; nothing where none do.
    """

    scores: dict[Candidate, float]
    errors: dict[Candidate, tuple[ForecastError, ...]]
    baseline: tuple[ForecastError, ...]
    cuts: tuple[int, ...]
    refused: dict[Candidate, str]
    skipped: dict[str, str]
    first: dict[Candidate, ClvModel]
    before: str = ""

    @property
    def ranking(self) -> tuple[Candidate, ...]:
        """The candidates, the best first."""
        return tuple(sorted(self.scores, key=lambda name: self.scores[name]))

    @property
    def champion(self) -> Candidate:
        return self.ranking[0]

    def best_of(self, refused: Mapping[Candidate, str]) -> Candidate:
        """Return the best candidate that was not refused later.

        Raises:
            NotConverged: All were.
        """
        for name in self.ranking:
            if name not in refused:
                return name
        raise NotConverged("; ".join(refused[name] for name in self.ranking))


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
    until = f"up to {day_told(end_day)}"
    fitted: dict[Candidate, ClvModel] = {}
    refused: dict[Candidate, str] = {}
    for name in NAMES:
        try:
            fitted[name] = fit(name, summary)
        except NotConverged as error:
            refused[name] = f"{until}: {error}"
    growth = fitted.get(GROWTH)
    if not isinstance(growth, PurchaseModel):
        refused["two_stage"] = f"two-stage model: needs the growth of {GROWTH}, {refused[GROWTH]}"
        return fitted, refused
    try:
        fitted["two_stage"] = fit_two_stage(purchases, end_day, weeks, growth, seed)
    except TooLittleData as error:
        refused["two_stage"] = f"{until}: {error}"
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


def held_out_error(
    forecast: Forecast,
    purchases: pd.DataFrame,
    cut: int,
    end_day: int,
) -> ForecastError:
    """Return the error of a forecast made after `cut` for the days up to `end_day`."""
    summary = summarise_days(purchases, cut)
    actual = purchases_after(purchases[purchases["day"] <= end_day], cut, summary.index)
    return forecast_error(actual, forecast(summary, (end_day - cut) / DAYS_A_WEEK))


def judged(
    forecast: Forecast, purchases: pd.DataFrame, cut: int, end_day: int, seed: int
) -> Judged:
    """Judge a forecast made after `cut` for the days up to `end_day` beside the plain ones."""
    summary = summarise_days(purchases, cut)
    actual = purchases_after(purchases[purchases["day"] <= end_day], cut, summary.index)
    weeks = (end_day - cut) / DAYS_A_WEEK
    plain = {name: expects(summary, weeks) for name, expects in PLAIN.items()}
    return judge(actual, forecast(summary, weeks), plain, seed)


def choose(purchases: pd.DataFrame, end_day: int, seed: int) -> Choice:
    """Choose the champion on purchases up to and including `end_day`.

    Args:
        purchases: As for summarise_days, days since 1970-01-01; what lies after `end_day` is not
            read.

    Raises:
        TooLittleData: The history is shorter than 8 weeks.
        NotConverged: No cut could be judged, or no candidate fitted at all that could.
    """
    seen = purchases[purchases["day"] <= end_day]
    first = first_day(seen) if len(seen) else end_day
    span = end_day - first
    before = _far_before(seen, first)
    if span < SHORTEST_DAYS:
        raise TooLittleData(
            f"purchases of {span} days are too few to choose a model of value: at least "
            f"{SHORTEST_DAYS} are needed; load a longer history" + (before and f" ({before})")
        )
    found: list[_Cut] = []
    skipped: dict[str, str] = {}
    for day in (first + int(span * part) for part in CUTS):
        try:
            found.append(_cut(seen, day, end_day, seed))
        except (TooLittleData, NotConverged) as error:
            skipped[day_told(day)] = str(error)
    if not found:
        raise NotConverged(
            "no model could be judged inside the history: "
            + "; ".join(f"cut {day}: {reason}" for day, reason in skipped.items())
        )
    refused: dict[Candidate, str] = {
        name: reason for cut in found for name, reason in cut.refused.items()
    }
    errors: dict[Candidate, tuple[ForecastError, ...]] = {
        name: tuple(cut.errors[name] for cut in found) for name in CANDIDATES if name not in refused
    }
    if not errors:
        raise NotConverged("; ".join(refused.values()))
    plain = tuple(cut.baseline for cut in found)
    return Choice(
        scores={name: _score(error, plain) for name, error in errors.items()},
        errors=errors,
        baseline=plain,
        cuts=tuple(cut.day for cut in found),
        refused=refused,
        skipped=skipped,
        first=found[0].models,
        before=before,
    )


def _far_before(purchases: pd.DataFrame, first: int) -> str:
    """Say which lines lie long before the day on which the shop had begun; nothing where none."""
    early = purchases.loc[purchases["day"] < first - SHORTEST_DAYS, "customer_id"]
    if early.empty:
        return ""
    oldest = int(purchases["day"].min())
    return (
        f"{early.nunique():,} customers of lines as old as {day_told(oldest)} came long before the "
        f"others, so the history counts from {day_told(first)}, when 1 % had bought; look at "
        "those lines' dates"
    )


@dataclass(frozen=True)
class _Cut:
    """What was fitted up to a day, and how it did after it."""

    day: int
    baseline: ForecastError
    models: dict[Candidate, ClvModel]
    errors: dict[Candidate, ForecastError]
    refused: dict[Candidate, str]


def _cut(purchases: pd.DataFrame, day: int, end_day: int, seed: int) -> _Cut:
    """Judge every candidate at a cut; refuse the cut where nothing can be judged or fitted."""
    baseline = held_out_error(as_often_as_so_far, purchases, day, end_day)
    models, refused = fit_candidates(purchases, day, (end_day - day) / DAYS_A_WEEK, seed)
    errors: dict[Candidate, ForecastError] = {}
    for name, model in models.items():
        try:
            errors[name] = held_out_error(partial(expected, model), purchases, day, end_day)
        except NoForecast as unknown:
            refused[name] = f"{name} up to {day_told(day)}: {unknown}"
    if not errors:
        raise NotConverged("; ".join(refused.values()))
    return _Cut(day, baseline, models, errors, refused)


def day_told(day: int) -> str:
    """Write a day since 1970-01-01 as a date."""
    return str(date(1970, 1, 1) + timedelta(days=day))


def _score(found: tuple[ForecastError, ...], plain: tuple[ForecastError, ...]) -> float:
    parts = [
        (ours.mae.value / theirs.mae.value + ours.rmse.value / theirs.rmse.value) / 2
        for ours, theirs in zip(found, plain, strict=True)
    ]
    return float(np.mean(parts))

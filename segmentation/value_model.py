"""The model of customer value: trained, judged on days it never saw, and written down as text.

The latest quarter of the history is held out. The champion is chosen before it, and judged on it
beside every other candidate and the plain forecast; then it is fitted again on all of the history.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from foundation.errors import TooLittleData
from foundation.scores import Interval
from segmentation.clv_champion import (
    Candidate,
    Choice,
    ClvModel,
    choose,
    day_told,
    expected,
    fit_candidates,
    held_out_error,
    judged,
)
from segmentation.customer_value import Horizon, Totals, calibrated_rank, futures, held_share
from segmentation.forecast_error import ForecastError, NoForecast, forecast_error, mean_figure
from segmentation.forecast_gate import Judged
from segmentation.group_error import overshoot, past_groups, widening
from segmentation.likelihood import NotConverged
from segmentation.purchase_models import PurchaseModel
from segmentation.purchase_summary import DAYS_A_WEEK, first_day, purchases_after, summarise_days
from segmentation.spend_model import SpendModel, fit_spend
from segmentation.two_stage import Stages, TwoStage, redraw

HELD_OUT_SHARE = 1 / 4


@dataclass(frozen=True)
class ValueModel:
    """How many purchases, by the champion, and what a purchase brings.

    `rank` bounds intervals of its futures, and `widening` those of groups further out, calibrated
    on days held out inside the history.
    """

    kind: Candidate
    purchases: ClvModel
    spend: SpendModel
    rank: int
    widening: float = 1.0


@dataclass(frozen=True)
class MoneyJudged:
    """The errors of net sales, over the customers whose mean spend is known.

    `unjudged` customers are left out of them: nothing is known of what a purchase of theirs brings.
    `error` is None where the held-out days can tell none, and `fault` says why.
    """

    error: ForecastError | None
    unjudged: int
    fault: str = ""

    def told(self) -> str:
        """Say in one clause how far off net sales were."""
        if self.error is None:
            return self.fault
        bias = self.error.bias
        left_out = f", {self.unjudged:,} customers not judged" if self.unjudged else ""
        return f"net sales {bias.value:+.1%} [{bias.low:+.1%}, {bias.high:+.1%}]{left_out}"


@dataclass(frozen=True)
class ValueReport:
    """The model of all the history, and what its like did on the held-out days.

    `errors` are those of every candidate fitted before `test_from` (a day); `judged` are the
    champion's beside the plain forecasts'. `coverage` is the share of customers whose purchases the
    champion's 80 % intervals held, ties shared out; `groups_held` counts past groups whose net
    sales their widened bounds held, of how many. `refused` says why a candidate has no errors or
    was passed over.
    """

    model: ValueModel
    choice: Choice
    errors: dict[Candidate, ForecastError]
    judged: Judged
    coverage: Interval
    groups_held: tuple[int, int]
    money: MoneyJudged
    test_from: int
    weeks_held_out: float
    refused: dict[Candidate, str]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the champion may not serve; nothing where it may."""
        return self.judged.faults() + ((self.money.fault,) if self.money.fault else ())

    def verdict(self) -> str:
        """Say in one sentence which model won and how far off it was."""
        ours, gains, rivals = self.judged.ours, self.judged.gains, self.judged.rivals
        word = "may not serve" if self.faults else "beats the plain forecasts"
        told = (
            f"{self.model.kind} {word}: it misses a customer's purchases by {_told(ours.mae)}, "
            f"{_told(gains['mae'])} less than {rivals['mae']!r}; its RMSE is {_told(ours.rmse)}, "
            f"{_told(gains['rmse'])} less than of {rivals['rmse']!r}; all purchases it misses by "
            f"{ours.bias.value:+.1%} [{ours.bias.low:+.1%}, {ours.bias.high:+.1%}]"
        )
        return "; ".join([told, *self.faults])


def train_value_model(purchases: pd.DataFrame, horizon: Horizon, seed: int) -> ValueReport:
    """Choose, judge and fit the model of customer value.

    Args:
        purchases: As for summarise_days; all of it is used.

    Raises:
        TooLittleData: The history is too short, or too few bought again.
        NotConverged: No candidate could be fitted each time.
    """
    first, last = first_day(purchases), int(purchases["day"].max())
    cut = last - int((last - first) * HELD_OUT_SHARE)
    choice = choose(purchases, cut, seed)
    weeks = (last - cut) / DAYS_A_WEEK
    earlier, refused = fit_candidates(purchases, cut, weeks, seed)
    everything, not_again = fit_candidates(purchases, last, horizon.weeks, seed)
    refused = choice.refused | not_again | refused
    champion = choice.best_of(refused)
    rank, widened = _calibrated(choice, champion, purchases, cut, seed)
    model = _sure_of(earlier[champion], purchases, cut, weeks, seed)
    serving = _sure_of(everything[champion], purchases, last, horizon.weeks, seed)
    coverage, groups_held, money = _held_and_paid(model, rank, widened, purchases, cut, last, seed)
    return ValueReport(
        model=ValueModel(champion, serving, _spend(purchases, last), rank, widened),
        choice=choice,
        errors={
            name: held_out_error(partial(expected, fitted), purchases, cut, last)
            for name, fitted in earlier.items()
        },
        judged=judged(partial(expected, model), purchases, cut, last, seed),
        coverage=coverage,
        groups_held=groups_held,
        money=money,
        test_from=cut + 1,
        weeks_held_out=weeks,
        refused=refused,
    )


def to_text(model: ValueModel) -> str:
    """Write a model down as JSON: numbers, and trees in LightGBM's own text."""
    fitted = model.purchases
    if isinstance(fitted, TwoStage):
        purchases = {
            **_stages_told(fitted.fitted),
            "learned_weeks": fitted.learned_weeks,
            "growth": _numbers(fitted.growth),
            "redrawn": [_stages_told(one) for one in fitted.redrawn],
        }
    else:
        purchases = _numbers(fitted)
    return json.dumps(
        {
            "kind": model.kind,
            "purchases": purchases,
            "spend": _numbers(model.spend),
            "rank": model.rank,
            "widening": model.widening,
        },
        indent=1,
    )


def from_text(text: str) -> ValueModel:
    """Read what to_text wrote."""
    found = json.loads(text)
    told, spend = found["purchases"], found["spend"]
    if found["kind"] == "two_stage":
        purchases: ClvModel = TwoStage(
            fitted=_stages(told),
            learned_weeks=told["learned_weeks"],
            growth=_purchase_model(told["growth"]),
            redrawn=tuple(_stages(one) for one in told.get("redrawn", ())),
        )
    else:
        purchases = _purchase_model(told)
    return ValueModel(
        kind=found["kind"],
        purchases=purchases,
        spend=SpendModel(
            parameters=tuple(spend["parameters"]),  # pyright: ignore[reportArgumentType]
            log_likelihood=spend["log_likelihood"],
            customers=spend["customers"],
            covariance=np.array(spend["covariance"]),
        ),
        rank=found["rank"],
        # A model of before groups were held against what they brought.
        widening=found.get("widening", 1.0),
    )


def _stages_told(stages: Stages) -> dict[str, object]:
    return {
        "buys": stages.buys.model_to_string(),
        "further": stages.further.model_to_string(),
        "dispersion": stages.dispersion,
    }


def _stages(told: dict[str, Any]) -> Stages:
    return Stages(
        buys=lightgbm.Booster(model_str=told["buys"]),
        further=lightgbm.Booster(model_str=told["further"]),
        dispersion=told["dispersion"],
    )


def _sure_of(
    model: ClvModel, purchases: pd.DataFrame, end: int, weeks: float, seed: int
) -> ClvModel:
    """Return a model whose futures know how sure it is; others than trees know it as they are."""
    return redraw(model, purchases, end, weeks, seed) if isinstance(model, TwoStage) else model


def _calibrated(
    choice: Choice, champion: Candidate, purchases: pd.DataFrame, end: int, seed: int
) -> tuple[int, float]:
    """Calibrate intervals at the first cut: like value, they are about the long run."""
    cut = choice.cuts[0]
    # The spend of all that was seen: half a history may have too few repeat buyers.
    model = _sure_of(choice.first[champion], purchases, cut, (end - cut) / DAYS_A_WEEK, seed)
    told = _what_came(model, _spend(purchases, end), purchases, cut, end, seed)
    rank = calibrated_rank(told.drawn, told.counts)
    return rank, widening(told.missed(rank))


def _held_and_paid(
    model: ClvModel,
    rank: int,
    widened: float,
    purchases: pd.DataFrame,
    cut: int,
    last: int,
    seed: int,
) -> tuple[Interval, tuple[int, int], MoneyJudged]:
    """Return how many intervals held the held-out days, and the errors of net sales."""
    spend = _spend(purchases, cut)
    told = _what_came(model, spend, purchases, cut, last, seed)
    held = [held_share(*pair, rank) for pair in zip(told.drawn, told.counts, strict=True)]
    summary = told.summary
    mean = spend.expected_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    forecast = expected(model, summary, (last - cut) / DAYS_A_WEEK) * mean
    missed = told.missed(rank)
    return (
        mean_figure(np.concatenate(held)),
        (int((missed <= widened).sum()), len(missed)),
        judge_money(told.paid.to_numpy(), forecast),
    )


@dataclass(frozen=True)
class _WhatCame:
    """Futures drawn at a cut, some thousand customers at a time, and what came after it."""

    summary: pd.DataFrame
    drawn: list[np.ndarray]
    counts: list[np.ndarray]
    paid: "pd.Series[float]"
    groups: pd.DataFrame
    totals: Totals

    def missed(self, rank: int) -> np.ndarray:
        return overshoot(self.totals.bounds(rank, 1.0), self.paid, self.groups)


def _what_came(
    model: ClvModel, spend: SpendModel, purchases: pd.DataFrame, cut: int, end: int, seed: int
) -> _WhatCame:
    summary = summarise_days(purchases, cut)
    seen = purchases[purchases["day"] <= end]
    counts = purchases_after(seen, cut, summary.index)
    later = seen[seen["day"] > cut].groupby("customer_id")["amount"].sum()
    groups = past_groups(summary)
    found = _WhatCame(
        summary, [], [], later.reindex(summary.index, fill_value=0.0), groups, Totals(groups)
    )
    undiscounted = Horizon((end - cut) / DAYS_A_WEEK, 0.0)
    for rows, drawn, value in futures(model, spend, summary, undiscounted, seed):
        found.totals.add(rows, value)
        # Whole numbers: half the memory holds them.
        found.drawn.append(drawn.astype(np.float32))
        found.counts.append(counts[rows])
    return found


def judge_money(paid: np.ndarray, forecast: np.ndarray) -> MoneyJudged:
    """Judge net sales, shape (n,); a forecast is NaN where her mean spend is unknown."""
    known = ~np.isnan(forecast)
    unjudged = int(np.count_nonzero(~known))
    try:
        return MoneyJudged(forecast_error(paid[known], forecast[known]), unjudged)
    except (TooLittleData, NoForecast) as error:
        return MoneyJudged(None, unjudged, f"net sales cannot be judged: {error}")


def _spend(purchases: pd.DataFrame, day: int) -> SpendModel:
    summary = summarise_days(purchases, day)
    try:
        return fit_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    except (TooLittleData, NotConverged) as error:
        raise type(error)(f"up to {day_told(day)}: {error}") from error


def _numbers(model: PurchaseModel | SpendModel) -> dict[str, object]:
    return asdict(model) | {"covariance": model.covariance.tolist()}


def _purchase_model(told: dict[str, object]) -> PurchaseModel:
    facts = told | {
        "parameters": tuple(told["parameters"]),  # pyright: ignore[reportArgumentType]
        "covariance": np.array(told["covariance"]),
    }
    return PurchaseModel(**facts)  # pyright: ignore[reportArgumentType]


def _told(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"

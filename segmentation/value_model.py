"""The model of customer value: trained, judged on days it never saw, and written down as text.

The latest quarter of the history is held out. The champion is chosen before it, and judged on it
beside every other candidate and the plain forecast; then it is fitted again on all of the history.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial

import lightgbm
import numpy as np
import pandas as pd

from foundation.scores import Interval
from segmentation.clv_champion import (
    Candidate,
    Choice,
    ClvModel,
    as_often_as_so_far,
    choose,
    expected,
    fit_candidates,
    held_out_error,
)
from segmentation.customer_value import Horizon, calibrated_rank, futures, held_share
from segmentation.forecast_error import ForecastError, forecast_error, mae_gain, mean_figure
from segmentation.likelihood import NotConverged
from segmentation.purchase_models import PurchaseModel
from segmentation.purchase_summary import DAYS_A_WEEK, purchases_after, summarise_days
from segmentation.spend_model import SpendModel, fit_spend
from segmentation.two_stage import TwoStage

HELD_OUT_SHARE = 1 / 4


@dataclass(frozen=True)
class ValueModel:
    """How many purchases, by the champion, and what a purchase brings.

    `rank` bounds intervals of its futures, calibrated on days held out inside the history.
    """

    kind: Candidate
    purchases: ClvModel
    spend: SpendModel
    rank: int


@dataclass(frozen=True)
class ValueReport:
    """The model of all the history, and what its like did on the held-out days.

    `errors` are those of every candidate fitted before `test_from` (a day), `baseline` the plain
    forecast's; `gain` is what the champion's MAE is below it, on the same customers. `coverage` is
    the share of customers whose purchases the champion's 80 % intervals held, ties shared out;
    `money` are the champion's errors of net sales.
    """

    model: ValueModel
    choice: Choice
    errors: dict[Candidate, ForecastError]
    baseline: ForecastError
    gain: Interval
    coverage: Interval
    money: ForecastError
    test_from: int
    weeks_held_out: float
    refused: dict[Candidate, str]

    @property
    def beats_plain(self) -> bool:
        """Whether the champion is surely better than the plain forecast; else it may not serve."""
        return self.gain.low > 0

    def verdict(self) -> str:
        """Say in one sentence which model won and how far off it was."""
        ours, plain = self.errors[self.model.kind], self.baseline
        word = "beats" if self.beats_plain else "does not surely beat"
        return (
            f"{self.model.kind} {word} the plain forecast: it misses a customer's purchases by "
            f"{_told(ours.mae)} against {_told(plain.mae)}, less by {_told(self.gain)}; all "
            f"purchases by "
            f"{ours.bias.value:+.1%} [{ours.bias.low:+.1%}, {ours.bias.high:+.1%}]"
        )


def train_value_model(purchases: pd.DataFrame, horizon: Horizon, seed: int) -> ValueReport:
    """Choose, judge and fit the model of customer value.

    Args:
        purchases: As for summarise_days; all of it is used.

    Raises:
        TooLittleData: The history is too short, or too few bought again.
        NotConverged: No candidate could be fitted, or the champion not on the whole history.
    """
    first, last = int(purchases["day"].min()), int(purchases["day"].max())
    cut = last - int((last - first) * HELD_OUT_SHARE)
    choice = choose(purchases, cut, seed)
    weeks = (last - cut) / DAYS_A_WEEK
    earlier, refused = fit_candidates(purchases, cut, weeks, seed)
    if choice.champion in refused:
        raise NotConverged(refused[choice.champion])
    rank = _rank(choice, purchases, cut, seed)
    coverage, money = _judged(earlier[choice.champion], rank, purchases, cut, last, seed)
    everything, not_again = fit_candidates(purchases, last, horizon.weeks, seed)
    if choice.champion in not_again:
        raise NotConverged(not_again[choice.champion])
    summary = summarise_days(purchases, last)
    return ValueReport(
        model=ValueModel(choice.champion, everything[choice.champion], _spend(summary), rank),
        choice=choice,
        errors={
            name: held_out_error(partial(expected, model), purchases, cut, last)
            for name, model in earlier.items()
        },
        baseline=held_out_error(as_often_as_so_far, purchases, cut, last),
        gain=_gain(earlier[choice.champion], purchases, cut, last, seed),
        coverage=coverage,
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
            "buys": fitted.buys.model_to_string(),
            "further": fitted.further.model_to_string(),
            "learned_weeks": fitted.learned_weeks,
            "dispersion": fitted.dispersion,
            "growth": _numbers(fitted.growth),
        }
    else:
        purchases = _numbers(fitted)
    return json.dumps(
        {
            "kind": model.kind,
            "purchases": purchases,
            "spend": _numbers(model.spend),
            "rank": model.rank,
        },
        indent=1,
    )


def from_text(text: str) -> ValueModel:
    """Read what to_text wrote."""
    found = json.loads(text)
    told, spend = found["purchases"], found["spend"]
    if found["kind"] == "two_stage":
        purchases: ClvModel = TwoStage(
            buys=lightgbm.Booster(model_str=told["buys"]),
            further=lightgbm.Booster(model_str=told["further"]),
            learned_weeks=told["learned_weeks"],
            dispersion=told["dispersion"],
            growth=_purchase_model(told["growth"]),
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
    )


def _rank(choice: Choice, purchases: pd.DataFrame, end: int, seed: int) -> int:
    """Calibrate intervals at the first cut: like value, they are about the long run."""
    cut = choice.cuts[0]
    weeks = (end - cut) / DAYS_A_WEEK
    fitted, _ = fit_candidates(purchases, cut, weeks, seed)
    summary = summarise_days(purchases, cut)
    seen = purchases[purchases["day"] <= end]
    actual = purchases_after(seen, cut, summary.index)
    # Only purchases are counted, so any spend would do.
    model, spend = fitted[choice.champion], _spend(summary)
    drawn = list(futures(model, spend, summary, Horizon(weeks, 0.0), seed))
    return calibrated_rank([d for _, d, _ in drawn], [actual[rows] for rows, _, _ in drawn])


def _gain(model: ClvModel, purchases: pd.DataFrame, cut: int, last: int, seed: int) -> Interval:
    summary = summarise_days(purchases, cut)
    weeks = (last - cut) / DAYS_A_WEEK
    actual = purchases_after(purchases, cut, summary.index)
    return mae_gain(
        actual, expected(model, summary, weeks), as_often_as_so_far(summary, weeks), seed
    )


def _judged(
    model: ClvModel, rank: int, purchases: pd.DataFrame, cut: int, last: int, seed: int
) -> tuple[Interval, ForecastError]:
    """Return how many intervals held the held-out days, and the errors of net sales."""
    summary = summarise_days(purchases, cut)
    spend = _spend(summary)
    undiscounted = Horizon((last - cut) / DAYS_A_WEEK, 0.0)
    actual = purchases_after(purchases, cut, summary.index)
    held = [
        held_share(drawn, actual[rows], rank)
        for rows, drawn, _ in futures(model, spend, summary, undiscounted, seed)
    ]
    mean = spend.expected_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    later = purchases[purchases["day"] > cut].groupby("customer_id")["amount"].sum()
    paid = later.reindex(summary.index, fill_value=0.0).to_numpy(np.float64)
    money = forecast_error(paid, expected(model, summary, undiscounted.weeks) * mean)
    return mean_figure(np.concatenate(held)), money


def _spend(summary: pd.DataFrame) -> SpendModel:
    return fit_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())


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

"""How far were forecast purchases from those that came?

Errors are means over customers, so their intervals are those of means (the delta method): they say
how much another sample of customers would differ, not what another year would bring. The same holds
of forecast net sales.
"""

from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError, TooLittleData
from foundation.scores import Z_95, Interval, percentiles

Floats = np.ndarray
FEWEST_CUSTOMERS = 10
ROUNDS = 1_000


class NoForecast(RegularsError):
    """A forecast is no number for some customers."""


@dataclass(frozen=True, slots=True)
class ForecastError:
    """Errors a customer, in the unit of what is forecast: purchases, or money.

    `bias` is the forecast of all customers over what came, less 1; `actual_total` is what came.
    """

    mae: Interval
    rmse: Interval
    bias: Interval
    customers: int
    actual_total: float


def forecast_error(actual: Floats, expected: Floats) -> ForecastError:
    """Compare what customers did with its forecast.

    Args:
        actual: Purchases or net sales of each customer, shape (n,).
        expected: Their forecast, shape (n,).

    Raises:
        TooLittleData: Fewer than 10 customers, nothing came, or returns leave so little that its
            mean is not surely above 0: a ratio to it would say nothing.
        NoForecast: A forecast is not finite.
    """
    if len(actual) < FEWEST_CUSTOMERS or not actual.any():
        raise TooLittleData(
            f"forecast error of {len(actual)} customers whose actual total is {actual.sum():g}: at "
            f"least {FEWEST_CUSTOMERS} customers and one purchase are needed; hold out a longer "
            "period"
        )
    _refuse_unknown(expected)
    came = mean_figure(actual)
    # Counts are never negative: whoever bought, their mean is above 0 for sure.
    if came.value <= 0 or (came.low <= 0 and bool((actual < 0).any())):
        raise TooLittleData(
            f"forecast error of {len(actual)} customers: they brought {came.value:.4g} "
            f"[{came.low:.4g}, {came.high:.4g}] each, returns taken off, which is not surely above "
            "0, so no bias can be told; hold out a longer period"
        )
    miss = actual - expected
    square = mean_figure(miss**2)
    rmse = np.sqrt(square.value)
    # A square's interval can reach below zero, where no root is.
    low, high = np.sqrt(max(square.low, 0.0)), np.sqrt(square.high)
    ratio = expected.mean() / came.value
    change = mean_figure((expected - ratio * actual) / came.value)
    return ForecastError(
        mae=mean_figure(np.abs(miss)),
        rmse=Interval(float(rmse), float(low), float(high)),
        bias=Interval(
            float(ratio - 1), float(ratio - 1 + change.low), float(ratio - 1 + change.high)
        ),
        customers=len(actual),
        actual_total=float(actual.sum()),
    )


def mae_gain(actual: Floats, ours: Floats, plain: Floats, seed: int) -> Interval:
    """Return by how much the plain forecast's MAE exceeds ours, on the same customers.

    Args:
        actual, ours, plain: What came and two forecasts of it, shape (n,).
        seed: Of the redrawn customers.

    Raises:
        NoForecast: A forecast is not finite.

    Source: paired percentile bootstrap over customers, ROUNDS rounds.
    """
    _refuse_unknown(ours)
    _refuse_unknown(plain)
    gain = np.abs(actual - plain) - np.abs(actual - ours)
    draw = np.random.default_rng(seed)
    drawn = np.array([draw.choice(gain, len(gain)).mean() for _ in range(ROUNDS)])
    return percentiles(float(gain.mean()), drawn)


def rmse_gain(actual: Floats, ours: Floats, plain: Floats, seed: int) -> Interval:
    """Return by how much the plain forecast's RMSE exceeds ours; all else as for mae_gain."""
    _refuse_unknown(ours)
    _refuse_unknown(plain)
    squares = np.column_stack([(actual - plain) ** 2, (actual - ours) ** 2])
    draw = np.random.default_rng(seed)
    rows = (draw.integers(0, len(actual), len(actual)) for _ in range(ROUNDS))
    roots = np.sqrt(np.array([squares.mean(axis=0), *(squares[row].mean(axis=0) for row in rows)]))
    gain = roots[:, 0] - roots[:, 1]
    return percentiles(float(gain[0]), gain[1:])


def _refuse_unknown(forecast: Floats) -> None:
    unknown = int(np.count_nonzero(~np.isfinite(forecast)))
    if unknown:
        raise NoForecast(
            f"forecast: it is no number for {unknown:,} of {len(forecast):,} customers, so it has "
            "no error; use a model that knows them, or leave them out and say so"
        )


def mean_figure(values: Floats) -> Interval:
    """Return the mean of customers' values, shape (n,), with its 95 % interval."""
    mean = float(values.mean())
    half = float(Z_95 * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)

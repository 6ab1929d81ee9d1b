"""How far were forecast purchases from those that came?

Errors are means over customers, so their intervals are those of means (the delta method): they say
how much another sample of customers would differ, not what another year would bring.
"""

from dataclasses import dataclass

import numpy as np

from foundation.errors import TooLittleData
from foundation.scores import Z_95, Interval, percentiles

Floats = np.ndarray
FEWEST_CUSTOMERS = 10
ROUNDS = 1_000


@dataclass(frozen=True, slots=True)
class ForecastError:
    """Errors in purchases a customer; `bias` is forecast over actual purchases in all, less 1."""

    mae: Interval
    rmse: Interval
    bias: Interval
    customers: int
    purchases: int


def forecast_error(actual: Floats, expected: Floats) -> ForecastError:
    """Compare purchases with their forecast.

    Args:
        actual: Purchases of each customer, shape (n,).
        expected: Their forecast, shape (n,).

    Raises:
        TooLittleData: Fewer than 10 customers, or nobody bought.
    """
    if len(actual) < FEWEST_CUSTOMERS or not actual.any():
        raise TooLittleData(
            f"forecast error of {len(actual)} customers with {int(actual.sum())} purchases: at "
            f"least {FEWEST_CUSTOMERS} customers and one purchase are needed; hold out a longer "
            "period"
        )
    miss = actual - expected
    square = mean_figure(miss**2)
    rmse = np.sqrt(square.value)
    # A square's interval can reach below zero, where no root is.
    low, high = np.sqrt(max(square.low, 0.0)), np.sqrt(square.high)
    ratio = expected.mean() / actual.mean()
    change = mean_figure((expected - ratio * actual) / actual.mean())
    return ForecastError(
        mae=mean_figure(np.abs(miss)),
        rmse=Interval(float(rmse), float(low), float(high)),
        bias=Interval(
            float(ratio - 1), float(ratio - 1 + change.low), float(ratio - 1 + change.high)
        ),
        customers=len(actual),
        purchases=int(actual.sum()),
    )


def mae_gain(actual: Floats, ours: Floats, plain: Floats, seed: int) -> Interval:
    """Return by how much the plain forecast's MAE exceeds ours, on the same customers.

    Args:
        actual, ours, plain: Purchases and two forecasts of them, shape (n,).
        seed: Of the redrawn customers.

    Source: paired percentile bootstrap over customers, ROUNDS rounds.
    """
    gain = np.abs(actual - plain) - np.abs(actual - ours)
    draw = np.random.default_rng(seed)
    drawn = np.array([draw.choice(gain, len(gain)).mean() for _ in range(ROUNDS)])
    return percentiles(float(gain.mean()), drawn)


def mean_figure(values: Floats) -> Interval:
    """Return the mean of customers' values, shape (n,), with its 95 % interval."""
    mean = float(values.mean())
    half = float(Z_95 * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)

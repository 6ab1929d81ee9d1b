"""May a forecast of purchases serve? Only one that surely tells more than somebody without a model.

RMSE is lowest for the true expectation, so the forecast must surely be below the best plain one in
it. MAE is lowest for the median, which of most customers is no purchase at all: "nobody buys" can
be below the truth itself there, so in MAE the rivals are the plain forecasts that expect purchases.
Neither sees that all forecasts are too high or too low together; the bias does. What a held-out
period with few purchases says about the bias is worth nothing: that is refused too.

Source: Gneiting 2011, "Making and evaluating point forecasts" (which error elicits which forecast).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foundation.scores import Interval
from segmentation.forecast_error import ForecastError, forecast_error, mae_gain, rmse_gain
from segmentation.plain_forecast import RIVALS_IN_MAE

Floats = np.ndarray
# Of all purchases; half an interval so wide that it does not tell a good forecast from a bad one.
MOST_BIAS = 0.25
WIDEST_HALF = 0.25


@dataclass(frozen=True)
class Judged:
    """A forecast beside the plain ones, on the same customers.

    `rivals` are the plain forecast to beat in "mae" and that in "rmse", `gains` by how much their
    error exceeds ours.
    """

    ours: ForecastError
    plain: Mapping[str, ForecastError]
    rivals: Mapping[str, str]
    gains: Mapping[str, Interval]

    @property
    def bias_half(self) -> float:
        """Half the width of the bias's interval."""
        return (self.ours.bias.high - self.ours.bias.low) / 2

    def faults(self) -> tuple[str, ...]:
        """Return why the forecast may not serve; nothing where it may."""
        found = [
            f"its {error.upper()} is not surely below that of {self.rivals[error]!r} "
            f"(less by {_told(gain)})"
            for error, gain in self.gains.items()
            if not gain.low > 0
        ]
        bias = self.ours.bias
        if not abs(bias.value) <= MOST_BIAS:
            found.append(
                f"it misses all purchases by {bias.value:+.1%}, more than {MOST_BIAS:.0%} of them"
            )
        if not self.bias_half <= WIDEST_HALF:
            found.append(
                f"{self.ours.actual_total:,.0f} held-out purchases are too few to judge it: they "
                f"tell the bias to within {self.bias_half:.0%}, {WIDEST_HALF:.0%} is needed"
            )
        return tuple(found)


def judge(actual: Floats, ours: Floats, plain: Mapping[str, Floats], seed: int) -> Judged:
    """Judge a forecast of purchases.

    Args:
        actual, ours: Purchases of each customer and their forecast, shape (n,).
        plain: What the forecasts of plain_forecast.PLAIN expect, shape (n,) each.
        seed: Of the redrawn customers.

    Raises:
        TooLittleData: As of forecast_error.
        NoForecast: A forecast is not finite.
    """
    errors = {name: forecast_error(actual, expected) for name, expected in plain.items()}
    rivals = {
        "mae": min(RIVALS_IN_MAE, key=lambda name: errors[name].mae.value),
        "rmse": min(errors, key=lambda name: errors[name].rmse.value),
    }
    gains = {
        "mae": mae_gain(actual, ours, plain[rivals["mae"]], seed),
        "rmse": rmse_gain(actual, ours, plain[rivals["rmse"]], seed),
    }
    return Judged(forecast_error(actual, ours), errors, rivals, gains)


def _told(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"

"""Rolling-origin evaluation of churn: what would our forecasts have been worth at past origins?

The model that serves is fitted on all labels known now. It is judged by models fitted the same way
as of earlier origins, so its figures are those of the procedure, on rows none of them has seen.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from foundation.calibration import Calibration, calibration
from foundation.errors import RegularsError
from segmentation.churn import ChurnModel, fit_churn
from segmentation.origins import Origins

# The gate: a model whose interval lies wholly outside is surely miscalibrated.
SLOPE_TO_SERVE = (0.9, 1.1)
OBSERVED_EXPECTED_TO_SERVE = (0.85, 1.15)


@dataclass(frozen=True)
class ChurnReport:
    """The model of today, its pooled held-out figures and those of each test origin."""

    model: ChurnModel
    pooled: Calibration
    by_origin: dict[datetime, Calibration]
    rows_trained: int

    @property
    def fault(self) -> str | None:
        """Say why the model may not serve; None when it may."""
        gain = self.pooled.auc_gain
        if gain.low <= 0:
            return (
                f"it is not surely better than recency alone: {gain.value:+.3f} AUC "
                f"[{gain.low:+.3f}, {gain.high:+.3f}]"
            )
        if (skill := self.pooled.brier_skill).low <= 0:
            return (
                f"it is not surely better than the known rate: Brier skill {skill.value:.3f} "
                f"[{skill.low:.3f}, {skill.high:.3f}]"
            )
        newest = max(self.by_origin)
        # What it was on average says little of today where shopping has changed since.
        return _miscalibrated("", self.pooled) or _miscalibrated(
            f" at the newest origin, {newest:%Y-%m-%d}", self.by_origin[newest]
        )

    def verdict(self) -> str:
        """Say in one sentence whether the model may serve, and how sure that is."""
        if self.fault:
            return f"the churn model does not serve: {self.fault}"
        gain = self.pooled.auc_gain
        return (
            f"the churn model is calibrated and beats recency alone by {gain.value:+.3f} AUC "
            f"[{gain.low:+.3f}, {gain.high:+.3f}]"
        )


def _miscalibrated(where: str, found: Calibration) -> str | None:
    for word, figure, (least, most) in (
        ("slope", found.slope, SLOPE_TO_SERVE),
        ("observed/expected", found.observed_expected, OBSERVED_EXPECTED_TO_SERVE),
    ):
        if figure.high < least or figure.low > most:
            return (
                f"it is not calibrated{where}: {word} {figure.value:.2f} "
                f"[{figure.low:.2f}, {figure.high:.2f}], {least} to {most} is asked"
            )
    return None


def evaluate_churn(frame: pd.DataFrame, origins: Origins, active: int, seed: int) -> ChurnReport:
    """Fit today's model, and test the procedure at every test origin.

    Args:
        frame: A row an active customer and origin: customer_id, as_of, INPUTS, churned.
        origins: The instants the rows were made at.
        active: A customer is active who bought within this many days.

    Raises:
        TooLittleData: Too few customers, origins or outcomes.
        RegularsError: The frame has rows of an instant that is no origin.
    """
    if not set(frame["as_of"]) <= set(origins.instants):
        raise RegularsError("the churn frame has rows at instants that are no origins of these")
    tests = pd.concat([_tested(frame, origins, at, active, seed) for at in origins.tests])
    known = frame[frame["as_of"].isin(origins.known_at(_end(origins)))]
    return ChurnReport(
        model=fit_churn(known, origins.days, active, seed),
        pooled=_judged(tests, seed),
        by_origin={at: _judged(tests[tests["as_of"] == at], seed) for at in origins.tests},
        rows_trained=len(known),
    )


def _end(origins: Origins) -> datetime:
    return origins.instants[-1] + pd.Timedelta(days=origins.days).to_pytimedelta()


def _tested(
    frame: pd.DataFrame, origins: Origins, at: datetime, active: int, seed: int
) -> pd.DataFrame:
    known = frame[frame["as_of"].isin(origins.known_at(at))]
    told = frame.loc[frame["as_of"] == at, ["customer_id", "as_of", "recency_days", "churned"]]
    model = fit_churn(known, origins.days, active, seed)
    return told.assign(
        probability=model.probability(frame.loc[told.index]), rate=known["churned"].mean()
    )


def _judged(rows: pd.DataFrame, seed: int) -> Calibration:
    def column(name: str) -> np.ndarray:
        return rows[name].to_numpy(np.float64)

    return calibration(
        column("churned"),
        column("probability"),
        column("rate"),
        column("recency_days"),
        rows["customer_id"].to_numpy(),
        seed,
    )

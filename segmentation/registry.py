"""The registry port of customer models: where they are tracked, and which one forecasts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from foundation.calibration import RecalibrationLine
from segmentation.churn import ChurnModel
from segmentation.churn_report import ChurnReport

CHURN = "churn"


@dataclass(frozen=True)
class LiveChurn:
    """The champion, and what happened to those whom models made like it told a probability.

    `trained_until` is the last purchase it learned from.
    """

    version: int
    model: ChurnModel
    feature_hash: str
    line: RecalibrationLine
    trained_until: datetime

    @property
    def name(self) -> str:
        return f"{CHURN}@{self.version}"


class ChurnRegistry(Protocol):
    """Tracks training runs of the churn model and hands out its champion."""

    def register(
        self, report: ChurnReport, feature_hash: str, data_digest: str, trained_until: datetime
    ) -> int:
        """Log a report's model with its figures and return the registered version."""
        ...

    def crown(self, version: int) -> None:
        """Make a version the champion."""
        ...

    def challenge(self, version: int) -> None:
        """Make a version the challenger: it serves only if somebody insists."""
        ...

    def champion(self) -> LiveChurn | None:
        """Return the champion, None when there is none."""
        ...

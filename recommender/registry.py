"""The model registry port: where models are tracked, and which one serves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from foundation.model_life import Alias
from recommender.reference import Reference
from recommender.response import ResponseModel, ResponseReport

RESPONSE = "response"
# The metric of a version that says how probable it held responses on held-out rows, on average.
MEAN_SCORE = "mean_score"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model version: its number, alias if any, and the figures logged with it.

    `test_from` is the first instant held out: windows of all it was trained on closed before.
    """

    version: int
    kind: str
    metrics: dict[str, float]
    feature_hash: str
    test_from: datetime

    @property
    def name(self) -> str:
        return f"{RESPONSE}@{self.version}"


class ModelRegistry(Protocol):
    """Tracks training runs and hands out models by alias."""

    def register(self, report: ResponseReport, data_digest: str) -> dict[str, int]:
        """Log both models of a report with parameters, metrics, pictures and data digest.

        Returns:
            The registered version by kind of model.
        """
        ...

    def point(self, alias: Alias, version: int) -> None:
        """Let an alias name a version."""
        ...

    def crown(self, version: int) -> None:
        """Make a version that was just trained the champion."""
        ...

    def described(self, alias: Alias) -> Registered | None:
        """Return what is registered under an alias, None when nothing is."""
        ...

    def load(self, alias: Alias) -> ResponseModel | None:
        """Return the model under an alias, None when nothing is."""
        ...

    def load_version(self, number: int) -> ResponseModel:
        """Return a version's model.

        Raises:
            RegularsError: There is no such version.
        """
        ...

    def reference(self, alias: Alias) -> Reference | None:
        """Return what the model under an alias knew; None for none, and for older ones."""
        ...

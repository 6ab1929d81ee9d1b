"""The model registry port: where models are tracked, and which one serves."""

from dataclasses import dataclass
from typing import Literal, Protocol

from recommender.response import ResponseModel, ResponseReport

Alias = Literal["champion", "challenger"]
RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model version: its number, alias if any, and the figures logged with it."""

    version: int
    kind: str
    metrics: dict[str, float]
    feature_hash: str


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

    def described(self, alias: Alias) -> Registered | None:
        """Return what is registered under an alias, None when nothing is."""
        ...

    def load(self, alias: Alias) -> ResponseModel | None:
        """Return the model under an alias, None when nothing is."""
        ...

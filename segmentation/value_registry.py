"""The registry port of the value model: where it is tracked, and which one is in use."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from segmentation.value_model import ValueModel, ValueReport

CLV = "clv"


@dataclass(frozen=True, slots=True)
class RegisteredValueModel:
    """A model: its version, kind, the figures logged with it, and how far its data reach."""

    version: int
    kind: str
    metrics: dict[str, float]
    trained_until: datetime

    @property
    def name(self) -> str:
        return f"{CLV}@{self.version}"


class ValueRegistry(Protocol):
    """Tracks trainings of the value model and keeps the champion."""

    def register(
        self, report: ValueReport, data_digest: str, trained_until: datetime
    ) -> RegisteredValueModel:
        """Log a training; its model is the champion if the report finds no fault.

        Else it is the challenger, which serves only if somebody insists.
        """
        ...

    def champion(self) -> RegisteredValueModel | None:
        """Return what is registered as the champion, None when nothing is."""
        ...

    def load(self, champion: RegisteredValueModel) -> ValueModel:
        """Return the model itself."""
        ...

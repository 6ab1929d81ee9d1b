"""The card of a registered model: how good is it, beside what, and what does it look at?

For people who read about a model and never load one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from foundation.model_life import Alias
from foundation.scores import Interval


@dataclass(frozen=True, slots=True)
class Scored:
    """One model of a training run on the held-out rows."""

    version: int
    kind: str
    auc: Interval
    calibration_error: float


@dataclass(frozen=True)
class ModelCard:
    """What was tracked of a model.

    `rivals` are the other models of the same training, on the same held-out rows. `importance`
    is each input's weight, the largest first, in a unit of the model's own. `calibration` is a
    picture (PNG) of predicted against observed response.
    """

    name: str
    scored: Scored
    rivals: tuple[Scored, ...]
    trained_at: datetime
    held_out_from: datetime
    rows_trained: int
    rows_held_out: int
    verdict: str
    importance: tuple[tuple[str, float], ...]
    calibration: bytes

    @property
    def version(self) -> str:
        return f"{self.name}@{self.scored.version}"


class ModelCards(Protocol):
    """Where cards are read."""

    def card(self, alias: Alias) -> ModelCard | None:
        """Return the card of the model under an alias, None when there is none."""
        ...

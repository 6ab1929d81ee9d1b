"""A model's life: registered, challenger, champion, rolled back; alike for every kind of model.

The log of reigns says which version was the champion from when on, and why: it ends where the next
begins. What a rollback goes back to follows from the log alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

# `shadow` scores beside the champion and never answers; `previous` is what a rollback brings back.
Alias = Literal["champion", "challenger", "shadow", "previous"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger", "shadow", "previous")
# The tag that says, at training, why a model may not serve; empty where it may.
FAULT = "fault"
Way = Literal["trained", "promoted", "forced", "rolled back"]


@dataclass(frozen=True)
class Version:
    """A registered model: who it is, what was logged with it, and what it goes by."""

    model: str
    number: int
    kind: str
    trained_at: datetime
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    aliases: tuple[Alias, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.model}@{self.number}"


@dataclass(frozen=True, slots=True)
class Reign:
    """From when on a version was the champion, and why. `overridden` are faults that were known."""

    version: int
    since: datetime
    way: Way
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What a gate found: `faults` speak against promotion, `told` is the whole of it for people.

    `record` are the figures, kept beside the model.
    """

    faults: tuple[str, ...]
    told: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def beside(self, other: "Judgement") -> "Judgement":
        """Return both as one, this one's words first."""
        return Judgement(
            self.faults + other.faults,
            self.told + other.told,
            {**self.record, **other.record},
        )


def line_of_champions(reigns: Sequence[Reign]) -> list[int]:
    """Return the champions that a rollback can go back through, the present one last.

    Args:
        reigns: In the order of time. A rollback takes its version's successors out of the line.
    """
    line: list[int] = []
    for reign in reigns:
        if reign.way == "rolled back" and reign.version in line:
            while line[-1] != reign.version:
                line.pop()
        elif not line or line[-1] != reign.version:
            line.append(reign.version)
    return line


class ModelLife(Protocol):
    """Where versions of all models are tracked, and which one serves."""

    def versions(self, model: str) -> list[Version]:
        """Return every registered version of a model, the newest first."""
        ...

    def version(self, model: str, number: int) -> Version | None:
        """Return a version by its number, None when there is none."""
        ...

    def named(self, model: str, alias: Alias) -> Version | None:
        """Return the version under an alias, None when nothing is."""
        ...

    def reigns(self, model: str) -> list[Reign]:
        """Return who was the champion from when on, in the order of time.

        The champion there is comes last, also where another hand than ours made it so.
        """
        ...

    def crown(self, version: Version, way: Way, overridden: Sequence[str] = ()) -> None:
        """Make a version the champion, and log the reign.

        Challengers that are not newer than it are challengers no longer, nor is it a shadow.
        """
        ...

    def shadow(self, version: Version) -> None:
        """Let a version score beside the champion, in the place of any that does."""
        ...

    def end_shadow(self, model: str) -> None:
        """Let no version of a model score beside the champion."""
        ...

    def keep(self, version: Version, name: str, record: Mapping[str, Any]) -> None:
        """Keep figures beside a model, as a file of JSON."""
        ...

    def card(self, version: Version) -> str | None:
        """Return the model card (Markdown); None for versions older than cards."""
        ...

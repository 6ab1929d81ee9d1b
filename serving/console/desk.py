"""The desk: what the console shows, and the port through which it gets it.

Where there is nothing to show yet, the desk refuses with a sentence that says what to run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from experiments.design import Experiment
from experiments.programme import Programme
from experiments.report import Report
from foundation.access import User
from foundation.audit import AuditEntry
from foundation.money import Currency
from foundation.profile import SnapshotFacts
from recommender.model_card import ModelCard


@dataclass(frozen=True, slots=True)
class Group:
    """A group of customers; `spend` is their net purchases of the run's last year, minor units."""

    name: str
    customers: int
    spend: int


@dataclass(frozen=True)
class Segments:
    """The latest run of each segmentation. `days` is the window that spend was summed over.

    `cluster_rules` tells each cluster's rule and its fidelity by the cluster's name;
    `cluster_stability` is their adjusted Rand index when customers are redrawn, None without them.
    """

    as_of: datetime
    days: int
    rfm: tuple[Group, ...]
    lifecycle: tuple[Group, ...]
    cluster: tuple[Group, ...]
    cluster_rules: dict[str, str]
    cluster_stability: float | None

    @property
    def customers(self) -> int:
        return sum(group.customers for group in self.rfm)

    @property
    def spend(self) -> int:
        return sum(group.spend for group in self.rfm)


@dataclass(frozen=True)
class Trial:
    """An experiment and what came of it.

    `report` is None where there is none yet; then `refused` says why. `money_rests_on` are the
    assumptions behind every figure in money, `assumed` the others.
    """

    design: Experiment
    started_at: datetime
    stopped_at: datetime | None
    report: Report | None
    refused: str | None
    money_rests_on: tuple[str, ...]
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class Holdings:
    """What the figures were read from: decisions are `recorded` first, `ingested` later."""

    snapshot: SnapshotFacts | None
    lake_version: int
    recorded: int
    ingested: int


class Desk(Protocol):
    """Hands the console what it shows and does what people there decide.

    Methods block and may be called from any thread.
    """

    @property
    def currency(self) -> Currency: ...

    @property
    def zone(self) -> ZoneInfo:
        """The chain's own zone, in which the console tells times."""
        ...

    def segments(self) -> Segments:
        """Return the latest segment run.

        Raises:
            NothingToDo: There is none.
        """
        ...

    def champion(self) -> ModelCard:
        """Return the card of the model that serves.

        Raises:
            NothingToDo: There is none.
        """
        ...

    def trial(self) -> Trial:
        """Return the running experiment, the latest one where none runs.

        Raises:
            NothingToDo: There was none yet.
        """
        ...

    def programme(self) -> Programme:
        """Return what all experiments brought together.

        Raises:
            NothingToDo: There was none yet.
        """
        ...

    def holdings(self) -> Holdings:
        """Return what the figures were read from."""
        ...

    def changes(self, most: int) -> Sequence[AuditEntry]:
        """Return the last changes, the newest first."""
        ...

    def stop_experiment(self, key: str, user: User) -> None:
        """Stop a running experiment; the audit log names the user.

        Raises:
            RegularsError: None of this key runs, or it is the holdout.
        """
        ...

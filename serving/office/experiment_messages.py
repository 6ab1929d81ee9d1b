"""Experiments as the office reads and writes them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from foundation.outcome import Channel, Id
from serving.office.offer_messages import Line, Rule
from serving.office.policy_messages import Number, PolicyTerms, Share
from serving.office.segment_messages import Note

ExperimentKey = Annotated[str, Meta(max_length=100, pattern=r"^[a-z0-9-]+$(?!\n)")]
Some = Annotated[int, Meta(ge=1, le=1_000_000_000)]
State = Literal["draft", "running", "stopped"]
# As in experiments.design, .plan and .metric_titles: a client need not load statistics for them.
Unit = Literal["customer", "household", "store"]
Method = Literal["welch", "sequential", "obrien-fleming", "pocock"]
Better = Literal["higher", "lower"]


class AskedVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm. `policy` is a word, the name of a stored policy, or one written out."""

    name: Line
    weight: Share
    policy: Line | PolicyTerms | None = None
    offers: Annotated[list[Id], Meta(max_length=20_000)] | None = None


class AskedLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The range of a layer that it takes."""

    name: Line
    low: Share = 0.0
    high: Share = 1.0


class AskedGuardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that may not get worse by more than a margin."""

    metric: Line
    margin: Number
    better: Better | None = None


class AskedStop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it ends: after so many days, or so many units, whichever comes first."""

    days: Some | None = None
    units: Some | None = None
    looks: Annotated[int, Meta(ge=1, le=1000)] | None = None


class ExperimentTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan, as the file of `regulars experiment start` writes it; the guide has its fields."""

    variants: Annotated[list[AskedVariant], Meta(min_length=2, max_length=100)]
    control: Line
    salt: Id | None = None
    unit: Unit = "customer"
    primary_metric: Line = "margin"
    hypothesis: Note = ""
    channels: Annotated[list[Channel], Meta(max_length=8)] = []
    exposure: Share = 1.0
    layer: AskedLayer | None = None
    audience: Rule | None = None
    secondary_metrics: Annotated[list[Line], Meta(max_length=100)] = []
    guardrails: Annotated[list[AskedGuardrail], Meta(max_length=100)] = []
    segments: Annotated[list[Line], Meta(max_length=100)] = []
    minimum_effect: Number | None = None
    method: Method = "welch"
    outlier_cap: Share | None = None
    stop: AskedStop | None = None
    follow_up_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
    post_stratify: Line | None = None


class NewExperiment(ExperimentTerms, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan under a key that was never used."""

    key: ExperimentKey


class ShownExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment. Its `plan` is locked as `plan_hash` from its start on.

    `version` moves with state and plan.

    `notes` say what to know about it: what its audience waits for, which follow-up was chosen.
    """

    key: str
    version: str
    state: State
    plan: dict[str, Any]
    plan_hash: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    notes: list[str] = []


class ExperimentList(msgspec.Struct, frozen=True):
    """Some experiments by their keys; `next` is the `after` of the following page."""

    experiments: list[ShownExperiment]
    next: str | None


class RemovedExperiment(msgspec.Struct, frozen=True):
    """A draft that is no more."""

    key: str


class ReportAnswer(msgspec.Struct, frozen=True):
    """What an experiment earned, by its locked plan; `assumptions` stand behind its money.

    `report` is what `regulars experiment report --json` prints.
    """

    # Spelled out by experiments.report.Report, whose statistics take seconds to import.
    report: dict[str, Any]
    assumptions: list[str]

"""Overview: what all experiments together brought, each by its own locked plan."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from adapters.postgres_admin import StoredExperiment
from experiments.holdout import HOLDOUT
from experiments.lock import check_locked
from experiments.programme import Concluded, Programme, programme
from experiments.report import Report
from foundation.errors import RegularsError
from foundation.lake import Lake
from regulars.jobs.report import More, experiment_report

Reported = Callable[[StoredExperiment], Report]


def overview(
    lake: Lake,
    stored: Sequence[StoredExperiment],
    now: datetime,
    reported: Reported | None = None,
    contact_costs: Mapping[str, float] | None = None,
) -> Programme:
    """Return every experiment with its sums; one that cannot be reported says why.

    Args:
        stored: All experiments, the newest first, the holdout among them.
        now: Where those that run end.
        reported: Makes the report of one, where somebody keeps them.
        contact_costs: As for `experiment_report`.
    """

    def report(one: StoredExperiment) -> Report:
        return report_of(lake, one, now, contact_costs)

    found = {one.design.key: _concluded(one, reported or report) for one in stored}
    holdout = found.pop(HOLDOUT, None)
    return programme(list(found.values()), holdout)


def report_of(
    lake: Lake,
    stored: StoredExperiment,
    now: datetime,
    contact_costs: Mapping[str, float] | None = None,
    more: More | None = None,
) -> Report:
    """Return an experiment's report by its locked plan, up to now or to when it was stopped.

    A plan with follow-up days is read until they are over for whoever was assigned by then.

    Raises:
        RegularsError: As `check_locked` and `experiment_report`.
    """
    plan = check_locked(stored.design, stored.content_hash)
    stopped = stored.stopped_at is not None
    until = now
    if stored.stopped_at is not None:
        # Whoever was assigned before it was stopped is followed to the end of her window.
        until = min(now, stored.stopped_at + timedelta(days=plan.follow_up_days or 0))
    return experiment_report(lake, plan, until, stopped, contact_costs, more)


def _concluded(one: StoredExperiment, reported: Reported) -> Concluded:
    report: Report | None = None
    refused: str | None = None
    try:
        report = reported(one)
    except RegularsError as refusal:
        refused = str(refusal)
    return Concluded(one.design.key, one.started_at, one.stopped_at, report, refused)

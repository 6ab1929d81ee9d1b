"""Train the model of customer value on the lake's purchases, tracked and registered in MLflow.

A training that does not converge, or whose model may not serve (segmentation/forecast_gate.py),
changes nothing: the last champion stays, and that is said.
"""

from dataclasses import dataclass
from datetime import datetime

from foundation.errors import NothingToDo
from foundation.lake import Lake
from regulars.assumptions import value_horizon
from regulars.jobs.customers import SEED
from regulars.jobs.value import last_purchase, purchase_days
from regulars.progress import Progress
from segmentation.likelihood import NotConverged
from segmentation.value_model import ValueReport, train_value_model
from segmentation.value_registry import RegisteredValueModel, ValueRegistry

TRAINED_ON = ("purchases", "assumptions")


@dataclass(frozen=True)
class ClvTraining:
    """The champion now, and the report of the training; or why the last one stays, if there is one.

    A model that is not better is registered all the same, to be looked at.
    """

    champion: RegisteredValueModel | None
    report: ValueReport | None
    kept_because: str | None


def train_clv(lake: Lake, models: ValueRegistry, now: datetime, progress: Progress) -> ClvTraining:
    """Choose, judge, fit and register the model of customer value.

    Args:
        now: Purchases from then on are slips of a date and not known yet.

    Raises:
        NothingToDo: There are no purchases.
        TooLittleData: The history is too short, or too few bought again.
        NotConverged: No model could be fitted, and there is no champion to keep.
    """
    with progress.step("train clv") as step:
        lake = lake.pinned()
        purchases = purchase_days(lake, now)
        if not (purchases["amount"] > 0).any():
            raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
        step.show(f"{len(purchases):,} purchase days: choosing inside the history")
        try:
            report = train_value_model(purchases, value_horizon(lake), SEED)
        except NotConverged as error:
            champion = models.champion()
            if champion is None:
                raise
            step.show(f"not converged, {champion.name} stays the champion")
            return ClvTraining(champion, None, str(error))
        step.show("tracking in MLflow")
        found = models.register(report, lake.digest(TRAINED_ON), last_purchase(lake, now))
        if report.faults:
            champion = models.champion()
            stays = f"{champion.name} stays the champion" if champion else "there is no champion"
            step.show(f"{found.name} is not the champion")
            return ClvTraining(champion, report, f"{report.verdict()}; {stays}")
        step.show(f"{found.name} is the champion")
    return ClvTraining(found, report, None)

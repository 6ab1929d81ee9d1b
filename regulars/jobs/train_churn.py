"""Train churn: a model of no purchase in the next N days, tested at rolling origins."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import ibis
import pandas as pd

from foundation.errors import NothingToDo
from foundation.features import feature_hash, features_as_of
from foundation.lake import Lake
from regulars.jobs.customers import SEED, registry
from regulars.jobs.value import last_purchase
from regulars.progress import Progress, Step
from segmentation.churn import churn_features, churn_inputs, churn_labels
from segmentation.churn_report import ChurnReport, evaluate_churn
from segmentation.origins import FEWEST_TESTS, Origins, rolling_origins
from segmentation.registry import ChurnRegistry

TRAINED_ON = ("purchases", "products", "assumptions")
DAYS, ACTIVE = 30, 90


@dataclass(frozen=True)
class TrainedChurn:
    """What was trained, where it is registered, and whether it forecasts from now on."""

    report: ChurnReport
    version: int
    champion: bool


def train_churn(
    lake: Lake, models: ChurnRegistry, now: datetime, progress: Progress
) -> TrainedChurn:
    """Train the churn model and register it; it becomes the champion unless it has a fault.

    Every training is tested at the newest origins and has the newest labels, so a sound model
    follows its forerunner without a duel on origins that both have learnt from.

    Args:
        now: Purchases from then on are slips of a date and not known yet.

    Raises:
        NothingToDo: There are no purchases.
        TooLittleData: Too few customers, or too short a history.
    """
    with progress.step("train churn") as step:
        lake = lake.pinned()
        step.show("customers as of earlier origins")
        origins = churn_origins(lake, DAYS, ACTIVE, before=now)
        frame = churn_frame(lake, origins, ACTIVE, step)
        step.show(f"{len(frame):,} rows: a model an origin")
        report = evaluate_churn(frame, origins, ACTIVE, SEED)
        step.show("tracking in MLflow")
        fingerprint = feature_hash(churn_features(registry(lake)))
        version = models.register(
            report, fingerprint, lake.digest(TRAINED_ON), last_purchase(lake, now)
        )
        if report.fault is None:
            models.crown(version)
        else:
            models.challenge(version)
        step.show(f"churn@{version} is {'not ' if report.fault else ''}the champion")
    return TrainedChurn(report, version, report.fault is None)


def churn_origins(
    lake: Lake, days: int, active: int, tests: int = FEWEST_TESTS, *, before: datetime
) -> Origins:
    """Return the origins that loaded purchases allow.

    Args:
        before: Purchases from then on are not known yet.

    Raises:
        NothingToDo: There are no purchases.
        TooLittleData: The purchases cover too short a time.
    """
    purchases = lake.table("purchases").filter(lambda t: t["at"] < ibis.literal(before))
    known = purchases.aggregate(first=lambda t: t["at"].min(), last=lambda t: t["at"].max())
    row = lake.fetch(known).to_pylist()[0]
    if row["first"] is None:
        raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
    return rolling_origins(row["first"], row["last"], days, active, tests)


def churn_frame(lake: Lake, origins: Origins, active: int, step: Step) -> pd.DataFrame:
    """Return a row an active customer and origin: customer_id, as_of, INPUTS, churned.

    An origin at a time: all at once would hold every purchase once an origin.
    """
    step.expect(len(origins.instants))
    found: list[pd.DataFrame] = []
    for origin in origins.instants:
        found.append(_at(lake, origin, origins.days, active))
        step.advance()
    return pd.concat(found, ignore_index=True)


def inputs_as_of(lake: Lake, as_of: datetime, days: int, active: int) -> pd.DataFrame:
    """Return the churn model's inputs for each active customer, by customer_id."""
    spine, wanted = _active(lake, as_of, active), churn_features(registry(lake))
    values = lake.fetch(features_as_of(lake, spine, wanted).order_by("customer_id"))
    return churn_inputs(values.to_pandas().set_index("customer_id"), days, active)


def _at(lake: Lake, origin: datetime, days: int, active: int) -> pd.DataFrame:
    inputs = inputs_as_of(lake, origin, days, active)
    bought = lake.fetch(churn_labels(lake, _active(lake, origin, active), days))
    silent = ~inputs.index.isin(bought["customer_id"].to_pylist())
    return inputs.assign(churned=silent.astype(int), as_of=origin).reset_index()


def _active(lake: Lake, as_of: datetime, active: int) -> ibis.Table:
    """Return the spine of customers with a purchase in the last `active` days."""
    instant = ibis.literal(as_of).cast("timestamp('UTC')")
    since = ibis.literal(as_of - timedelta(days=active)).cast("timestamp('UTC')")
    recent = lake.table("purchases").filter(lambda t: (t["at"] >= since) & (t["at"] < instant))
    return recent.select("customer_id").distinct().mutate(as_of=instant)

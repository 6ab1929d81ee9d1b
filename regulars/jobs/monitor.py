"""Monitor: did the champion's inputs, scores or calibration drift since it was registered?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from adapters.postgres_admin import StoredExperiment
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.errors import NothingToDo, TooLittleData
from foundation.lake import Lake
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.decision_log import decision_records, time_zones
from recommender.offer_uplift import OfferUplift
from recommender.reference import Reference
from recommender.registry import ModelRegistry
from recommender.uplift_registry import UPLIFT, UpliftRegistry
from recommender.uplift_watch import EffectsSeen, UpliftWatch, drifted, effects_seen
from recommender.watch import NEWEST_DAYS, Watch, watch
from regulars.contacts import contacts_of
from regulars.jobs.customers import SEED, registry
from regulars.jobs.randomised_decisions import recorded_inputs
from regulars.jobs.train import every_exposure, told_until
from regulars.jobs.uplift_gate import expected_by, later_decisions, told_by
from regulars.progress import Progress


@dataclass(frozen=True)
class Monitored:
    """The champion and what became of it; or why nothing can be told."""

    model: str
    watched: Watch | None
    refused: str | None = None


def monitor(lake: Lake, models: ModelRegistry, settings: Settings, progress: Progress) -> Monitored:
    """Compare the newest exposures, loaded and own, with what the champion knew.

    Raises:
        NothingToDo: There is no champion, or no purchases.
    """
    champion, model = models.described("champion"), models.load("champion")
    if champion is None or model is None:
        raise NothingToDo("model 'response' has no champion; run 'regulars train response'")
    reference = models.reference("champion")
    if reference is None:
        return Monitored(
            champion.name,
            None,
            "it was registered before models kept what they were trained on; run 'regulars train "
            "response' and 'regulars promote'",
        )
    with progress.step("monitor") as step:
        lake = lake.pinned()
        today = response_hash(registry(lake))
        if champion.feature_hash != today:
            return Monitored(
                champion.name,
                None,
                f"it was trained on features {champion.feature_hash}, today's are {today}, which "
                "cannot be compared; run 'regulars train response' and 'regulars promote'",
            )
        step.show("exposures as of their publication")
        frame, over = every_exposure(lake, settings)
        step.show(f"{len(frame.rows):,} exposures")
        return Monitored(champion.name, watch(reference, model, frame, over, SEED))


@dataclass(frozen=True)
class MonitoredUplift:
    """The uplift champion and what became of it; or why nothing can be told."""

    model: str
    watched: UpliftWatch | None
    refused: str | None = None


def monitor_uplift(
    lake: Lake,
    models: UpliftRegistry,
    experiments: Sequence[StoredExperiment],
    settings: Settings,
    progress: Progress,
) -> MonitoredUplift:
    """Compare the newest own decisions with those that the champion learned from.

    Args:
        experiments: All there were, with the holdout.

    Raises:
        NothingToDo: There is no champion.
    """
    version = models.champion_version()
    if version is None:
        raise NothingToDo(f"model {UPLIFT!r} has no champion; run 'regulars train uplift'")
    name, again = f"{UPLIFT}@{version}", "run 'regulars train uplift' and 'regulars promote uplift'"
    model, reference = models.load(version), models.reference(version)
    if reference is None:
        told = f"it was registered before models kept what they were trained on; {again}"
        return MonitoredUplift(name, None, told)
    with progress.step("monitor") as step:
        lake = lake.pinned()
        today = response_hash(registry(lake))
        if model.feature_hash != today:
            told = f"it was trained on features {model.feature_hash}, today's are {today}, which "
            return MonitoredUplift(name, None, f"{told}cannot be compared; {again}")
        step.show("decisions since")
        watched = _watched(lake, model, reference, experiments, settings)
        step.show(f"{watched.decisions:,} decisions")
        return MonitoredUplift(name, watched)


def _watched(
    lake: Lake,
    model: OfferUplift,
    reference: Reference,
    experiments: Sequence[StoredExperiment],
    settings: Settings,
) -> UpliftWatch:
    newest = told_until(lake)
    since = reference.shown_until
    if newest is not None:
        since = max(since, newest - timedelta(days=NEWEST_DAYS))
    matrix, customers, outdated = _asked_since(lake, model, settings, since)
    refused = dict[str, str]()
    try:
        moved = drifted(reference, model, matrix, customers)
    except TooLittleData as error:
        moved, refused["drift"] = [], str(error)
    try:
        seen = _effects(lake, model, reference, experiments, settings)
    except TooLittleData as error:
        seen, refused["effects"] = None, str(error)
    return UpliftWatch(since, len(matrix), len(set(customers)), outdated, moved, seen, refused)


def _asked_since(
    lake: Lake, model: OfferUplift, settings: Settings, since: datetime
) -> tuple[np.ndarray, list[str], int]:
    """Return the inputs of later decisions on known customers, whose they are, and how many were
    recorded under other definitions."""
    zones, width = time_zones(lake), len(model.names) - len(CONTEXT_NAMES)
    later = lake.table("decisions").filter(lambda t: t["at"] > since)
    inputs, customers, outdated = list[np.ndarray](), list[str](), 0
    for record in decision_records(lake, later):
        if record.vector is None:
            continue
        if record.versions.features != model.feature_hash or len(record.vector) != width:
            outdated += 1
            continue
        inputs.append(recorded_inputs(record, zones, settings.time_zone, width))
        customers.append(record.customer_id)
    return np.array(inputs).reshape(-1, len(model.names)), customers, outdated


def _effects(
    lake: Lake,
    model: OfferUplift,
    reference: Reference,
    experiments: Sequence[StoredExperiment],
    settings: Settings,
) -> EffectsSeen:
    found = later_decisions(lake, experiments, settings, reference.known_until)
    told, price = told_by(model, found), found.price(contacts_of(settings))
    return effects_seen(found.judged(), expected_by(model, found), told, price)

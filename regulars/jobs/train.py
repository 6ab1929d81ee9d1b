"""Train: an offer response model on loaded history, tracked and registered."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.exposures import TrainingFrame, exposures
from recommender.recorded_exposures import recorded_exposures
from recommender.registry import ModelRegistry
from recommender.response import ResponseReport, train_response
from regulars.jobs.customers import SEED, registry
from regulars.progress import Progress

TRAINED_ON = (
    "purchases",
    "products",
    "interactions",
    "offers",
    "decisions",
    "customers",
    "assumptions",
)
# Later than any window closes.
_NEVER = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TrainReport:
    """What was trained, and where it is registered."""

    report: ResponseReport
    versions: dict[str, int]
    alias: str


def training_frame(lake: Lake, settings: Settings) -> TrainingFrame:
    """Return all exposures, of loaded history and of own decisions, with what was known at each.

    Raises:
        NothingToDo: There are no purchases to tell how far outcomes are known, or no exposures.
    """
    observed_until = _observed_until(lake)
    if observed_until is None:
        raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
    features, zone = registry(lake), settings.time_zone
    frame = exposures(lake, features, observed_until, zone, settings.publish_hour)
    last = told_until(lake)
    if last is not None:
        frame = frame.beside(recorded_exposures(lake, features, last, zone))
    if frame.rows.empty:
        raise NothingToDo(
            f"no exposure to learn from ({frame.censored:,} are still open at "
            f"{observed_until:%Y-%m-%d}, {frame.unanswerable:,} are of unknown or ended offers, "
            f"{frame.outdated:,} were recorded under other definitions); "
            "load offers, and interactions of kind sent and redeem"
        )
    return frame


def every_exposure(lake: Lake, settings: Settings) -> tuple[TrainingFrame, np.ndarray]:
    """Return all exposures, the newest too, and which of them are over: booleans, shape (n,).

    Raises:
        NothingToDo: There are no purchases to tell how far outcomes are known.
    """
    observed_until = _observed_until(lake)
    if observed_until is None:
        raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
    features, zone = registry(lake), settings.time_zone
    frame = exposures(lake, features, _NEVER, zone, settings.publish_hour)
    own_until = told_until(lake) or observed_until
    frame = frame.beside(recorded_exposures(lake, features, _NEVER, zone))
    own, ends = frame.rows["source"] == "decision", frame.rows["ends"]
    over = (own & (ends <= own_until)) | (~own & (ends <= observed_until))
    return frame, over.to_numpy(dtype=bool)


def _observed_until(lake: Lake) -> datetime | None:
    """Return the last purchase of loaded history, or of all where none was loaded.

    What the service is told comes at once, while the files of the same days may come later: it
    does not say how far loaded outcomes reach.
    """
    purchases = lake.table("purchases")
    told = lake.table("interactions").filter(lambda t: t.kind.isin(("purchase", "return")))
    loaded = purchases.anti_join(told.filter(lambda t: t.order_id.notnull()), "order_id")
    loaded = loaded.anti_join(told.select(order_id="event_id"), "order_id")
    for table in (loaded, purchases):
        latest = lake.fetch(table.aggregate(at=lambda t: t["at"].max()))["at"][0].as_py()
        if latest is not None:
            return latest
    return None


def told_until(lake: Lake) -> datetime | None:
    """Return the newest decision: outcomes are ingested together with decisions."""
    newest = lake.fetch(lake.table("decisions").aggregate(at=lambda t: t["at"].max()))
    return newest["at"][0].as_py()


def train(
    lake: Lake,
    models: ModelRegistry,
    settings: Settings,
    progress: Progress,
    test_from: datetime | None = None,
) -> TrainReport:
    """Train the response model and its baseline; the better one becomes the challenger.

    The first model ever becomes the champion at once: there is nothing to beat.
    """
    with progress.step("train") as step:
        step.show("exposures as of their publication")
        frame = training_frame(lake, settings)
        step.show(f"{len(frame.rows):,} exposures: tuning LightGBM and logistic regression")
        report = train_response(frame, response_hash(registry(lake)), SEED, test_from)
        step.show("tracking in MLflow")
        versions = models.register(report, lake.digest(TRAINED_ON))
        version = versions[report.champion]
        if models.described("champion"):
            alias = "challenger"
            models.point(alias, version)
        else:
            alias = "champion"
            models.crown(version)
        step.show(f"response@{version} is the {alias}")
    return TrainReport(report, versions, alias)

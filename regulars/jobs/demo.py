"""Demo: the whole loop on a grocer's real year, from purchases to an A/B report."""

from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from adapters.complete_journey import SOURCE, read_complete_journey, weeks_to_yesterday
from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment, Variant
from experiments.holdout import HOLDOUT
from foundation.errors import RegularsError
from foundation.money import Currency
from recommender.registry import RESPONSE
from recommender.response import BASELINE
from regulars.assumptions import assumed
from regulars.jobs.experiment import start_experiment
from regulars.jobs.load import load, loaded_sources
from regulars.jobs.measure import Measured, simulate_experiment
from regulars.jobs.promote import PromotionRefused, promote
from regulars.jobs.segment import Champions, SegmentReport, segment
from regulars.jobs.simulated import without_simulated
from regulars.jobs.train import TrainReport, train
from regulars.locks import only_one
from regulars.progress import Progress
from regulars.wiring import House

# What the keys of the demo's own experiments begin with.
OWN = "demo-"


@dataclass(frozen=True)
class DemoReport:
    """What the loop came to, for people and as one JSON object."""

    segments: SegmentReport
    training: TrainReport
    measured: Measured

    def figures(self) -> dict[str, Any]:
        """Return the demo's figures; money in minor units."""
        response = self.training.report
        champion = response.comparison.auc[response.champion]
        return {
            "customers": self.segments.customers,
            "segments": self.segments.rfm,
            "response": {
                "champion": response.champion,
                "auc": champion.value,
                "auc_low": champion.low,
                "auc_high": champion.high,
                "baseline_auc": response.comparison.auc[BASELINE].value,
            },
            **self.measured.figures(),
        }

    def told(self, currency: Currency) -> list[str]:
        """Return the result as people read it."""
        verdict = f"offer model: {self.training.report.verdict()}"
        return [verdict, *self.measured.told(currency)]


def prepare(
    house: House, admin: PostgresAdmin, progress: Progress
) -> tuple[SegmentReport, TrainReport]:
    """Load, segment, publish and train: everything that happens offline.

    Raises:
        RegularsError: An experiment runs that is not the demo's, or its data would have to move
            in a lake that holds other rows too.
    """
    # Told before the minutes of work, not after them.
    others = [key for key in _running(admin) if not key.startswith(OWN)]
    if others:
        raise RegularsError(
            f"the demo runs an experiment of its own, and {others[0]!r} runs; stop it first with "
            f"'regulars experiment stop {others[0]}', or set REGULARS_HOME to another folder"
        )
    lake, now = house.lake, house.clock.now()
    weeks = weeks_to_yesterday(now)
    known = assumed(lake, "shift_weeks", None)
    # Data of another week would have other dates under the same ids: they are laid afresh.
    afresh = known is not None and known != weeks
    beside = sorted(name for name in loaded_sources(lake) if name != SOURCE)
    if afresh and beside:
        raise RegularsError(
            f"the demo's data move to another week and would be laid afresh, but this lake also "
            f"holds rows of {beside[0]!r}; set REGULARS_HOME to another folder"
        )
    locks = house.settings.lock_folder
    with only_one(locks, "load"):
        load(lake, read_complete_journey(weeks), house.clock, progress, afresh=afresh)
    # What an earlier demo simulated says nothing of these customers.
    real = without_simulated(lake)
    with only_one(locks, "train"):
        training = train(real, house.models, house.settings, progress)
    if training.alias == "challenger":
        try:
            promote(house, RESPONSE, progress)
        except PromotionRefused as refused:
            with progress.step("promote") as step:
                step.show(str(refused))
    # After the model, so that the snapshot says why its offers suit.
    champions = Champions(response=house.models)
    with only_one(locks, "segment"):
        segments = segment(
            real, house.publish_snapshot, admin, house.settings, now, progress, champions
        )
    admin.touch_catalogue()
    return segments, training


def run(
    house: House,
    admin: PostgresAdmin,
    url: str,
    prepared: tuple[SegmentReport, TrainReport],
    seed: int,
    progress: Progress,
) -> DemoReport:
    """Experiment on the running service, bring the outcomes back and report."""
    _start(admin, house.clock.now())
    return DemoReport(*prepared, simulate_experiment(house, admin, url, seed, progress))


def _start(admin: PostgresAdmin, now: datetime) -> None:
    known = {stored.design.key for stored in admin.experiments()}
    for key in _running(admin):
        admin.stop_experiment(key, now)
    key = next(key for n in count(1) if (key := f"{OWN}{n}") not in known)
    design = Experiment(
        key=key,
        salt=f"regulars-{key}",
        variants=[
            Variant("no-offers", 0.5, policy="none"),
            Variant("offers", 0.5, policy="response"),
        ],
        control="no-offers",
        # Whoever tries the demo reads it at once, and again.
        method="sequential",
        # A dozen of the largest baskets would make the mean too skewed to judge.
        outlier_cap=0.995,
        hypothesis="personal offers earn more margin than they cost",
    )
    start_experiment(admin, design, now)


def _running(admin: PostgresAdmin) -> list[str]:
    running = (stored for stored in admin.experiments() if stored.stopped_at is None)
    return [stored.design.key for stored in running if stored.design.key != HOLDOUT]

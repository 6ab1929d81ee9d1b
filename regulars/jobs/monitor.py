"""Monitor: did the champion's inputs, scores or calibration drift since it was registered?"""

from dataclasses import dataclass

from foundation.errors import NothingToDo
from foundation.lake import Lake
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.registry import ModelRegistry
from recommender.watch import Watch, watch
from regulars.jobs.customers import SEED, registry
from regulars.jobs.train import every_exposure
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

"""The gate of uplift models: both on the same decisions, drawn by chance after their training."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from adapters.postgres_admin import StoredExperiment
from foundation.errors import RegularsError, TooLittleData
from foundation.lake import Lake
from foundation.model_life import FAULT, Judgement, Version
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.offer_uplift import OfferUplift
from recommender.uplift_gate import Told, judge_uplift
from recommender.uplift_registry import TOLD_UNTIL, UpliftRegistry
from regulars.contacts import contacts_of
from regulars.jobs.customers import customer_features, registry
from regulars.jobs.lifecycle import lifecycle
from regulars.jobs.randomised_decisions import RandomisedDecisions, randomised_decisions
from regulars.jobs.receipts import rfm
from regulars.jobs.train import told_until
from regulars.progress import Progress


def judge_uplift_challenger(
    lake: Lake,
    models: UpliftRegistry,
    experiments: Sequence[StoredExperiment],
    settings: Settings,
    challenger: Version,
    champion: Version | None,
    progress: Progress,
) -> Judgement:
    """Judge by its own report, and beside the champion on decisions after both were trained.

    Without a champion that could serve today there is nobody to beat: its own report alone counts,
    and that is said.

    Raises:
        RegularsError: The challenger was trained under other definitions than today's.
    """
    own = challenger.tags.get(FAULT, "")
    if own:
        return Judgement((own,), (own,))
    today = response_hash(registry(lake))
    if challenger.tags["feature_hash"] != today:
        raise RegularsError(
            f"model {challenger.name!r} was trained on features "
            f"{challenger.tags['feature_hash']}, today's are {today}; run 'regulars train uplift'"
        )
    if champion is None:
        return Judgement((), ("there is no champion: sound by its own report",))
    if champion.tags["feature_hash"] != today:
        told = f"{champion.name} was trained on other features than today's and cannot serve"
        return Judgement((), (f"sound by its own report; {told}",))
    with progress.step("judge") as step:
        lake = lake.pinned()
        since = max(_told_until(challenger), _told_until(champion))
        step.show(f"decisions drawn by chance after {since:%Y-%m-%d %H:%M}")
        try:
            found = later_decisions(lake, experiments, settings, since)
            judgement = _judged(
                lake, settings, found, models.load(challenger.number),
                models.load(champion.number), since,
            )  # fmt: skip
        except TooLittleData as error:
            fault = (
                f"it cannot be judged: of decisions after {since:%Y-%m-%d %H:%M}, when the later "
                f"of both was trained, {error}"
            )
            return Judgement((fault,), (fault,), {"refused": fault})
        step.show("passed" if not judgement.faults else f"{len(judgement.faults)} faults")
    return judgement


def _told_until(version: Version) -> datetime:
    """Return the last instant that its training knew of."""
    told = version.tags.get(TOLD_UNTIL)
    return version.trained_at if told is None else datetime.fromisoformat(told)


def later_decisions(
    lake: Lake, experiments: Sequence[StoredExperiment], settings: Settings, since: datetime
) -> RandomisedDecisions:
    """Return the decisions drawn by chance after an instant.

    Raises:
        TooLittleData: There are none whose window is over.
    """
    until = told_until(lake)
    if until is None or until <= since:
        raise TooLittleData("there are none; ingest later ones")
    return randomised_decisions(
        lake, registry(lake), experiments, until, settings.time_zone, after=since
    )


def _judged(
    lake: Lake,
    settings: Settings,
    found: RandomisedDecisions,
    challenger: OfferUplift,
    champion: OfferUplift,
    since: datetime,
) -> Judgement:
    return judge_uplift(
        found.judged(),
        expected_by(challenger, found),
        told_by(challenger, found),
        told_by(champion, found),
        _segments(lake, settings, found.rows["customer_id"], since),
        found.price(contacts_of(settings)),
    )


def expected_by(model: OfferUplift, found: RandomisedDecisions) -> np.ndarray:
    """Return a model's outcomes under each treatment there was, control first."""
    responses = model.model.responses(found.matrix)
    # An offer it never learned: what she brings without any is a forecast as good as another.
    places = [_place(model, offer_id) for offer_id in found.offers]
    return responses[:, [0, *(0 if place is None else place + 1 for place in places)]]


def told_by(model: OfferUplift, found: RandomisedDecisions) -> Told:
    """Return a model's effects of the offers there were; 0, as served, for those unknown to it."""
    values = model.values(found.matrix)
    places = [_place(model, offer_id) for offer_id in found.offers]
    nothing = np.zeros(len(values))
    averages = [-np.inf if place is None else model.model.average[place] for place in places]
    return Told(
        np.column_stack([nothing if place is None else values[:, place] for place in places]),
        # Chosen by its training: on the rows judged the best would be the luckiest, too.
        int(np.argmax(averages)) + 1,
    )


def _place(model: OfferUplift, offer_id: str) -> int | None:
    return model.offers.index(offer_id) if offer_id in model.offers else None


def _segments(
    lake: Lake, settings: Settings, customers: pd.Series, since: datetime
) -> dict[str, np.ndarray]:
    """Return which rows are of which segment, as known before the first of their outcomes."""
    values = customer_features(lake, since)
    groups = {
        "RFM": rfm(lake, settings, values.index, since, "purchases")["rfm"],
        "lifecycle": lifecycle(lake, values, since).states,
    }
    found = dict[str, np.ndarray]()
    for word, group in groups.items():
        hers = group.reindex(customers).to_numpy()
        for name in sorted(set(group.dropna())):
            found[f"{word} {name}"] = hers == name
    return found

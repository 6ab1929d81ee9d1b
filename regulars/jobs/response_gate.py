"""The gate of response models: both on the same exposures, rebuilt from the lake."""

from datetime import datetime

import numpy as np

from foundation.errors import RegularsError, TooLittleData
from foundation.lake import Lake
from foundation.model_life import Judgement
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.exposures import TrainingFrame
from recommender.gate import judge
from recommender.registry import ModelRegistry, Registered
from recommender.response import ResponseModel
from regulars.jobs.customers import SEED, customer_features, registry
from regulars.jobs.lifecycle import lifecycle
from regulars.jobs.receipts import rfm
from regulars.jobs.train import training_frame
from regulars.progress import Progress


def judge_response(
    lake: Lake, models: ModelRegistry, settings: Settings, progress: Progress
) -> Judgement:
    """Judge the challenger beside the champion on exposures that neither was trained on.

    A champion of other definitions cannot serve today, so that there is nobody to beat: then the
    challenger is judged alone, and that is said.

    Raises:
        RegularsError: The challenger was trained under other definitions than today's.
        NothingToDo: There are no exposures.
    """
    challenger, champion = models.described("challenger"), models.described("champion")
    model = models.load("challenger")
    # promote() has looked that there is one.
    assert challenger is not None  # noqa: S101
    assert model is not None  # noqa: S101
    with progress.step("judge") as step:
        lake = lake.pinned()
        today = response_hash(registry(lake))
        if challenger.feature_hash != today:
            raise RegularsError(
                f"model {challenger.name!r} was trained on features {challenger.feature_hash}, "
                f"today's are {today}; run 'regulars train response'"
            )
        step.show("exposures as of their publication")
        frame = training_frame(lake, settings)
        rival, alone = _rival(models, champion, today)
        since = challenger.test_from
        if rival is not None and champion is not None:
            # Neither may have learned from a row it is judged on.
            since = max(since, champion.test_from)
        fair = frame.take((frame.rows["at"] >= since).to_numpy())
        trained_on = frame.take((frame.rows["ends"] <= challenger.test_from).to_numpy())
        step.show(f"{len(fair.rows):,} exposures that neither model was trained on")
        try:
            verdict = judge(
                fair.outcome,
                model.predict(fair.columns(model.names)),
                None if rival is None else rival.predict(fair.columns(rival.names)),
                float(trained_on.outcome.mean()) if len(trained_on.rows) else 0.5,
                fair.rows["customer_id"].to_numpy(),
                _segments(lake, settings, fair, trained_on, since),
                since,
                SEED,
            )
        except TooLittleData as refused:
            return _cannot_be_judged(challenger, champion, since, str(refused))
        found = verdict.judgement()
        step.show("passed" if not found.faults else f"{len(found.faults)} faults")
    return Judgement(found.faults, (*alone, *found.told), found.record)


def _rival(
    models: ModelRegistry, champion: Registered | None, today: str
) -> tuple[ResponseModel | None, tuple[str, ...]]:
    if champion is None:
        return None, ("there is no champion: the challenger is judged alone",)
    if champion.feature_hash != today:
        return None, (
            f"the challenger is judged alone: {champion.name} was trained on features "
            f"{champion.feature_hash}, today's are {today}, so that it cannot serve",
        )
    return models.load("champion"), ()


def _cannot_be_judged(
    challenger: Registered, champion: Registered | None, since: datetime, reason: str
) -> Judgement:
    later = champion is not None and since > challenger.test_from
    who = "the champion" if later else "the challenger"
    fault = (
        f"it cannot be judged: {who} was trained on all before {since:%Y-%m-%d}; since: {reason}"
    )
    return Judgement((fault,), (fault,), {"refused": fault})


def _segments(
    lake: Lake, settings: Settings, fair: TrainingFrame, trained_on: TrainingFrame, since: datetime
) -> dict[str, np.ndarray]:
    """Return which rows are of which segment, as known before the first of their outcomes.

    Today's groups would already hold what is to be judged: who answered bought, and is active.
    """
    values = customer_features(lake, since)
    groups = {
        "RFM": rfm(lake, settings, values.index, since, "purchases")["rfm"],
        "lifecycle": lifecycle(lake, values, since).states,
    }
    customers, found = fair.rows["customer_id"], dict[str, np.ndarray]()
    for word, group in groups.items():
        hers = group.reindex(customers).to_numpy()
        for name in sorted(set(group.dropna())):
            found[f"{word} {name}"] = hers == name
    for channel in sorted(set(fair.rows["channel"])):
        found[f"channel {channel}"] = (fair.rows["channel"] == channel).to_numpy()
    found["cold offers"] = ~fair.rows["offer_id"].isin(trained_on.rows["offer_id"]).to_numpy()
    found["cold customers"] = ~fair.rows["bought_before"].to_numpy(dtype=bool)
    return found

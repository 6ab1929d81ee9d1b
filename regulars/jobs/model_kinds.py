"""Which models have a life: the one list that promotion, rollback and their tables read."""

from collections.abc import Callable
from dataclasses import dataclass

from foundation.errors import RegularsError
from foundation.features import feature_hash
from foundation.lake import Lake
from foundation.model_life import FAULT, Judgement, Version
from recommender.affinity import response_hash
from recommender.registry import RESPONSE
from recommender.uplift_registry import UPLIFT
from regulars.jobs.customers import registry
from regulars.jobs.response_gate import judge_response
from regulars.jobs.simulated import without_simulated
from regulars.jobs.uplift_gate import judge_uplift_challenger
from regulars.progress import Progress
from regulars.wiring import House
from segmentation.churn import churn_features
from segmentation.registry import CHURN
from segmentation.value_registry import CLV


@dataclass(frozen=True)
class ModelKind:
    """How one model is judged and shown.

    `figure` and `calibration` (for uplift: over none) are metrics logged with each version, their
    bounds as name_low and name_high. `gate` judges a challenger; `definitions` is the fingerprint
    that a version must have to serve today, None where it needs none.
    """

    figure: str
    calibration: str
    gate: Callable[[House, Version, Progress], Judgement]
    definitions: Callable[[Lake], str] | None


def _response(house: House, _challenger: Version, progress: Progress) -> Judgement:
    return judge_response(without_simulated(house.lake), house.models, house.settings, progress)


def _own_report(_house: House, challenger: Version, _progress: Progress) -> Judgement:
    """Judge by what its own training found: it was tested on rows held out there."""
    fault = challenger.tags.get(FAULT, "")
    return Judgement((fault,) if fault else (), (fault or "sound by its own report",))


def _uplift(house: House, challenger: Version, progress: Progress) -> Judgement:
    with house.database() as url, house.admin(url) as admin:
        experiments = admin.experiments()
    return judge_uplift_challenger(
        without_simulated(house.lake),
        house.uplift,
        experiments,
        house.settings,
        challenger,
        house.life.named(UPLIFT, "champion"),
        progress,
    )


KINDS: dict[str, ModelKind] = {
    RESPONSE: ModelKind(
        "auc", "calibration_slope", _response, lambda lake: response_hash(registry(lake))
    ),
    CLV: ModelKind("mae_gain", "coverage_80", _own_report, None),
    UPLIFT: ModelKind(
        "policy_over_best",
        "policy_over_none",
        _uplift,
        lambda lake: response_hash(registry(lake)),
    ),
    CHURN: ModelKind(
        "auc", "slope", _own_report, lambda lake: feature_hash(churn_features(registry(lake)))
    ),
}


def kind_of(model: str) -> ModelKind:
    """Return how a model is judged and shown.

    Raises:
        RegularsError: There is no such model.
    """
    if model not in KINDS:
        raise RegularsError(f"model {model!r} does not exist; choose one of {', '.join(KINDS)}")
    return KINDS[model]


def version_of(house: House, name: str) -> Version:
    """Return a registered version by its name, e.g. response@7.

    Raises:
        RegularsError: There is none of that name.
    """
    model, _, number = name.partition("@")
    found = house.life.version(model, int(number)) if number.isdecimal() else None
    if found is None:
        raise RegularsError(
            f"model {name!r} is not registered; 'regulars models' lists those that are"
        )
    return found

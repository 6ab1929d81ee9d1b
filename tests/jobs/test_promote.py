"""Promotion and rollback of any model, on a real MLflow; the response gate has tests of its own."""

import json
from pathlib import Path

import mlflow
import pytest
from rich.console import Console

from adapters.mlflow_home import MlflowHome
from foundation.errors import RegularsError
from foundation.features import feature_hash
from foundation.model_life import FAULT, Alias
from foundation.settings import Settings
from regulars.jobs.customers import registry
from regulars.jobs.promote import GATE_RECORD, PromotionRefused, promote, rollback
from regulars.jobs.shadow import end_shadow, set_shadow
from regulars.progress import Progress
from regulars.wiring import House
from segmentation.churn import churn_features

SILENT = Progress(Console(quiet=True))
FAULTY = "it is not calibrated: slope 0.62 [0.50, 0.74], 0.9 to 1.1 is asked"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database, migrated and empty; migrating takes seconds, copying nothing."""
    folder = tmp_path_factory.mktemp("empty-mlflow")
    MlflowHome(f"sqlite:///{folder / 'mlflow.db'}", folder)
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def house(empty: bytes, tmp_path: Path) -> House:
    house = House(Settings(home=tmp_path, database_url=None, mlflow_tracking_uri=None))
    house.settings.mlflow_file.write_bytes(empty)
    return house


def register(house: House, model: str, alias: Alias, fault: str = "", trained_on: str = "") -> int:
    """Register a version as a training would; returns its number."""
    home = MlflowHome(house.settings.mlflow_uri, house.settings.artifact_folder)
    home.use()
    with mlflow.start_run(experiment_id=home.experiment(model)) as run:
        today = feature_hash(churn_features(registry(house.lake)))
        mlflow.set_tags({"kind": "k", FAULT: fault, "feature_hash": trained_on or today})
        source = mlflow.get_artifact_uri("model")
    number = home.register(model, source, run.info.run_id)
    if alias == "champion":
        home.crown(model, number, "trained")
    else:
        home.point(model, alias, number)
    return number


def champion(house: House, model: str) -> int:
    found = house.life.named(model, "champion")
    assert found is not None
    return found.number


@pytest.mark.parametrize("model", ["churn", "clv"])
def test_a_challenger_with_a_fault_is_refused_by_its_figure_and_the_champion_stays(
    house: House, model: str
) -> None:
    register(house, model, "champion")
    register(house, model, "challenger", FAULTY)

    with pytest.raises(PromotionRefused) as refused:
        promote(house, model, SILENT)

    assert str(refused.value) == (
        f"model '{model}@2' is not promoted: {FAULTY}; keep the champion, or promote with --force"
    )
    assert champion(house, model) == 1


def test_force_says_what_was_overridden_and_leaves_it_in_the_log(house: House) -> None:
    register(house, "churn", "champion")
    register(house, "churn", "challenger", FAULTY)

    promoted = promote(house, "churn", SILENT, force=True)

    assert promoted.overridden == (FAULTY,)
    assert champion(house, "churn") == 2
    last = house.life.reigns("churn")[-1]
    assert (last.way, last.overridden) == ("forced", (FAULTY,))
    run_id = mlflow.MlflowClient().get_model_version("churn", "2").run_id
    (kept,) = house.settings.artifact_folder.rglob(f"{run_id}/artifacts/{GATE_RECORD}")
    assert json.loads(kept.read_text()) == {"faults": [FAULTY], "forced": True}


def test_force_on_a_sound_challenger_overrides_nothing(house: House) -> None:
    register(house, "clv", "challenger")

    assert promote(house, "clv", SILENT, force=True).overridden == ()
    assert house.life.reigns("clv")[-1].way == "promoted"


def test_a_promoted_challenger_is_no_challenger_any_more(house: House) -> None:
    register(house, "clv", "challenger")
    promote(house, "clv", SILENT)

    with pytest.raises(RegularsError, match="'clv' has no challenger; run 'regulars train clv'"):
        promote(house, "clv", SILENT)


def test_rolling_back_goes_one_champion_back_each_time_until_there_is_none(house: House) -> None:
    for _ in range(3):
        register(house, "churn", "champion")

    for back_to, taken_back in ((2, 3), (1, 2)):
        now, before = rollback(house, "churn")
        assert (now.number, before.number) == (back_to, taken_back)
        assert champion(house, "churn") == back_to
    with pytest.raises(RegularsError, match="'churn@1' has no champion before it") as refused:
        rollback(house, "churn")
    assert "\n" not in str(refused.value)
    assert champion(house, "churn") == 1


def test_after_a_rollback_the_next_champion_goes_back_to_the_one_that_was_brought_back(
    house: House,
) -> None:
    for _ in range(2):
        register(house, "clv", "champion")
    rollback(house, "clv")
    register(house, "clv", "champion")

    assert rollback(house, "clv")[0].number == 1


def test_a_champion_that_could_not_serve_today_is_not_brought_back(house: House) -> None:
    register(house, "churn", "champion", trained_on="3f2a")
    register(house, "churn", "champion")

    with pytest.raises(RegularsError, match=r"'churn@1'.*features 3f2a, today's are"):
        rollback(house, "churn")
    assert champion(house, "churn") == 2


def test_without_a_champion_there_is_nothing_to_roll_back(house: House) -> None:
    with pytest.raises(RegularsError, match="'clv' has no champion; run 'regulars train clv'"):
        rollback(house, "clv")


def test_a_model_that_does_not_exist_is_named_with_those_that_do(house: House) -> None:
    for act in (lambda: promote(house, "joy", SILENT), lambda: rollback(house, "joy")):
        with pytest.raises(RegularsError, match="'joy' does not exist; choose one of response, "):
            act()


# --------------------------------------------------------------------------------------- shadows


def test_a_shadow_is_the_challenger_or_the_version_named_until_it_is_ended_or_crowned(
    house: House,
) -> None:
    register(house, "response", "champion")
    for _ in range(2):
        register(house, "response", "challenger")

    assert set_shadow(house, "response").number == 3
    assert set_shadow(house, "response@2").number == 2
    shadow = house.life.named("response", "shadow")
    assert shadow is not None
    assert (shadow.number, champion(house, "response")) == (2, 1)
    assert end_shadow(house, "response").number == 2
    assert house.life.named("response", "shadow") is None
    with pytest.raises(RegularsError, match="'response' has no shadow"):
        end_shadow(house, "response")

    three = set_shadow(house, "response@3")
    house.life.crown(three, "promoted")
    # Nobody shadows herself.
    assert house.life.named("response", "shadow") is None
    with pytest.raises(RegularsError, match="'response@3' has no champion beside it to shadow"):
        set_shadow(house, "response@3")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("churn", "'churn' ranks no offers at the till"),
        ("joy@1", "'joy' does not exist"),
        ("response@9", "'response@9' is not registered"),
        ("response@x", "'response@x' is not registered"),
        ("uplift", "'uplift' has no challenger"),
    ],
)
def test_what_can_be_no_shadow_is_named_with_the_reason(house: House, name: str, told: str) -> None:
    register(house, "response", "champion")
    with pytest.raises(RegularsError, match=told):
        set_shadow(house, name)

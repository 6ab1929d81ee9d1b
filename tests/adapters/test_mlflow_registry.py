"""Against a real MLflow: a SQLite file and a folder of artifacts."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from adapters.mlflow_cards import MlflowCards
from adapters.mlflow_life import MlflowLife
from adapters.mlflow_registry import EXPERIMENT, MlflowRegistry
from foundation.errors import StoreUnavailable
from foundation.model_life import Way
from recommender.exposures import TrainingFrame
from recommender.registry import RESPONSE
from recommender.response import ResponseReport, train_response
from recommender.response_model import TRIALS, Kind

NAMES = ("recency_days", "spend_30d", "offer_campaign_kind=Type A", "context_hour")
DIGEST = "0123456789abcdef"
KINDS: tuple[Kind, ...] = ("logistic", "lightgbm")


def trained(seed: int = 1) -> tuple[ResponseReport, np.ndarray]:
    draw = np.random.default_rng(seed)
    n = 900
    matrix = draw.normal(size=(n, len(NAMES)))
    matrix[:, 3] = np.nan
    matrix[draw.random(n) < 0.1, 1] = np.nan
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = pd.Series(start + pd.to_timedelta(np.sort(draw.integers(0, 100, n)), unit="D"))
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{i}" for i in range(n)],
            "offer_id": "o",
            "at": at,
            "ends": at + timedelta(days=5),
            "outcome": (draw.random(n) < expit(1.5 * matrix[:, 0])).astype(int),
            "propensity": np.nan,
            "source": "history",
            "bought_before": True,
        }
    )
    frame = TrainingFrame(rows, matrix, NAMES, 4, start + timedelta(days=200), 2)
    return train_response(frame, "91bc", seed=7), matrix


@pytest.fixture(scope="module")
def report() -> ResponseReport:
    return trained()[0]


class Place:
    """A registry in a folder of its own, and where it was made from."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.artifacts = folder / "artifacts"
        self.registry = MlflowRegistry(self.uri, self.artifacts)
        self.client = mlflow.MlflowClient(self.uri, self.uri)

    def run(self, version: int) -> mlflow.entities.Run:
        found = self.client.get_model_version(RESPONSE, str(version))
        return self.client.get_run(str(found.run_id))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working folder, from which all of this file runs."""
    cwd = tmp_path_factory.mktemp("cwd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        yield cwd


@pytest.fixture(scope="module")
def empty(elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database, migrated and empty; migrating takes seconds, copying nothing."""
    folder = tmp_path_factory.mktemp("empty-mlflow")
    assert Place(folder).registry.described("champion") is None
    return (folder / "mlflow.db").read_bytes()


def opened(empty: bytes, folder: Path) -> Place:
    (folder / "mlflow.db").write_bytes(empty)
    return Place(folder)


@pytest.fixture
def place(empty: bytes, tmp_path: Path) -> Place:
    return opened(empty, tmp_path)


@pytest.fixture(scope="module")
def registered(
    empty: bytes, tmp_path_factory: pytest.TempPathFactory, report: ResponseReport
) -> tuple[Place, dict[str, int]]:
    """A registry with both models of a report; the logistic one is the champion."""
    place = opened(empty, tmp_path_factory.mktemp("mlflow"))
    versions = place.registry.register(report, DIGEST)
    place.registry.point("champion", versions["logistic"])
    return place, versions


# -------------------------------------------------------------------------------- what is logged


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_tells_settings_figures_with_intervals_and_where_they_come_from(
    registered: tuple[Place, dict[str, int]], report: ResponseReport, kind: str
) -> None:
    place, versions = registered
    run = place.run(versions[kind])

    settings = {name: str(value) for name, value in report.models[kind].settings.items()}
    line = report.models[kind].line
    assert run.data.params == settings | {
        "test_from": report.test_from.isoformat(),
        "calibration_intercept": str(line.intercept),
        "calibration_slope": str(line.slope),
        "search": f"{TRIALS[kind]} trials (TPE) on 3 forward folds",
    }
    area = report.comparison.auc[kind]
    metrics = {
        "auc": area.value,
        "auc_low": area.low,
        "auc_high": area.high,
        # What the service holds a new model to.
        "mean_score": report.held_out[kind].mean_score,
        "log_loss": report.held_out[kind].log_loss,
        "calibration_error": report.held_out[kind].calibration_error,
        "rows_trained": report.rows_trained,
        "rows_held_out": report.rows_held_out,
        "rows_straddling": report.rows_straddling,
        "rows_censored": 4,
        "rows_unanswerable": 2,
        "rows_recorded": 0,
        "rows_outdated": 0,
    }
    judged = report.held_out[kind].calibration
    for name in ("slope", "intercept", "observed_expected", "brier", "brier_skill"):
        for bound in ("", "_low", "_high"):
            metrics[f"calibration_{name}{bound}"] = judged[name + bound]
    if kind == "lightgbm":
        gain = report.comparison.gain[kind]
        metrics |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    assert run.data.metrics == pytest.approx(metrics)
    tags = {name: run.data.tags[name] for name in ("kind", "feature_hash", "data_digest")}
    assert tags == {"kind": kind, "feature_hash": "91bc", "data_digest": DIGEST}
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_names_the_data_it_was_trained_on(
    registered: tuple[Place, dict[str, int]], kind: str
) -> None:
    place, versions = registered

    (used,) = place.run(versions[kind]).inputs.dataset_inputs

    assert (used.dataset.name, used.dataset.digest) == ("exposures", DIGEST)
    schema = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in schema] == list(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_has_pictures_importance_and_the_verdict(
    registered: tuple[Place, dict[str, int]], report: ResponseReport, tmp_path: Path, kind: str
) -> None:
    place, versions = registered
    run = place.run(versions[kind])
    folder = Path(place.client.download_artifacts(run.info.run_id, "", str(tmp_path)))

    for picture in ("calibration.png", "lift.png"):
        # Source: the first bytes of every PNG file, ISO/IEC 15948.
        assert (folder / picture).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert (folder / picture).stat().st_size > 5_000
    importance = json.loads((folder / "feature_importance.json").read_text())
    assert list(importance.items()) == report.models[kind].importance()
    assert next(iter(importance)) == "recency_days"
    assert (folder / "verdict.txt").read_text() == report.verdict()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_has_a_signature_requirements_and_its_facts(
    registered: tuple[Place, dict[str, int]], report: ResponseReport, kind: str
) -> None:
    place, versions = registered
    mlflow.set_tracking_uri(place.uri)

    info = mlflow.models.get_model_info(f"models:/{RESPONSE}/{versions[kind]}")

    assert [column.name for column in info.signature.inputs] == list(NAMES)
    assert {str(column.type) for column in info.signature.inputs} == {"DataType.double"}
    assert info.metadata["feature_hash"] == "91bc"
    assert info.metadata["names"] == list(NAMES)
    assert info.metadata["settings"] == report.models[kind].settings
    with Path(mlflow.artifacts.download_artifacts(info.model_uri), "requirements.txt").open() as f:
        named = {line.partition("==")[0].strip() for line in f}
    assert named >= {"lightgbm", "scikit-learn", "numpy"}


def test_everything_lies_in_the_folder_that_was_given_and_nothing_in_the_working_folder(
    registered: tuple[Place, dict[str, int]], elsewhere: Path
) -> None:
    place, _ = registered
    assert place.registry.load("champion") is not None
    # MLflow's own default would be ./mlruns.
    assert list(elsewhere.iterdir()) == []
    experiment = place.client.get_experiment_by_name(EXPERIMENT)

    assert experiment is not None
    assert experiment.artifact_location == place.artifacts.as_uri()
    assert sum(path.name == "calibration.png" for path in place.artifacts.rglob("*")) == 2


# ------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_predicts_the_same_to_the_last_bit(
    registered: tuple[Place, dict[str, int]], report: ResponseReport, kind: str
) -> None:
    place, versions = registered
    place.registry.point("challenger", versions[kind])
    # Another process knows only where MLflow is.
    loaded = MlflowRegistry(place.uri, place.artifacts).load("challenger")
    original = report.models[kind]

    assert loaded is not None
    assert (loaded.kind, loaded.names, loaded.feature_hash, loaded.settings) == (
        kind,
        NAMES,
        "91bc",
        original.settings,
    )
    matrix = trained()[1]
    unknown = np.full((1, len(NAMES)), np.nan)
    for rows in (matrix, unknown):
        np.testing.assert_array_equal(loaded.predict(rows), original.predict(rows))
    assert loaded.importance() == original.importance()


def test_an_alias_moves_from_version_to_version(
    registered: tuple[Place, dict[str, int]], report: ResponseReport
) -> None:
    place, versions = registered

    for kind in KINDS:
        place.registry.point("challenger", versions[kind])
        found = place.registry.described("challenger")
        assert found is not None
        assert (found.version, found.kind, found.feature_hash) == (versions[kind], kind, "91bc")
        assert found.metrics["auc"] == pytest.approx(report.comparison.auc[kind].value)
    # The other alias stays where it was.
    champion = place.registry.described("champion")
    assert champion is not None
    assert champion.version == versions["logistic"]


def test_before_the_first_model_there_is_none_under_any_alias(place: Place) -> None:
    for alias in ("champion", "challenger"):
        assert place.registry.described(alias) is None
        assert place.registry.load(alias) is None


def test_a_second_report_gets_versions_of_its_own(
    registered: tuple[Place, dict[str, int]], report: ResponseReport
) -> None:
    place, versions = registered

    again = place.registry.register(report, "another")

    assert set(again.values()).isdisjoint(versions.values())
    assert place.run(again["logistic"]).data.tags["data_digest"] == "another"
    assert len(place.client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")) == 1


# ----------------------------------------------------------------------------------- a model's life


@pytest.fixture
def lived(empty: bytes, tmp_path: Path, report: ResponseReport) -> tuple[Place, MlflowLife]:
    """Three versions of one model, of which none is the champion."""
    place = opened(empty, tmp_path)
    only = replace(report, models={"logistic": report.models["logistic"]})
    for _ in range(3):
        place.registry.register(only, DIGEST)
    return place, MlflowLife(place.uri, place.artifacts)


def crown(life: MlflowLife, number: int, way: Way, *overridden: str) -> None:
    version = life.version(RESPONSE, number)
    assert version is not None
    life.crown(version, way, overridden)


def test_the_log_tells_who_was_champion_when_and_what_was_overridden(
    lived: tuple[Place, MlflowLife],
) -> None:
    place, life = lived
    before = datetime.now(UTC)

    place.registry.crown(1)
    crown(life, 2, "promoted")
    crown(life, 3, "forced", "ranking: AUC .7")
    crown(life, 2, "rolled back")

    reigns = MlflowLife(place.uri, place.artifacts).reigns(RESPONSE)
    assert [(r.version, r.way, r.overridden) for r in reigns] == [
        (1, "trained", ()),
        (2, "promoted", ()),
        (3, "forced", ("ranking: AUC .7",)),
        (2, "rolled back", ()),
    ]
    moments = [r.since for r in reigns]
    assert before <= moments[0] < moments[1] < moments[2] < moments[3] <= datetime.now(UTC)


def test_the_alias_previous_names_whom_a_rollback_would_bring_back(
    lived: tuple[Place, MlflowLife],
) -> None:
    _, life = lived
    found: list[int | None] = []
    for number, way in ((1, "trained"), (2, "promoted"), (3, "promoted"), (2, "rolled back")):
        crown(life, number, way)  # pyright: ignore[reportArgumentType]
        previous = life.named(RESPONSE, "previous")
        found.append(None if previous is None else previous.number)
    assert found == [None, 1, 2, 1]
    crown(life, 1, "rolled back")
    assert life.named(RESPONSE, "previous") is None


def test_a_challenger_that_was_crowned_or_passed_by_is_one_no_longer_but_a_newer_one_stays(
    lived: tuple[Place, MlflowLife],
) -> None:
    place, life = lived
    for crowned, stays in ((1, True), (2, False), (3, False)):
        place.registry.point("challenger", 2)
        crown(life, crowned, "promoted")
        assert (life.named(RESPONSE, "challenger") is not None) is stays


def test_a_champion_that_another_hand_made_is_in_the_log(lived: tuple[Place, MlflowLife]) -> None:
    place, life = lived
    crown(life, 1, "trained")
    place.client.set_registered_model_alias(RESPONSE, "champion", "3")

    assert [r.version for r in life.reigns(RESPONSE)] == [1, 3]
    crown(life, 2, "promoted")
    assert [r.version for r in life.reigns(RESPONSE)] == [1, 3, 2]


def test_versions_tell_aliases_figures_and_the_newest_first(
    lived: tuple[Place, MlflowLife], report: ResponseReport
) -> None:
    place, life = lived
    crown(life, 1, "trained")
    crown(life, 2, "promoted")
    place.registry.point("shadow", 3)

    told = life.versions(RESPONSE)

    assert [(v.name, v.aliases) for v in told] == [
        ("response@3", ("shadow",)),
        ("response@2", ("champion",)),
        ("response@1", ("previous",)),
    ]
    assert told[0].metrics["auc"] == pytest.approx(report.comparison.auc["logistic"].value)
    assert life.versions("nobody") == []


def test_what_a_model_was_trained_on_comes_back_with_it(
    registered: tuple[Place, dict[str, int]], report: ResponseReport
) -> None:
    place, versions = registered
    place.registry.point("challenger", versions["lightgbm"])

    assert place.registry.reference("challenger") == report.references["lightgbm"]
    assert place.registry.reference("shadow") is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_mlflow_itself_predicts_becomes_what_is_served_by_the_cards_line(
    registered: tuple[Place, dict[str, int]], report: ResponseReport, kind: Kind
) -> None:
    place, versions = registered
    life = MlflowLife(place.uri, place.artifacts)
    version = life.version(RESPONSE, versions[kind])
    assert version is not None
    card = life.card(version)
    assert card is not None
    assert DIGEST in card
    told = re.search(r"expit\((\S+) \+ (\S+) logit", card)
    assert told is not None
    intercept, slope = (float(word) for word in told.groups())

    mlflow.set_tracking_uri(place.uri)
    mlflow.set_registry_uri(place.uri)
    pyfunc = mlflow.pyfunc.load_model(f"models:/{RESPONSE}/{version.number}")
    matrix = trained()[1]
    raw = np.asarray(pyfunc.predict(pd.DataFrame(matrix, columns=list(NAMES))))
    raw = raw[:, 1] if raw.ndim == 2 else raw
    served = report.models[kind].predict(matrix)
    # The card tells four digits.
    np.testing.assert_allclose(expit(intercept + slope * logit(raw)), served, atol=1e-3)


@pytest.mark.parametrize("door", [MlflowRegistry, lambda uri, _: MlflowCards(uri)])
def test_a_server_that_is_away_is_said_to_be_away(door: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        # Bound and not listening: whoever connects is refused.
        uri = f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"
        store = door(uri, tmp_path)
        look = store.described if isinstance(store, MlflowRegistry) else store.card

        with pytest.raises(StoreUnavailable, match="REGULARS_MLFLOW_TRACKING_URI") as refused:
            look("champion")

    assert "secret" not in str(refused.value)

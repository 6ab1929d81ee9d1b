"""Against a real MLflow: a SQLite file and a folder of artifacts."""

import json
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
from scipy.special import expit

from adapters.mlflow_cards import MlflowCards
from adapters.mlflow_registry import EXPERIMENT, MlflowRegistry
from foundation.errors import RegularsError, StoreUnavailable
from foundation.scores import Interval
from recommender.exposures import TrainingFrame
from recommender.registry import RESPONSE
from recommender.response import ResponseReport, train_response
from recommender.response_model import TRIALS
from regulars.jobs.train import MARGIN, promote

NAMES = ("recency_days", "spend_30d", "offer_campaign_kind=Type A", "context_hour")
DIGEST = "0123456789abcdef"
KINDS = ("logistic", "lightgbm")


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


# ------------------------------------------------------------------------------- the promotion gate


def figured(report: ResponseReport, area: float) -> ResponseReport:
    """The report as it would be with another area on the held-out rows."""
    known = dict.fromkeys(report.comparison.auc, Interval(area, area - 0.05, area + 0.05))
    return replace(report, comparison=replace(report.comparison, auc=known))


@pytest.fixture(scope="module")
def gate(empty: bytes, tmp_path_factory: pytest.TempPathFactory, report: ResponseReport) -> Place:
    """A champion of area .8, and challengers as good, just as bad as allowed, and worse."""
    place = opened(empty, tmp_path_factory.mktemp("gate"))
    only = replace(report, models={"logistic": report.models["logistic"]})
    for area in (0.8, 0.8 - MARGIN + 1e-6, 0.8 - MARGIN - 1e-6, float("nan"), 0.85):
        place.registry.register(figured(only, area), DIGEST)
    return place


CHAMPION, ALLOWED, WORSE, UNKNOWN, BETTER = 1, 2, 3, 4, 5


@pytest.mark.parametrize("challenger", [ALLOWED, BETTER])
def test_a_challenger_as_good_within_the_margin_becomes_the_champion(
    gate: Place, challenger: int
) -> None:
    gate.registry.point("champion", CHAMPION)
    gate.registry.point("challenger", challenger)

    promoted = promote(gate.registry)

    champion = gate.registry.described("champion")
    assert champion is not None
    assert promoted.version == champion.version == challenger


@pytest.mark.parametrize("challenger", [WORSE, UNKNOWN])
def test_a_worse_challenger_is_refused_in_one_clear_line_and_the_champion_stays(
    gate: Place, challenger: int
) -> None:
    gate.registry.point("champion", CHAMPION)
    gate.registry.point("challenger", challenger)

    with pytest.raises(RegularsError) as refused:
        promote(gate.registry)

    line = str(refused.value)
    area = "0.790" if challenger == WORSE else "nan"
    assert line.startswith(f"model 'response@{challenger}' has a held-out AUC of {area}, the champ")
    assert "0.800" in line
    assert "promote with --force" in line
    assert "\n" not in line
    champion = gate.registry.described("champion")
    assert champion is not None
    assert champion.version == CHAMPION


def test_force_promotes_also_a_worse_one(gate: Place) -> None:
    gate.registry.point("champion", CHAMPION)
    gate.registry.point("challenger", WORSE)

    promoted = promote(gate.registry, force=True)

    assert promoted.version == WORSE


def test_without_a_challenger_there_is_nothing_to_promote(place: Place) -> None:
    for force in (False, True):
        with pytest.raises(RegularsError, match="no challenger; run 'regulars train response'"):
            promote(place.registry, force=force)


def test_without_a_champion_the_challenger_needs_to_beat_nobody(
    place: Place, report: ResponseReport
) -> None:
    only = replace(report, models={"logistic": report.models["logistic"]})
    versions = place.registry.register(figured(only, 0.3), DIGEST)
    place.registry.point("challenger", versions["logistic"])

    assert promote(place.registry).version == versions["logistic"]


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

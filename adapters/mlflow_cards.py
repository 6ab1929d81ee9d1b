"""Model cards out of MLflow: what adapters.mlflow_registry wrote, read back for people."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts

from adapters.mlflow_answering import answering
from foundation.model_life import Alias
from foundation.scores import Interval
from recommender.model_card import ModelCard, Scored
from recommender.registry import RESPONSE

# What two models share when they were trained together.
SAME_TRAINING = ("data_digest", "feature_hash")


class MlflowCards:
    """See recommender.model_card.ModelCards."""

    @answering()
    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = mlflow.MlflowClient(uri, uri)
        # A version's card never changes, and reading its pictures may cross a network.
        self._known: dict[int, ModelCard] = {}

    @answering()
    def card(self, alias: Alias) -> ModelCard | None:
        try:
            found = self._client.get_model_version_by_alias(RESPONSE, alias)
        except mlflow.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        version = int(found.version)
        if version not in self._known:
            self._known[version] = self._read(version, str(found.run_id))
        return self._known[version]

    def _read(self, version: int, run_id: str) -> ModelCard:
        run = self._client.get_run(run_id)
        weights = json.loads(self._artifact(run_id, "feature_importance.json"))
        return ModelCard(
            name=RESPONSE,
            scored=_scored(version, run),
            rivals=tuple(self._rivals(version, run)),
            trained_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            held_out_from=datetime.fromisoformat(run.data.params["test_from"]),
            rows_trained=int(run.data.metrics["rows_trained"]),
            rows_held_out=int(run.data.metrics["rows_held_out"]),
            verdict=self._artifact(run_id, "verdict.txt").decode(),
            importance=tuple(sorted(weights.items(), key=lambda pair: -pair[1])),
            calibration=self._artifact(run_id, "calibration.png"),
        )

    def _rivals(self, version: int, run: Any) -> list[Scored]:
        """Return the newest model of each other kind that was trained beside this one."""
        kinds = {run.data.tags["kind"]}
        found: list[Scored] = []
        versions = self._client.search_model_versions(f"name = '{RESPONSE}'")
        # Trained together they have neighbouring numbers.
        for other in sorted(versions, key=lambda v: abs(int(v.version) - version)):
            theirs = self._client.get_run(str(other.run_id))
            same = all(theirs.data.tags.get(t) == run.data.tags.get(t) for t in SAME_TRAINING)
            same = same and theirs.data.params.get("test_from") == run.data.params["test_from"]
            if same and theirs.data.tags["kind"] not in kinds:
                kinds.add(theirs.data.tags["kind"])
                found.append(_scored(int(other.version), theirs))
        return found

    def _artifact(self, run_id: str, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="regulars-card-") as folder:
            place = download_artifacts(
                run_id=run_id, artifact_path=path, dst_path=folder, tracking_uri=self._uri
            )
            return Path(place).read_bytes()


def _scored(version: int, run: Any) -> Scored:
    figures = run.data.metrics
    return Scored(
        version=version,
        kind=run.data.tags["kind"],
        auc=Interval(figures["auc"], figures["auc_low"], figures["auc_high"]),
        calibration_error=figures["calibration_error"],
    )

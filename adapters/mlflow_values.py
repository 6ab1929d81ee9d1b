"""MLflow as the registry of the value model; its text is an artifact of the run that trained it."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import logging
import tempfile

import mlflow
from mlflow.artifacts import download_artifacts

from segmentation.value_model import ValueModel, ValueReport, from_text, to_text
from segmentation.value_registry import CLV, RegisteredValueModel

EXPERIMENT = "customer value"
MODEL_FILE = "model/value_model.json"
ALIAS = "champion"


class MlflowValues:
    """See segmentation.value_registry.ValueRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        # Migrations of the first start would fill the screen with a line each.
        for chatty in ("alembic", "mlflow.store", "mlflow.utils", "mlflow.tracking"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        self._uri = uri
        self._artifacts = artifacts
        self._client = mlflow.MlflowClient(uri, uri)

    def register(self, report: ValueReport, data_digest: str) -> RegisteredValueModel:
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        kind = report.model.kind
        with mlflow.start_run(experiment_id=self._experiment(), run_name=kind) as run:
            mlflow.set_tags({"kind": kind, "data_digest": data_digest})
            mlflow.log_params(
                {"test_from_day": report.test_from, "weeks_held_out": report.weeks_held_out}
            )
            metrics = _metrics(report)
            mlflow.log_metrics(metrics)
            mlflow.log_dict(
                {"scores": report.choice.scores, "refused": report.refused}, "inner_choice.json"
            )
            mlflow.log_dict(
                {name: asdict(error) for name, error in report.errors.items()}, "errors.json"
            )
            mlflow.log_text(report.verdict(), "verdict.txt")
            mlflow.log_text(to_text(report.model), MODEL_FILE)
            source = mlflow.get_artifact_uri("model")
        try:
            self._client.create_registered_model(CLV)
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.create_model_version(CLV, source, run_id=run.info.run_id)
        self._client.set_registered_model_alias(CLV, ALIAS, str(made.version))
        return RegisteredValueModel(int(made.version), kind, metrics)

    def champion(self) -> RegisteredValueModel | None:
        try:
            found = self._client.get_model_version_by_alias(CLV, ALIAS)
        except mlflow.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        run = self._client.get_run(str(found.run_id))
        return RegisteredValueModel(
            int(found.version), run.data.tags["kind"], dict(run.data.metrics)
        )

    def load(self, champion: RegisteredValueModel) -> ValueModel:
        found: Any = self._client.get_model_version(CLV, str(champion.version))
        with tempfile.TemporaryDirectory(prefix="regulars-clv-") as folder:
            place = download_artifacts(
                run_id=found.run_id,
                artifact_path=MODEL_FILE,
                dst_path=folder,
                tracking_uri=self._uri,
            )
            return from_text(Path(place).read_text())

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        # Without an explicit place MLflow would make ./mlruns wherever the job was started.
        place = self._artifacts.resolve().as_uri()
        return self._client.create_experiment(EXPERIMENT, artifact_location=place)


def _metrics(report: ValueReport) -> dict[str, float]:
    figures = {"coverage_80": report.coverage}
    judged = {
        "": report.errors[report.model.kind],
        "money_": report.money,
        "baseline_": report.baseline,
    }
    for prefix, error in judged.items():
        figures |= {f"{prefix}mae": error.mae, f"{prefix}rmse": error.rmse}
        figures[f"{prefix}bias"] = error.bias
    found: dict[str, float] = {}
    for name, figure in figures.items():
        found |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return found

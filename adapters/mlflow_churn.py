"""MLflow as the registry of the churn model."""

import os
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import logging

import mlflow
import mlflow.lightgbm as lightgbm_flavor
import mlflow.models
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from segmentation.calibration import RecalibrationLine
from segmentation.churn import INPUTS, ChurnModel
from segmentation.churn_report import ChurnReport
from segmentation.registry import CHURN, LiveChurn

EXPERIMENT = "churn"


class MlflowChurn:
    """See segmentation.registry.ChurnRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        # Migrations of the first start would fill the screen with a line each.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        for chatty in ("mlflow.store", "mlflow.utils", "mlflow.tracking"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        self._uri = uri
        self._artifacts = artifacts
        self._client = mlflow.MlflowClient(uri, uri)

    def register(self, report: ChurnReport, feature_hash: str, data_digest: str) -> int:
        self._use()
        model, line = report.model, report.pooled.line
        facts = {
            "days": model.days,
            "active": model.active,
            "rounds": model.rounds,
            "feature_hash": feature_hash,
            "line": [line.intercept, line.slope, line.covariance.tolist()],
        }
        with mlflow.start_run(experiment_id=self._experiment(), run_name="lightgbm"):
            mlflow.set_tags(
                {"kind": "lightgbm", "feature_hash": feature_hash, "data_digest": data_digest}
            )
            mlflow.log_params({"days": model.days, "active": model.active, "rounds": model.rounds})
            mlflow.log_metrics({**report.pooled.figures(), "rows_trained": report.rows_trained})
            by_origin = {at.isoformat(): c.figures() for at, c in report.by_origin.items()}
            mlflow.log_dict(by_origin, "by_origin.json")
            mlflow.log_text(report.verdict(), "verdict.txt")
            logged = lightgbm_flavor.log_model(
                model.trees,
                name="model",
                signature=ModelSignature(
                    inputs=Schema([ColSpec(DataType.double, name) for name in INPUTS]),
                    outputs=Schema([ColSpec(DataType.double)]),
                ),
                # Naming the requirements saves MLflow's slow guess at them.
                pip_requirements=[f"{n}=={installed(n)}" for n in ("lightgbm", "numpy")],
                metadata=facts,
            )
        return self._registered(logged)

    def crown(self, version: int) -> None:
        self._client.set_registered_model_alias(CHURN, "champion", str(version))

    def champion(self) -> LiveChurn | None:
        found = self._version()
        if found is None:
            return None
        self._use()
        uri = f"models:/{CHURN}/{found.version}"
        facts: dict[str, Any] = mlflow.models.get_model_info(uri).metadata or {}
        trees: Any = lightgbm_flavor.load_model(uri)
        intercept, slope, covariance = facts["line"]
        return LiveChurn(
            version=int(found.version),
            model=ChurnModel(trees, facts["days"], facts["active"], facts["rounds"]),
            feature_hash=facts["feature_hash"],
            line=RecalibrationLine(intercept, slope, np.array(covariance)),
        )

    def _use(self) -> None:
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        # Without an explicit place MLflow would make ./mlruns wherever the job was started.
        place = self._artifacts.resolve().as_uri()
        return self._client.create_experiment(EXPERIMENT, artifact_location=place)

    def _version(self) -> Any:
        try:
            return self._client.get_model_version_by_alias(CHURN, "champion")
        except mlflow.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _registered(self, logged: Any) -> int:
        """Register a logged model; MLflow's own one-call form writes to the screen."""
        try:
            self._client.create_registered_model(CHURN)
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.create_model_version(
            CHURN, logged.model_uri, run_id=logged.run_id, model_id=logged.model_id
        )
        return int(made.version)

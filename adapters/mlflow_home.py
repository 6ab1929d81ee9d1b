"""What every model's registry in MLflow does alike: experiments, versions, aliases."""

import logging
from pathlib import Path
from typing import Any

import mlflow

from adapters.mlflow_answering import answering


class MlflowHome:
    """A tracking server and the folder of its artifacts."""

    @answering()
    def __init__(self, uri: str, artifacts: Path) -> None:
        # Migrations of the first start would fill the screen with a line each.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        for chatty in ("mlflow.store", "mlflow.utils", "mlflow.tracking"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        self.uri = uri
        self._artifacts = artifacts
        self.client = mlflow.MlflowClient(uri, uri)

    def use(self) -> None:
        """Point MLflow's own functions here."""
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)

    def experiment(self, name: str) -> str:
        """Return an experiment's id; makes it where there is none."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # Without an explicit place MLflow would make ./mlruns wherever the job was started.
        place = self._artifacts.resolve().as_uri()
        return self.client.create_experiment(name, artifact_location=place)

    def version(self, model: str, alias: str) -> Any:
        """Return the registered version that has an alias, None when none has."""
        try:
            return self.client.get_model_version_by_alias(model, alias)
        except mlflow.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def point(self, model: str, alias: str, version: int) -> None:
        """Give a version an alias; whoever had it loses it."""
        self.client.set_registered_model_alias(model, alias, str(version))

    def register(self, model: str, source: str, run_id: str, model_id: str | None = None) -> int:
        """Register a logged model as the next version; MLflow's own call writes to the screen."""
        try:
            self.client.create_registered_model(model)
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self.client.create_model_version(model, source, run_id=run_id, model_id=model_id)
        return int(made.version)

"""What every model's registry in MLflow does alike: experiments, versions, aliases."""

import json
import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts

from adapters.mlflow_answering import answering
from foundation.model_life import Alias, Reign, Way, line_of_champions

# A tag of the registered model for each reign, numbered: a tag alone would be too short for all.
_REIGN = "reign_"


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

    def version(self, model: str, alias: Alias) -> Any:
        """Return the registered version that has an alias, None when none has."""
        try:
            return self.client.get_model_version_by_alias(model, alias)
        except mlflow.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def artifact(self, run_id: str, name: str) -> str | None:
        """Return a run's text file, None where it has none of that name."""
        if not any(file.path == name for file in self.client.list_artifacts(run_id)):
            return None
        with tempfile.TemporaryDirectory(prefix="regulars-mlflow-") as folder:
            place = download_artifacts(
                run_id=run_id, artifact_path=name, dst_path=folder, tracking_uri=self.uri
            )
            return Path(place).read_text(encoding="utf-8")

    def point(self, model: str, alias: Alias, version: int) -> None:
        """Give a version an alias; whoever had it loses it."""
        self.client.set_registered_model_alias(model, alias, str(version))

    def unpoint(self, model: str, alias: Alias) -> None:
        """Take an alias away; nothing where nobody has it."""
        self.client.delete_registered_model_alias(model, alias)

    def crown(self, model: str, version: int, way: Way, overridden: Sequence[str] = ()) -> None:
        """Make a version the champion; see foundation.model_life.ModelLife."""
        reigns = self.reigns(model)
        # MLflow stamps runs and versions by its own clock, too.
        new = Reign(version, datetime.now(UTC), way, tuple(overridden))
        self.point(model, "champion", version)
        # From here on a crash leaves a champion without a log, which reigns() makes good.
        for place, reign in enumerate([*reigns, new]):
            told = {"version": reign.version, "since": reign.since.isoformat(), "way": reign.way}
            told |= {"overridden": list(reign.overridden)}
            self.client.set_registered_model_tag(model, f"{_REIGN}{place:05d}", json.dumps(told))
        line = line_of_champions([*reigns, new])
        if len(line) > 1:
            self.point(model, "previous", line[-2])
        else:
            self.unpoint(model, "previous")
        challenger = self.version(model, "challenger")
        if challenger is not None and int(challenger.version) <= version:
            self.unpoint(model, "challenger")
        shadow = self.version(model, "shadow")
        if shadow is not None and int(shadow.version) == version:
            self.unpoint(model, "shadow")

    def reigns(self, model: str) -> list[Reign]:
        """Return who was the champion from when on; see foundation.model_life.ModelLife."""
        champion = self.version(model, "champion")
        if champion is None:
            return []
        tags = dict(self.client.get_registered_model(model).tags)
        told = [json.loads(tags[name]) for name in sorted(tags) if name.startswith(_REIGN)]
        found = [
            Reign(
                t["version"], datetime.fromisoformat(t["since"]), t["way"], tuple(t["overridden"])
            )
            for t in told
        ]
        if not found or found[-1].version != int(champion.version):
            # Crowned by another hand, or before reigns were logged.
            moved = max(champion.last_updated_timestamp, champion.creation_timestamp)
            since = datetime.fromtimestamp(moved / 1000, UTC)
            found.append(Reign(int(champion.version), since, "promoted"))
        return found

    def register(self, model: str, source: str, run_id: str, model_id: str | None = None) -> int:
        """Register a logged model as the next version; MLflow's own call writes to the screen."""
        try:
            self.client.create_registered_model(model)
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self.client.create_model_version(model, source, run_id=run_id, model_id=model_id)
        return int(made.version)

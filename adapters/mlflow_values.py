"""MLflow as the registry of the value model; its text is an artifact of the run that trained it."""

import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts

from adapters.mlflow_answering import answering
from adapters.mlflow_home import MlflowHome
from adapters.mlflow_life import CARD
from foundation.errors import RegularsError
from foundation.model_life import FAULT
from segmentation.model_cards import value_card
from segmentation.value_model import ValueModel, ValueReport, from_text, to_text
from segmentation.value_registry import CLV, RegisteredValueModel

EXPERIMENT = "customer value"
MODEL_FILE = "model/value_model.json"


class MlflowValues:
    """See segmentation.value_registry.ValueRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._home = MlflowHome(uri, artifacts)

    @answering()
    def register(
        self, report: ValueReport, data_digest: str, trained_until: datetime
    ) -> RegisteredValueModel:
        self._home.use()
        kind = report.model.kind
        with mlflow.start_run(
            experiment_id=self._home.experiment(EXPERIMENT), run_name=kind
        ) as run:
            fault = report.verdict() if report.faults else ""
            mlflow.set_tags({"kind": kind, "data_digest": data_digest, FAULT: fault})
            mlflow.log_params(
                {
                    "test_from_day": report.test_from,
                    "weeks_held_out": report.weeks_held_out,
                    "trained_until": trained_until.isoformat(),
                }
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
            mlflow.log_text(value_card(report, data_digest), CARD)
            mlflow.log_text(to_text(report.model), MODEL_FILE)
            source = mlflow.get_artifact_uri("model")
        version = self._home.register(CLV, source, run.info.run_id)
        if report.faults:
            self._home.point(CLV, "challenger", version)
        else:
            self._home.crown(CLV, version, "trained")
        return RegisteredValueModel(version, kind, metrics, trained_until)

    @answering()
    def champion(self) -> RegisteredValueModel | None:
        found = self._home.version(CLV, "champion")
        if found is None:
            return None
        run = self._home.client.get_run(str(found.run_id))
        return RegisteredValueModel(
            int(found.version),
            run.data.tags["kind"],
            dict(run.data.metrics),
            datetime.fromisoformat(run.data.params["trained_until"]),
        )

    @answering()
    def load(self, champion: RegisteredValueModel) -> ValueModel:
        try:
            found: Any = self._home.client.get_model_version(CLV, str(champion.version))
            with tempfile.TemporaryDirectory(prefix="regulars-clv-") as folder:
                place = download_artifacts(
                    run_id=found.run_id,
                    artifact_path=MODEL_FILE,
                    dst_path=folder,
                    tracking_uri=self._home.uri,
                )
                return from_text(Path(place).read_text())
        except (OSError, KeyError, ValueError, mlflow.MlflowException) as error:
            raise RegularsError(
                f"model {champion.name!r} cannot be read ({type(error).__name__}: {error}); run "
                "'regulars train clv'"
            ) from error


def _metrics(report: ValueReport) -> dict[str, float]:
    found, money = report.judged, report.money.error
    figures = {"coverage_80": report.coverage}
    figures |= {f"{error}_gain": gain for error, gain in found.gains.items()}
    # The baseline is the plain forecast of the lowest RMSE, which must be beaten in it.
    judged = {"": found.ours, "baseline_": found.plain[found.rivals["rmse"]]}
    for prefix, error in (judged | ({"money_": money} if money else {})).items():
        figures |= {f"{prefix}mae": error.mae, f"{prefix}rmse": error.rmse}
        figures[f"{prefix}bias"] = error.bias
    told: dict[str, float] = {
        "weeks_held_out": report.weeks_held_out,
        "money_unjudged": report.money.unjudged,
    }
    held, groups = report.groups_held
    told |= {"groups_widened_by": report.model.widening}
    told |= {"groups_held": held / groups} if groups else {}
    for name, figure in figures.items():
        told |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return told

"""MLflow as the model registry: a SQLite file by default, any tracking URI by setting."""

from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import mlflow.data.pandas_dataset
import mlflow.lightgbm as lightgbm_flavor
import mlflow.models
import mlflow.sklearn as sklearn_flavor
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from adapters.mlflow_answering import answering
from adapters.mlflow_home import MlflowHome
from adapters.mlflow_life import CARD
from foundation.errors import RegularsError
from foundation.model_life import Alias
from recommender.pictures import calibration_picture, lift_picture
from recommender.reference import Reference, reference_of
from recommender.registry import MEAN_SCORE, RESPONSE, Registered
from recommender.response import ResponseReport
from recommender.response_card import response_card
from recommender.response_model import BASELINE, TRIALS, Kind, Line, ResponseModel
from recommender.tuning import FOLDS

EXPERIMENT = "offer response"
REFERENCE = "reference.json"


class MlflowRegistry:
    """See recommender.registry.ModelRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._home = MlflowHome(uri, artifacts)

    @answering()
    def register(self, report: ResponseReport, data_digest: str) -> dict[str, int]:
        self._home.use()
        experiment = self._home.experiment(EXPERIMENT)
        versions: dict[str, int] = {}
        for kind, model in report.models.items():
            with mlflow.start_run(experiment_id=experiment, run_name=kind):
                versions[kind] = self._log(report, kind, model, data_digest)
        return versions

    @answering()
    def point(self, alias: Alias, version: int) -> None:
        self._home.point(RESPONSE, alias, version)

    @answering()
    def crown(self, version: int) -> None:
        self._home.crown(RESPONSE, version, "trained")

    @answering()
    def described(self, alias: Alias) -> Registered | None:
        found = self._home.version(RESPONSE, alias)
        if found is None:
            return None
        run = self._home.client.get_run(str(found.run_id))
        return Registered(
            version=int(found.version),
            kind=run.data.tags["kind"],
            metrics=dict(run.data.metrics),
            feature_hash=run.data.tags["feature_hash"],
            test_from=datetime.fromisoformat(run.data.params["test_from"]),
        )

    @answering()
    def reference(self, alias: Alias) -> Reference | None:
        found = self._home.version(RESPONSE, alias)
        text = None if found is None else self._home.artifact(str(found.run_id), REFERENCE)
        return None if text is None else reference_of(text)

    @answering()
    def load(self, alias: Alias) -> ResponseModel | None:
        found = self._home.version(RESPONSE, alias)
        return None if found is None else self._loaded(int(found.version))

    @answering()
    def load_version(self, number: int) -> ResponseModel:
        try:
            return self._loaded(number)
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise RegularsError(
                f"model '{RESPONSE}@{number}' is not registered; 'regulars models' lists those "
                "that are"
            ) from error

    def _loaded(self, number: int) -> ResponseModel:
        self._home.use()
        uri = f"models:/{RESPONSE}/{number}"
        facts: dict[str, Any] = mlflow.models.get_model_info(uri).metadata or {}
        kind: Kind = facts["kind"]
        flavor = lightgbm_flavor if kind == "lightgbm" else sklearn_flavor
        return ResponseModel(
            kind=kind,
            estimator=flavor.load_model(uri),
            names=tuple(facts["names"]),
            feature_hash=facts["feature_hash"],
            settings=facts["settings"],
            line=Line(**facts["line"]),
        )

    def _log(
        self, report: ResponseReport, kind: Kind, model: ResponseModel, data_digest: str
    ) -> int:
        area, held_out = report.comparison.auc[kind], report.held_out[kind]
        mlflow.set_tags(
            {"kind": kind, "feature_hash": model.feature_hash, "data_digest": data_digest}
        )
        mlflow.log_params(
            {
                **model.settings,
                **{f"calibration_{name}": value for name, value in asdict(model.line).items()},
                "search": f"{TRIALS[kind]} trials (TPE) on {FOLDS} forward folds",
                "test_from": report.test_from.isoformat(),
            }
        )
        metrics = {
            "auc": area.value,
            "auc_low": area.low,
            "auc_high": area.high,
            MEAN_SCORE: held_out.mean_score,
            "log_loss": held_out.log_loss,
            "calibration_error": held_out.calibration_error,
            "rows_trained": report.rows_trained,
            "rows_held_out": report.rows_held_out,
            "rows_straddling": report.rows_straddling,
            "rows_censored": report.rows_censored,
            "rows_unanswerable": report.rows_unanswerable,
            "rows_recorded": report.recorded,
            "rows_outdated": report.outdated,
        }
        metrics |= {
            f"calibration_{name}": value
            for name, value in held_out.calibration.items()
            if name.startswith(("slope", "intercept", "observed_expected", "brier"))
        }
        if kind != BASELINE:
            gain = report.comparison.gain[kind]
            metrics |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        mlflow.log_metrics(metrics)
        mlflow.log_figure(calibration_picture(report.held_out), "calibration.png")
        mlflow.log_figure(lift_picture(report.held_out), "lift.png")
        mlflow.log_dict(dict(model.importance()), "feature_importance.json")
        mlflow.log_text(report.verdict(), "verdict.txt")
        mlflow.log_text(response_card(report, kind, data_digest), CARD)
        if kind in report.references:
            mlflow.log_text(report.references[kind].to_text(), REFERENCE)
        mlflow.log_dict({n: asdict(group) for n, group in report.groups.items()}, "cold.json")
        frame = pd.DataFrame(columns=list(model.names), dtype="float64")
        dataset = mlflow.data.pandas_dataset.from_pandas(
            frame, name="exposures", digest=data_digest
        )
        mlflow.log_input(dataset, context="training")
        facts = {
            "kind": kind,
            "names": list(model.names),
            "feature_hash": model.feature_hash,
            "settings": model.settings,
            "line": asdict(model.line),
        }
        shared: dict[str, Any] = {
            "name": "model",
            "signature": _signature(model),
            # Naming the requirements saves MLflow's slow guess at them.
            "pip_requirements": [
                f"{name}=={installed(name)}" for name in ("lightgbm", "scikit-learn", "numpy")
            ],
            "metadata": facts,
        }
        if kind == "lightgbm":
            logged = lightgbm_flavor.log_model(model.estimator, **shared)
        else:
            # Stored by skops, not pickle: loading it runs no code but these types.
            logged = sklearn_flavor.log_model(
                model.estimator,
                skops_trusted_types=["numpy.dtype"],
                pyfunc_predict_fn="predict_proba",
                **shared,
            )
        return self._home.register(
            RESPONSE, logged.model_uri, run_id=logged.run_id, model_id=logged.model_id
        )


def _signature(model: ResponseModel) -> ModelSignature:
    inputs = Schema([ColSpec(DataType.double, name) for name in model.names])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.double)]))

"""MLflow as the registry of the churn model."""

from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import mlflow.lightgbm as lightgbm_flavor
import mlflow.models
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from adapters.mlflow_answering import answering
from adapters.mlflow_home import MlflowHome
from adapters.mlflow_life import CARD
from foundation.calibration import RecalibrationLine
from foundation.errors import RegularsError
from foundation.model_life import FAULT
from segmentation.churn import INPUTS, ChurnModel
from segmentation.churn_report import ChurnReport
from segmentation.model_cards import churn_card
from segmentation.registry import CHURN, LiveChurn

EXPERIMENT = "churn"


class MlflowChurn:
    """See segmentation.registry.ChurnRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._home = MlflowHome(uri, artifacts)

    @answering()
    def register(
        self, report: ChurnReport, feature_hash: str, data_digest: str, trained_until: datetime
    ) -> int:
        self._home.use()
        model, line = report.model, report.pooled.line
        facts = {
            "days": model.days,
            "active": model.active,
            "rounds": model.rounds,
            "feature_hash": feature_hash,
            "trained_until": trained_until.isoformat(),
            "line": [line.intercept, line.slope, line.covariance.tolist()],
        }
        with mlflow.start_run(experiment_id=self._home.experiment(EXPERIMENT), run_name="lightgbm"):
            mlflow.set_tags(
                {
                    "kind": "lightgbm",
                    "feature_hash": feature_hash,
                    "data_digest": data_digest,
                    FAULT: report.fault or "",
                }
            )
            mlflow.log_params({"days": model.days, "active": model.active, "rounds": model.rounds})
            mlflow.log_metrics({**report.pooled.figures(), "rows_trained": report.rows_trained})
            by_origin = {at.isoformat(): c.figures() for at, c in report.by_origin.items()}
            mlflow.log_dict(by_origin, "by_origin.json")
            mlflow.log_text(report.verdict(), "verdict.txt")
            mlflow.log_text(churn_card(report, feature_hash, data_digest), CARD)
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
        return self._home.register(
            CHURN, logged.model_uri, run_id=logged.run_id, model_id=logged.model_id
        )

    @answering()
    def crown(self, version: int) -> None:
        self._home.crown(CHURN, version, "trained")

    @answering()
    def challenge(self, version: int) -> None:
        self._home.point(CHURN, "challenger", version)

    @answering()
    def champion(self) -> LiveChurn | None:
        found = self._home.version(CHURN, "champion")
        if found is None:
            return None
        self._home.use()
        uri, name = f"models:/{CHURN}/{found.version}", f"{CHURN}@{found.version}"
        try:
            facts: dict[str, Any] = mlflow.models.get_model_info(uri).metadata or {}
            trees: Any = lightgbm_flavor.load_model(uri)
            intercept, slope, covariance = facts["line"]
            trained_until = datetime.fromisoformat(facts["trained_until"])
        except (OSError, KeyError, ValueError, mlflow.MlflowException) as error:
            raise RegularsError(
                f"model {name!r} cannot be read ({type(error).__name__}: {error}); run 'regulars "
                "train churn'"
            ) from error
        if tuple(trees.feature_name()) != INPUTS:
            raise RegularsError(
                f"model {name!r} was trained on other inputs than this version makes; run "
                "'regulars train churn'"
            )
        return LiveChurn(
            version=int(found.version),
            model=ChurnModel(trees, facts["days"], facts["active"], facts["rounds"]),
            feature_hash=facts["feature_hash"],
            line=RecalibrationLine(intercept, slope, np.array(covariance)),
            trained_until=trained_until,
        )

"""MLflow as the registry of the uplift model; its text is an artifact of its run."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
from mlflow.artifacts import download_artifacts

from adapters.mlflow_answering import answering
from adapters.mlflow_home import MlflowHome
from adapters.mlflow_life import CARD
from foundation.errors import RegularsError
from foundation.model_life import FAULT
from foundation.scores import Interval
from recommender.offer_uplift import OfferUplift
from recommender.reference import Reference, reference_of
from recommender.uplift_card import uplift_card
from recommender.uplift_pictures import tenths_picture
from recommender.uplift_registry import TOLD_UNTIL, UPLIFT, UpliftReport

EXPERIMENT = "uplift"
REFERENCE = "reference.json"
MODEL_FILE = "model/uplift_model.json"
ALIAS = "champion"


class MlflowUplift:
    """See recommender.uplift_registry.UpliftRegistry."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._home = MlflowHome(uri, artifacts)

    @answering()
    def register(self, report: UpliftReport, data_digest: str) -> int:
        self._home.use()
        found, model = report.evaluation, report.model
        with mlflow.start_run(
            experiment_id=self._home.experiment(EXPERIMENT), run_name=model.model.best
        ) as run:
            mlflow.set_tags(
                {
                    "kind": model.model.best,
                    "feature_hash": model.feature_hash,
                    "data_digest": data_digest,
                    "chosen": found.choice.chosen,
                    FAULT: "" if report.pays else report.verdict(),
                }
            )
            mlflow.log_params(
                {
                    "days": model.days,
                    "offers": len(model.offers),
                    TOLD_UNTIL: report.told_until.isoformat(),
                }
            )
            mlflow.log_metrics(_metrics(report))
            mlflow.log_dict(
                {
                    "customers": report.customers,
                    "response_rates": report.response_rates,
                    "left_out": report.left_out,
                    "drawn_by": list(report.drawn_by),
                },
                "rows.json",
            )
            mlflow.log_dict(
                {name: asdict(figures) for name, figures in found.learners.items()},
                "learners.json",
            )
            mlflow.log_figure(tenths_picture(found.tenths, report.verdict()), "tenths.png")
            mlflow.log_text(report.verdict(), "verdict.txt")
            mlflow.log_text(uplift_card(report, data_digest), CARD)
            mlflow.log_text(report.reference.to_text(), REFERENCE)
            mlflow.log_text(model.to_text(), MODEL_FILE)
            source = mlflow.get_artifact_uri("model")
        return self._home.register(UPLIFT, source, run.info.run_id)

    @answering()
    def crown(self, version: int) -> None:
        self._home.crown(UPLIFT, version, "trained")

    @answering()
    def challenge(self, version: int) -> None:
        self._home.point(UPLIFT, "challenger", version)

    @answering()
    def champion_version(self) -> int | None:
        found = self._home.version(UPLIFT, ALIAS)
        return None if found is None else int(found.version)

    @answering()
    def reference(self, version: int) -> Reference | None:
        found: Any = self._home.client.get_model_version(UPLIFT, str(version))
        text = self._home.artifact(str(found.run_id), REFERENCE)
        return None if text is None else reference_of(text)

    @answering()
    def load(self, version: int) -> OfferUplift:
        try:
            found: Any = self._home.client.get_model_version(UPLIFT, str(version))
            with tempfile.TemporaryDirectory(prefix="regulars-uplift-") as folder:
                place = download_artifacts(
                    run_id=found.run_id,
                    artifact_path=MODEL_FILE,
                    dst_path=folder,
                    tracking_uri=self._home.uri,
                )
                return OfferUplift.from_text(Path(place).read_text())
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            lightgbm.basic.LightGBMError,
            mlflow.MlflowException,
        ) as error:
            raise RegularsError(
                f"model '{UPLIFT}@{version}' cannot be read ({type(error).__name__}: {error}); "
                "run 'regulars train uplift'"
            ) from error


def _metrics(report: UpliftReport) -> dict[str, float]:
    found = report.evaluation
    figures: dict[str, Interval] = {
        **found.values.figures(),
        "drawn": report.drawn,
    }
    told: dict[str, float] = {"rows": report.rows}
    for name, figure in figures.items():
        told |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    if found.rate_p is not None:
        told["rate_p"] = found.rate_p
    return told

"""The gate on a lake: which exposures are fair to both models, and when nobody is to be beaten."""

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from foundation.errors import RegularsError
from foundation.settings import Settings
from recommender.response import ResponseReport
from regulars.jobs.response_gate import judge_response
from regulars.jobs.train import train, training_frame
from regulars.progress import Progress
from regulars.wiring import House


@pytest.fixture(scope="module")
def house(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    home = tmp_path_factory.mktemp("gate")
    shutil.copytree(small_house.settings.home / "lake", home / "lake")
    shutil.copy(small_house.settings.home / "mlflow.db", home)
    return House(Settings(home=home, database_url=None, mlflow_tracking_uri=None))


@pytest.fixture(scope="module")
def report(house: House, silent: Progress) -> ResponseReport:
    return train(house.lake, house.models, house.settings, silent).report


def stands(
    house: House, report: ResponseReport, test_from: datetime | None = None, features: str = ""
) -> int:
    """Register the report's chosen model as if it had held out, or known, something else."""
    kind = report.champion
    model = report.models[kind]
    model = replace(model, feature_hash=features or model.feature_hash)
    other = replace(report, models={kind: model}, test_from=test_from or report.test_from)
    return house.models.register(other, "digest")[kind]


def judged(house: House, silent: Progress, challenger: int, champion: int) -> Any:
    house.models.point("challenger", challenger)
    house.models.point("champion", champion)
    return judge_response(house.lake, house.models, house.settings, silent)


@pytest.mark.slow
def test_the_held_out_exposures_of_the_training_are_rebuilt(
    house: House, report: ResponseReport, silent: Progress
) -> None:
    version = stands(house, report)

    found = judged(house, silent, version, version)

    on = found.record["judged_on"]
    assert on["rows"] == report.rows_held_out
    assert on["responses"] == report.responses_held_out
    parts = {part["name"]: part for part in found.record["parts"]}
    area = report.comparison.auc[report.champion].value
    assert f"AUC {area:.3f}, the champion {area:.3f}" in parts["ranking"]["told"]
    words = {name.split()[0] for name in parts}
    assert words >= {"RFM", "lifecycle", "channel", "cold", "log", "calibration"}


def test_a_champion_that_learned_from_them_leaves_only_later_exposures(
    house: House, report: ResponseReport, silent: Progress
) -> None:
    frame = training_frame(house.lake, house.settings)
    rows = frame.rows[frame.rows["at"] >= report.test_from]
    later = sorted(rows["at"])[len(rows) // 3].to_pydatetime()

    found = judged(house, silent, stands(house, report), stands(house, report, test_from=later))

    on = found.record["judged_on"]
    assert on["since"] == later.isoformat()
    assert on["rows"] == (rows["at"] >= later).sum() < report.rows_held_out


def test_where_the_champion_learned_from_all_the_fault_says_so(
    house: House, report: ResponseReport, silent: Progress
) -> None:
    frame = training_frame(house.lake, house.settings)
    after = frame.rows["at"].max().to_pydatetime() + timedelta(days=1)

    (fault,) = judged(
        house, silent, stands(house, report), stands(house, report, test_from=after)
    ).faults

    assert fault.startswith(
        f"it cannot be judged: the champion was trained on all before {after:%Y-%m-%d}"
    )


def test_a_champion_that_cannot_serve_is_not_the_measure(
    house: House, report: ResponseReport, silent: Progress
) -> None:
    champion = stands(house, report, features="3f2a")

    found = judged(house, silent, stands(house, report), champion)

    assert f"response@{champion} was trained on features 3f2a" in found.told[0]
    names = [part["name"] for part in found.record["parts"]]
    assert names[:2] == ["ranking", "skill"]


def test_a_challenger_of_other_features_is_to_be_trained_anew(
    house: House, report: ResponseReport, silent: Progress
) -> None:
    challenger = stands(house, report, features="3f2a")

    with pytest.raises(RegularsError, match="trained on features 3f2a, today's are"):
        judged(house, silent, challenger, stands(house, report))

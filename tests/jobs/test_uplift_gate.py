"""A second uplift model is a challenger, and beats the champion on decisions neither has seen."""

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.mlflow_life import MlflowLife
from adapters.mlflow_uplift import MlflowUplift
from foundation.errors import RegularsError
from foundation.model_life import FAULT, Judgement, Version
from foundation.money import Currency
from foundation.settings import Settings
from recommender.uplift_registry import TOLD_UNTIL
from regulars.jobs.train import told_until
from regulars.jobs.train_uplift import train_uplift
from regulars.jobs.uplift_gate import judge_uplift_challenger
from regulars.progress import Progress
from tests.jobs.uplift_shop import DAY, HASH, START, ZONE, design, opened, stored


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=None, mlflow_tracking_uri=None, time_zone=ZONE)


@pytest.mark.slow
def test_the_second_model_is_a_challenger_and_is_judged_on_later_decisions(
    lake: DuckDbLake, tmp_path: Path, settings: Settings, silent: Progress
) -> None:
    place = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    models, life = MlflowUplift(*place), MlflowLife(*place)

    def judged(challenger: Version, champion: Version | None) -> Judgement:
        return judge_uplift_challenger(
            lake, models, stored(design()), settings, challenger, champion, silent
        )

    opened(1_500, lake, design(), seed=3)
    assert train_uplift(lake, models, stored(design()), settings, silent).alias == "champion"
    opened(1_500, lake, design(), seed=4, start=START + 20 * DAY)
    second = train_uplift(lake, models, stored(design()), settings, silent)
    assert second.alias == "challenger"
    assert models.champion_version() == 1
    assert "uplift@2 is the challenger" in "\n".join(second.told(Currency("USD")))

    challenger, champion = life.named("uplift", "challenger"), life.named("uplift", "champion")
    assert challenger is not None
    assert champion is not None
    until = told_until(lake)
    assert until is not None
    assert challenger.tags[TOLD_UNTIL] == until.isoformat()

    # Nobody has come since: it is not promoted on what it was trained on.
    (fault,) = judged(challenger, champion).faults
    assert fault.startswith("it cannot be judged")
    opened(1_500, lake, design(), seed=5, start=START + 40 * DAY)
    found = judged(challenger, champion)
    assert found.record["rows"] == 1_500
    value = found.record["parts"][0]["figure"]
    # Both learned the same truth: neither is worth much more than the other.
    assert value["low"] < 20
    assert value["high"] > -20
    assert found.record["champion_over_none"]["low"] > 0
    assert "surely worse" not in "\n".join(found.told)
    parts = ("value: ", "over the best single offer: ")
    assert all(fault.startswith(parts) for fault in found.faults), found.told

    # By its own report alone: without a champion, or one that could serve.
    assert judged(challenger, None).faults == ()
    old = replace(champion, tags={**champion.tags, "feature_hash": "older"})
    assert "cannot serve" in judged(challenger, old).told[0]
    faulty = replace(challenger, tags={**challenger.tags, FAULT: "targeting does not pay"})
    assert judged(faulty, champion).faults == ("targeting does not pay",)
    other = replace(challenger, tags={**challenger.tags, "feature_hash": "older"})
    with pytest.raises(RegularsError, match=f"features older, today's are {HASH}"):
        judged(other, champion)

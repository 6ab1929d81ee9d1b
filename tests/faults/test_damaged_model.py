"""Is every request answered when the files of the champion model are damaged?"""

import asyncio
from pathlib import Path

import pytest
from mlflow import MlflowClient

from foundation.settings import Settings
from recommender.registry import RESPONSE
from regulars.jobs.train import train
from regulars.progress import Progress
from regulars.wiring import House
from serving.messages import AskedPlacement, DecisionAnswer, DecisionRequest
from serving.service import DecisionService
from tests.deployment import copied

CANNOT = "the champion model cannot be loaded"


def other_version(house: House, champion: str | None) -> int:
    """Return the version that training registered beside the champion."""
    found = MlflowClient(house.settings.mlflow_uri).search_model_versions(f"name='{RESPONSE}'")
    [other] = [one for one in found if f"response@{one.version}" != champion]
    return int(other.version)


def damage(house: House, version: int) -> None:
    """Cut every file of a model in half, as a torn write leaves it."""
    client = MlflowClient(house.settings.mlflow_uri)
    model_id = client.get_model_version(RESPONSE, str(version)).source.rpartition("/")[2]
    paths = [p for p in house.settings.artifact_folder.rglob(f"{model_id}/**/*") if p.is_file()]
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


async def decide(service: DecisionService) -> DecisionAnswer:
    asked = DecisionRequest("c-0001", "app", [AskedPlacement("checkout", 2)])
    answer = await service.decide(asked)
    assert answer.decision_id is not None
    assert answer.placements[0].offers
    return answer


@pytest.mark.slow
def test_a_damaged_model_does_not_come_in_and_a_start_with_it_falls_back(
    small_house: House, tmp_path: Path, silent: Progress
) -> None:
    home = copied(small_house, tmp_path / "home").settings.home
    # A registry of its own: the copied one names the files of the first.
    house = House(
        Settings(home=home, database_url=None, mlflow_tracking_uri=f"sqlite:///{home}/registry.db")
    )
    with house.database() as url, house.admin(url) as admin:
        train(house.lake, house.models, house.settings, silent)
        admin.touch_catalogue()

        async def story() -> None:
            service = house.service(url)
            await service.start()
            try:
                sound = await decide(service)
                assert sound.versions.model is not None
                assert not sound.placements[0].fallback

                other = other_version(house, sound.versions.model)
                damage(house, other)
                house.models.crown(other)
                admin.touch_catalogue()
                for _ in range(200):
                    if any(CANNOT in one for one in service.live.refused):
                        break
                    await asyncio.sleep(0.1)
                assert any(CANNOT in one for one in service.live.refused)
                # The one that served goes on.
                after = await decide(service)
                assert after.versions.model == sound.versions.model
                assert not after.degraded
            finally:
                await service.stop()

            again = house.service(url)
            await again.start()
            try:
                answer = await decide(again)
                assert answer.degraded
                assert any(one.startswith(CANNOT) for one in answer.causes)
                assert answer.versions.model is None
                assert answer.placements[0].fallback
            finally:
                await again.stop()

        asyncio.run(story())

"""MLflow as the keeper of every model's life: versions, aliases, reigns, cards."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.mlflow_answering import answering
from adapters.mlflow_home import MlflowHome
from foundation.model_life import ALIASES, Alias, Reign, Version, Way

CARD = "model_card.md"


class MlflowLife:
    """See foundation.model_life.ModelLife."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._home = MlflowHome(uri, artifacts)

    @answering()
    def versions(self, model: str) -> list[Version]:
        found = self._home.client.search_model_versions(f"name = '{model}'")
        told = [self._told(model, version) for version in found]
        return sorted(told, key=lambda version: -version.number)

    @answering()
    def version(self, model: str, number: int) -> Version | None:
        return next((v for v in self.versions(model) if v.number == number), None)

    @answering()
    def named(self, model: str, alias: Alias) -> Version | None:
        found = self._home.version(model, alias)
        return None if found is None else self._told(model, found)

    @answering()
    def reigns(self, model: str) -> list[Reign]:
        return self._home.reigns(model)

    @answering()
    def crown(self, version: Version, way: Way, overridden: Sequence[str] = ()) -> None:
        self._home.crown(version.model, version.number, way, overridden)

    @answering()
    def shadow(self, version: Version) -> None:
        self._home.point(version.model, "shadow", version.number)

    @answering()
    def end_shadow(self, model: str) -> None:
        self._home.unpoint(model, "shadow")

    @answering()
    def keep(self, version: Version, name: str, record: Mapping[str, Any]) -> None:
        self._home.client.log_dict(self._run_id(version), dict(record), name)

    @answering()
    def card(self, version: Version) -> str | None:
        return self._home.artifact(self._run_id(version), CARD)

    def _run_id(self, version: Version) -> str:
        found = self._home.client.get_model_version(version.model, str(version.number))
        return str(found.run_id)

    def _told(self, model: str, found: Any) -> Version:
        run: Any = self._home.client.get_run(str(found.run_id))
        number = int(found.version)
        return Version(
            model=model,
            number=number,
            kind=run.data.tags["kind"],
            trained_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            metrics=dict(run.data.metrics),
            tags={**run.data.tags, **run.data.params},
            aliases=tuple(a for a in ALIASES if self._is(model, a, number)),
        )

    def _is(self, model: str, alias: Alias, number: int) -> bool:
        named = self._home.version(model, alias)
        return named is not None and int(named.version) == number

"""A small deployment of one's own with its office, asked over HTTP with a marketer's key."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.postgres_admin import PostgresAdmin
from foundation.access import SCOPES
from regulars.wiring import House
from tests.deployment import copied, listening, office_listening


@dataclass
class Marketer:
    """Asks an API by a key whose name is Ana's planner."""

    client: httpx.Client
    admin: PostgresAdmin
    house: House
    database: str

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Idempotency-Key"] = key
        return self.client.request(method, path, json=body, headers=sent)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(
        self, status: int, method: str, path: str, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        """Ask what is refused, and return the problem."""
        answer = self.ask(method, path, body, **more)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["detail"]
        return problem

    def log(self) -> list[tuple[str, str, str]]:
        """Who did what to what, the newest first."""
        return [(e.who, e.action, e.subject) for e in self.admin.audit.newest(50)]


@pytest.fixture(scope="module")
def marketer(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marketer]:
    house = copied(small_house, tmp_path_factory.mktemp("office") / "home")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(house.database())
        admin = stack.enter_context(house.admin(url))
        office: Path = stack.enter_context(office_listening(house, url))
        base = stack.enter_context(listening(house, url, office))
        key = admin.make_key("Ana's planner", SCOPES)
        headers = {"Authorization": f"Bearer {key}"}
        client = stack.enter_context(
            httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False)
        )
        yield Marketer(client, admin, house, url)

"""What may each scope do? Every route of the API, asked with a key of each scope alone.

A route without a row here fails, and so does one without a row in the guide.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from foundation.access import SCOPES, Scope
from regulars.wiring import House
from serving.api import create_app
from serving.office.operations import OPERATIONS
from tests.deployment import listening, office_listening

# The one scope that may; None: whoever asks, also without a key.
MAY: dict[tuple[str, str], Scope | None] = {
    ("POST", "/v1/decisions"): "decide",
    ("POST", "/v1/decisions/{decision_id}/replay"): "decide",
    ("POST", "/v1/recommendations"): "decide",
    ("POST", "/v1/outcomes"): "outcomes",
    ("POST", "/v1/activations"): "outcomes",
    ("POST", "/v1/activations/{activation_id}/cancel"): "outcomes",
    ("POST", "/v1/redemptions"): "outcomes",
    ("POST", "/v1/redemptions/{redemption_id}/reverse"): "outcomes",
    ("PUT", "/v1/customers/{customer_id}/consents"): "outcomes",
    ("GET", "/v1/customers/{customer_id}"): "admin",
    ("GET", "/v1/customers/{customer_id}/export"): "admin",
    ("DELETE", "/v1/customers/{customer_id}"): "admin",
    **{operation.key: "marketer" for operation in OPERATIONS},
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/metrics"): None,
}
GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


@dataclass
class Api:
    url: str
    keys: dict[Scope, str]

    def asked(self, method: str, path: str, key: str | None) -> httpx.Response:
        # Whose it was, only the service itself says.
        headers = {"regulars-who": "somebody else", "regulars-subject": "other"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30) as one:
            return one.request(method, re.sub(r"\{\w+\}", "none", path), content=b"{}")


@pytest.fixture(scope="module")
def api(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("scopes") / "pg") as server:
        admin = PostgresAdmin(server.url)
        keys = {scope: admin.make_key(f"only {scope}", [scope]) for scope in SCOPES}
        with psycopg.connect(server.url) as connection:
            connection.execute("UPDATE catalogue SET version = version + 1")
        with (
            office_listening(small_house, server.url) as office,
            listening(small_house, server.url, office) as url,
        ):
            yield Api(url, keys)
        admin.close()


def test_every_route_has_a_row_and_every_row_a_route(small_house: House) -> None:
    document = create_app(small_house.service("postgresql://nobody@127.0.0.1:1/none")).openapi()
    routes = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert routes == set(MAY)


def test_the_guide_says_the_same() -> None:
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (.*?) \|$", GUIDE.read_text(), re.M)
    assert {(method, path): scope for method, path, scope in rows} == {
        route: "no key" if scope is None else f"`{scope}`" for route, scope in MAY.items()
    }


@pytest.mark.parametrize(("method", "path"), MAY)
def test_a_key_may_what_its_scope_says_and_nothing_else(api: Api, method: str, path: str) -> None:
    needed = MAY[method, path]
    for scope, key in api.keys.items():
        answer = api.asked(method, path, key)
        if needed is None or scope == needed:
            # Let in: what is wrong with the body, or missing, is said afterwards.
            assert answer.status_code in (200, 404, 409, 422, 503), scope
            assert answer.status_code == 200 or answer.json()["code"] != "scope_missing"
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing"), scope
        # Nobody's key comes back.
        assert key not in answer.text


@pytest.mark.parametrize(("method", "path"), MAY)
def test_without_a_key_only_health_and_figures_are_told(api: Api, method: str, path: str) -> None:
    open_to_all = MAY[method, path] is None
    for key, code in ((None, "no_key"), ("rgl_guessed", "unknown_key")):
        answer = api.asked(method, path, key)
        if open_to_all:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert "rgl_guessed" not in answer.text

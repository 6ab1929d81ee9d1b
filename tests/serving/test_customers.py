"""What a customer wants is heeded: consents, contact policy, and to be forgotten. Over HTTP."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from foundation.access import SCOPES
from foundation.settings import ContactRules
from recommender.affinity import NAMES as AFFINITY_NAMES
from regulars.wiring import House
from regulars_client import Client, Refused
from serving.profiles import refresh
from tests.deployment import listening
from tests.kept_decisions import record_of

EMAIL = {"channel": "email", "placements": [{"name": "hero", "limit": 2}]}
APP = {"channel": "app", "placements": [{"name": "checkout", "limit": 2}]}


@dataclass
class Served:
    """Two services in front of one database, as two nodes would be."""

    client: httpx.Client
    other: httpx.Client
    url: str

    def decide(self, customer_id: str, asked: dict[str, Any] = EMAIL, **more: Any) -> Any:
        body = {"customer_id": customer_id, **asked, **more}
        answer = self.other.post("/v1/decisions", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        if told["decision_id"] is not None:
            record_of(self.url, told["decision_id"])
        return told

    def shown(self, customer_id: str, asked: dict[str, Any] = EMAIL) -> int:
        return sum(len(spot["offers"]) for spot in self.decide(customer_id, asked)["placements"])

    def verdicts(self, customer_id: str, asked: dict[str, Any] = EMAIL) -> set[str]:
        told = self.decide(customer_id, asked, explain=True, dry_run=True)["considered"]
        return {one["verdict"] for one in told}

    def consent(self, customer_id: str, **consents: bool) -> Any:
        path = f"/v1/customers/{customer_id}/consents"
        answer = self.client.put(path, json={"consents": consents, "source": "desk"})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def served(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with small_house.database() as theirs, psycopg.connect(theirs) as connection:
        offers = connection.execute("SELECT document, popularity FROM offers").fetchall()
    with EmbeddedPostgres(tmp_path_factory.mktemp("customers") / "pg") as server:
        admin = PostgresAdmin(server.url)
        admin.publish_offers([d for d, _ in offers], {d["offer_id"]: p for d, p in offers})
        headers = {"Authorization": f"Bearer {admin.make_key('test', SCOPES)}"}
        # Whatever the hour in which the test runs, no hour is quiet.
        rules = ContactRules(day=1, week=3, quiet_from=0, quiet_to=0)
        settings = small_house.settings.model_copy(
            update={"contact_policy": rules, "deadline_ms": 10_000}
        )
        with (
            listening(House(settings), server.url) as one,
            listening(House(settings), server.url) as another,
            httpx.Client(base_url=one, headers=headers, timeout=60, trust_env=False) as client,
            httpx.Client(base_url=another, headers=headers, timeout=60, trust_env=False) as other,
        ):
            yield Served(client, other, server.url)
        admin.close()


def within(seconds: float, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.02)


def test_an_outbound_channel_shows_nothing_before_she_opted_in(served: Served) -> None:
    assert served.verdicts("c-0001") == {"no_consent"}
    assert served.shown("c-0001") == 0
    assert served.verdicts("c-0001", APP) != {"no_consent"}


def test_a_consent_holds_in_every_node_at_once_and_its_history_stays(served: Served) -> None:
    assert served.consent("c-0002", email=True)["consents"] == {"email": True}
    assert served.verdicts("c-0002") != {"no_consent"}
    assert served.consent("c-0002", app=False)["consents"] == {"email": True, "app": False}
    assert served.verdicts("c-0002", APP) == {"no_consent"}
    assert served.shown("c-0002", APP) == 0
    served.consent("c-0002", email=False, app=True)
    assert served.verdicts("c-0002") == {"no_consent"}
    assert served.shown("c-0002", APP) > 0
    history = served.client.get("/v1/customers/c-0002").json()["consents"]
    assert [(one["channel"], one["granted"]) for one in history] == [
        ("email", True),
        ("app", False),
        ("app", True),
        ("email", False),
    ]
    assert {one["source"] for one in history} == {"desk"}
    assert all(re.fullmatch(r"key \d+ \(test\)", one["who"]) for one in history)


def test_a_contact_bars_the_next_one_by_day_then_by_week_and_never_where_she_asks(
    served: Served,
) -> None:
    served.consent("c-0003", email=True, push=True)
    assert served.shown("c-0003") > 0
    assert served.shown("c-0003") == 0
    assert served.verdicts("c-0003") == {"contact_cap_day"}
    assert served.verdicts("c-0003", {**EMAIL, "channel": "push"}) == {"contact_cap_day"}
    assert served.shown("c-0003", APP) > 0
    # A dry run is no contact, and a survey's invitation is one.
    served.consent("c-0004", email=True)
    assert served.verdicts("c-0004") != {"contact_cap_day"}
    days = [datetime.now(UTC) - timedelta(days=n) for n in (2, 3, 4)]
    events = [
        {
            "event_id": f"invited-{n}",
            "customer_id": "c-0004",
            "at": at.isoformat(),
            "channel": "push",
            "kind": "sent",
            "touchpoint": "survey",
        }
        for n, at in enumerate(days)
    ]
    assert served.client.post("/v1/outcomes", json={"events": events}).status_code == 200
    assert served.verdicts("c-0004") == {"contact_cap_week"}


def test_a_refused_decision_is_recorded_with_its_reason(served: Served) -> None:
    decided = served.decide("c-0005")
    record = record_of(served.url, decided["decision_id"])
    assert set(record.refusals.values()) == {"no_consent"}
    assert record.slates[0].offers == []
    assert record.slates[0].slate_propensity == 1.0


def test_a_repeated_consent_changes_nothing_and_another_one_needs_its_own_key(
    served: Served,
) -> None:
    def told(key: str, **consents: bool) -> httpx.Response:
        return served.client.put(
            "/v1/customers/c-0009/consents",
            json={"consents": consents},
            headers={"Idempotency-Key": key},
        )

    assert told("asked-1", email=True).json()["consents"] == {"email": True}
    assert told("asked-2", email=False).json()["consents"] == {"email": False}
    # She withdrew since: a till that repeats itself does not opt her in again.
    assert told("asked-1", email=True).json()["consents"] == {"email": True}
    assert served.verdicts("c-0009") == {"no_consent"}
    other = told("asked-1", push=True)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    history = served.client.get("/v1/customers/c-0009").json()["consents"]
    assert [(one["channel"], one["granted"]) for one in history] == [
        ("email", True),
        ("email", False),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"consents": {}}, "consents"),
        ({"consents": {"fax": True}}, "consents"),
        ({"consents": {"email": "yes"}}, "consents[...]"),
        ({"granted": True}, "granted"),
    ],
)
def test_a_consent_that_names_no_channel_of_ours_is_refused(
    served: Served, body: Any, field: str
) -> None:
    answer = served.client.put("/v1/customers/c-1/consents", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field


class TestOneCustomer:
    def test_is_told_with_profile_segments_and_journey(self, served: Served) -> None:
        told = served.client.get("/v1/customers/c-0006").json()
        assert {"rfm", "lifecycle"} <= told["segments"].keys()
        assert told["features"]["orders_30d"] is not None
        assert told["time_zone"] == "America/New_York"
        # The journey comes from the lake, the newest step first.
        times = [step["at"] for step in told["journey"]]
        assert times == sorted(times, reverse=True)
        assert {"sent", "purchase"} <= {step["kind"] for step in told["journey"]}
        assert all(step["amount"] > 0 for step in told["journey"] if step["kind"] == "purchase")

    def test_is_exported_whole(self, served: Served) -> None:
        served.decide("c-0007", APP)
        told = served.client.get("/v1/customers/c-0007/export").json()
        assert {"customers", "purchases", "interactions", "segments"} <= told["lake"].keys()
        assert told["database"].keys() == {"decisions"}
        assert told["snapshot"]["segments"]
        for rows in (*told["lake"].values(), *told["database"].values()):
            assert {row["customer_id"] for row in rows} == {"c-0007"}

    def test_is_exported_with_what_was_derived_of_her_and_each_offer(
        self, served: Served, small_house: House
    ) -> None:
        told = served.client.get("/v1/customers/c-0007/export").json()
        store = small_house.profile_store()
        refresh(store)
        snapshot, live, profile = told["snapshot"], store.facts(), store.get("c-0007")
        assert live is not None
        assert profile is not None
        assert snapshot["version"] == live.version
        # To the last bit, under its own name; what is unknown is under none.
        affinities = snapshot["affinities"]
        for offer_id, place in live.places.items():
            row = dict(zip(AFFINITY_NAMES, profile.affinity[place].tolist(), strict=True))
            assert affinities.get(offer_id, {}) == {k: v for k, v in row.items() if v == v}
        assert affinities.keys() == set(live.offers)
        assert any(near.get("affinity_lines_365d", 0) > 0 for near in affinities.values())
        # The reasons that an answer would give her, of every offer.
        answer = served.decide("c-0007", APP, dry_run=True)
        shown = [one for spot in answer["placements"] for one in spot["offers"]]
        assert any(one["reasons"] for one in shown)
        for one in shown:
            assert snapshot["reasons"].get(one["offer_id"], []) == one["reasons"]
        assert snapshot["reasons"].keys() <= set(live.offers)

    def test_who_is_not_known_is_not_found(self, served: Served) -> None:
        answer = served.client.get("/v1/customers/nobody")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_customer")
        assert served.client.get("/v1/customers/nobody/export").status_code == 404

    def test_who_is_erased_is_unknown_everywhere_within_a_second(self, served: Served) -> None:
        served.consent("c-0008", email=True)
        before = served.decide("c-0008", APP)
        assert not before["placements"][0]["fallback"]

        answer = served.client.delete("/v1/customers/c-0008")

        assert answer.json()["rows"] == {"consents": 1, "consent_history": 1, "decisions": 1}
        assert any("lake" in one for one in answer.json()["pending"])
        # The other node's snapshot still holds her: she is to be nobody's there, too.
        within(1, lambda: served.decide("c-0008", APP)["placements"][0]["fallback"])
        assert served.verdicts("c-0008") == {"no_consent"}
        for client in (served.client, served.other):
            # What her app asked since is kept under the pseudonym, until the night is over.
            told = client.get("/v1/customers/c-0008/export")
            assert (told.status_code, told.json()["code"]) == (404, "unknown_customer")
        assert served.client.delete("/v1/customers/c-0008").json()["rows"] == {}

    def test_who_is_erased_leaves_nothing_in_rows_that_cannot_be_read(self, served: Served) -> None:
        with psycopg.connect(served.url) as connection:
            for event_id, document in (("x" * 201, '{"text": "I am Ana"}'), ("y", '{"at": 1}')):
                connection.execute(
                    "INSERT INTO outcomes (event_id, customer_id, at, kind, event, digest) "
                    "VALUES (%s, 'c-0014', now(), 'reverse', %s, '')",
                    (event_id, document),
                )
            connection.commit()
            answer = served.client.delete("/v1/customers/c-0014")
            assert answer.json()["rows"] == {"outcomes": 2}
            left = connection.execute(
                "SELECT customer_id, event FROM outcomes WHERE event_id IN (%s, 'y')", ("x" * 201,)
            ).fetchall()
        assert [event for _, event in left] == [{"customer_id": name} for name, _ in left]
        assert all(name.startswith("erased-") for name, _ in left)
        told = served.client.get(f"/v1/customers/{left[0][0]}").json()
        assert [(step["kind"], step["channel"]) for step in told["journey"]] == [
            ("reverse", "unknown")
        ] * 2

    def test_whose_decision_cannot_be_read_is_told_all_the_same(self, served: Served) -> None:
        served.decide("c-0015", APP)
        with psycopg.connect(served.url) as connection:
            connection.execute(
                """UPDATE decisions SET packed = '{"at": 7}' WHERE customer_id = 'c-0015'"""
            )
        told = served.client.get("/v1/customers/c-0015").json()
        assert ("decision", "unknown") in [(s["kind"], s["channel"]) for s in told["journey"]]
        exported = served.client.get("/v1/customers/c-0015/export").json()
        [kept] = exported["database"]["decisions"]
        assert "cannot be read" in kept["record"]["unreadable"]
        assert base64.b64decode(kept["record"]["packed"]) == b'{"at": 7}'

    def test_who_is_erased_again_under_one_key_is_erased_once(self, served: Served) -> None:
        served.decide("c-0010", APP)
        headers = {"Idempotency-Key": "forget c-0010"}
        first = served.client.delete("/v1/customers/c-0010", headers=headers).json()
        assert first["rows"] == {"decisions": 1}
        served.consent("c-0010", app=True)
        assert served.other.delete("/v1/customers/c-0010", headers=headers).json() == first
        assert served.client.get("/v1/customers/c-0010/export").json()["database"].keys() == {
            "consents",
            "consent_history",
        }
        # Neither path nor key, which are the caller's words, are kept as they are.
        with psycopg.connect(served.url) as connection:
            [named] = connection.execute(
                "SELECT count(*) FROM replays WHERE row_to_json(replays)::text LIKE '%c-0010%'"
            ).fetchall()
        assert named == (0,)


def test_the_client_asks_for_all_that_she_may_want(served: Served) -> None:
    key = served.client.headers["authorization"].removeprefix("Bearer ")
    with Client(str(served.client.base_url), key, seconds=60) as client:
        assert client.consents("c-0011", {"email": True}).consents == {"email": True}
        assert client.customer("c-0011").consents[0].channel == "email"
        assert client.export("c-0011").database.keys() == {"consents", "consent_history"}
        assert client.erase("c-0011").rows == {"consents": 1, "consent_history": 1}
        with pytest.raises(Refused, match="unknown_customer"):
            client.customer("c-0011")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/customers/c-1/consents"),
        ("GET", "/v1/customers/c-1"),
        ("GET", "/v1/customers/c-1/export"),
        ("DELETE", "/v1/customers/c-1"),
    ],
)
def test_without_a_key_that_may_nothing_is_told_or_done(
    served: Served, method: str, path: str
) -> None:
    with httpx.Client(base_url=served.client.base_url, timeout=60, trust_env=False) as nobody:
        assert nobody.request(method, path, json={}).status_code == 401

"""The HTTP API of a real service: two worker processes of `regulars serve` on a real database."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from adapters import redis_profiles
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.file_spool import FileSpool
from adapters.file_write_ahead import FileWriteAhead
from adapters.last_refusals import LastKnownRefusals
from adapters.lmdb_profiles import LmdbProfiles, publish_snapshot
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_contacts import PostgresContacts
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from adapters.postgres_uses import PostgresUses
from experiments.assignment import variant_of
from experiments.design import Experiment, Variant
from foundation.access import SCOPES, hash_key
from foundation.clock import SystemClock
from foundation.contact_policy import DEFAULT_CONTACT_POLICY
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.decision import Assignment, Policy
from foundation.own_id import own_id
from foundation.profile import Profile
from recommender.affinity import BASKET
from recommender.next_products import Complement, Known, NextProducts
from recommender.offer_uplift import OfferUplift
from recommender.uplift import UpliftModel
from regulars.wiring import House
from serving import live as live_module
from serving import metrics
from serving import service as service_module
from serving import shadow as shadow_module
from serving.ahead import PASS_SECONDS
from serving.api import create_app
from serving.messages import (
    AskedContext,
    AskedLine,
    AskedPlacement,
    DecisionRequest,
    RecommendationAnswer,
    RecommendationRequest,
)
from serving.parts import LiveModel, LiveUplift, Parts
from serving.profiles import ProfileStore
from serving.service import DecisionService
from tests.deployment import LIVE_OFFERS
from tests.kept_decisions import record_of, records_in
from tests.redis_servers import redis_server, redis_store

AT = datetime.now(UTC).replace(microsecond=0)
CHECKOUT = {"channel": "app", "placements": [{"name": "checkout", "limit": 3}]}


@dataclass
class Served:
    """A running service, its database, and what its processes wrote."""

    url: str
    database: str
    admin: PostgresAdmin
    key: str
    log: Path

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(query.encode(), values).fetchall()


@pytest.fixture(scope="module")
def house(small_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The small deployment's snapshot, model and offers over a database of our own."""
    with small_house.database() as theirs, psycopg.connect(theirs) as connection:
        offers = connection.execute("SELECT document, popularity FROM offers").fetchall()
    with EmbeddedPostgres(tmp_path_factory.mktemp("api") / "pg") as server:
        admin = PostgresAdmin(server.url)
        admin.publish_offers([d for d, _ in offers], {d["offer_id"]: p for d, p in offers})
        admin.close()
        yield House(small_house.settings.model_copy(update={"database_url": server.url}))


@pytest.fixture(scope="module")
def served(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    database, port = str(house.settings.database_url), free_port()
    log = tmp_path_factory.mktemp("served") / "log"
    environment = {
        **os.environ,
        "REGULARS_HOME": str(house.settings.home),
        "REGULARS_DATABASE_URL": database,
    }
    command = [sys.executable, "-c", "from regulars.cli import main; main()"]
    options = ["serve", "--no-console", "--workers", "2", "--port", str(port)]
    with log.open("w") as written:
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()
        first = re.search(r"rgl_\S+", said)
        assert first is not None, log.read_text()
        # The line with the address comes when the service is ready.
        assert f"http://127.0.0.1:{port}/docs" in process.stdout.readline(), log.read_text()
        wait_for_the_model(f"http://127.0.0.1:{port}", first.group())
        admin = PostgresAdmin(database)
        yield Served(f"http://127.0.0.1:{port}", database, admin, first.group(), log)
        admin.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


def wait_for_the_model(url: str, key: str) -> None:
    """Workers answer before their model is loaded, and say so; wait until all of them have it."""
    # A connection that is kept would always be answered by the same worker.
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:

        def all_have_it() -> bool:
            return not any(ask(client, "warm-up")["degraded"] for _ in range(24))

        assert within(120, all_have_it)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(client: httpx.Client, customer_id: str, **changed: Any) -> dict[str, Any]:
    response = client.post(
        "/v1/decisions", json={"customer_id": customer_id, **CHECKOUT, **changed}
    )
    assert response.status_code == 200, response.text
    return response.json()


def offered(answer: dict[str, Any]) -> list[str]:
    return [
        offer["offer_id"] for placement in answer["placements"] for offer in placement["offers"]
    ]


def event(event_id: str, customer_id: str = "c-0001", **changed: Any) -> dict[str, Any]:
    shared = {"event_id": event_id, "customer_id": customer_id, "at": AT.isoformat()}
    return {**shared, "channel": "app", "kind": "view", **changed}


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class TestRecommendation:
    @pytest.mark.slow
    def test_of_a_shop_where_everything_is_drawn_alone_is_empty_and_says_why(
        self, client: httpx.Client
    ) -> None:
        # The small deployment draws each line by itself: there are no complements to find.
        response = client.post("/v1/recommendations", json={"basket": ["coffee-1"]})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["products"], len(answer["causes"])) == ([], 1)
        assert answer["snapshot"]

    def test_names_products_that_go_with_the_basket_and_why(
        self, house: House, tmp_path: Path
    ) -> None:
        served = NextProducts({"milk": Known("DAIRY", (Complement("eggs", 0.1, 0.9, 2.34),))})
        publish_snapshot(
            tmp_path, [], as_of=AT, names=(), feature_hash="91bc", next_products=served
        )

        async def asked() -> RecommendationAnswer:
            async with in_process(house, LmdbProfiles(tmp_path), lambda: None) as service:
                return await service.recommend(RecommendationRequest(basket=["milk"]))

        answer = asyncio.run(asked())
        [product] = answer.products
        assert (product.product_id, product.rank, product.lift) == ("eggs", 1, 2.34)
        assert product.reason == "often bought with dairy: 2.3 times as often as by chance"
        assert answer.causes == []

    def test_what_goes_with_the_basket_is_recorded_with_the_decision(
        self, house: House, tmp_path: Path
    ) -> None:
        goes = NextProducts({"milk": Known(None, (Complement("eggs", 0.1, 0.9, 2.46),))})
        served = goes.with_offers([["eggs"], ["bread"]])
        ana = Profile("ana-with-a-basket", None, None, np.empty(0), {})
        publish_snapshot(
            tmp_path, [ana], as_of=AT, names=(), feature_hash="91bc", next_products=served,
            offers=["live-bakery", "live-coffee"],
        )  # fmt: skip

        async def asked() -> None:
            async with in_process(house, LmdbProfiles(tmp_path), lambda: None) as service:
                lines = [AskedLine("milk", 1, 1.5)]
                for basket in (lines, None):
                    till = [AskedPlacement("checkout", 3)], AskedContext(basket=basket)
                    await service.decide(DecisionRequest(ana.customer_id, "app", *till))

        asyncio.run(asked())
        records = [
            record
            for record in records_in(str(house.settings.database_url)).values()
            if record.customer_id == "ana-with-a-basket"
        ]
        shown = {
            record.context.basket is not None: {
                one.offer_id: one.affinity for slate in record.slates for one in slate.offers
            }
            for record in records
        }
        assert shown[True]["live-bakery"] == [None] * BASKET + [pytest.approx(0.9)]
        assert shown[True]["live-coffee"] == [None] * BASKET + [0.0]
        # An offer that is younger than the snapshot, or no basket: nothing is known.
        assert shown[True]["live-basket"] is None
        assert set(shown[False].values()) == {None}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"basket": []}, "basket"),
            ({"basket": ["a"], "limit": 21}, "limit"),
            ({"basket": [""]}, "basket[0]"),
            ({"limit": 3}, "basket"),
        ],
    )
    def test_refuses_a_broken_request_and_names_the_field(
        self, client: httpx.Client, body: dict[str, Any], field: str
    ) -> None:
        response = client.post("/v1/recommendations", json=body)
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["field"] == field

    def test_needs_a_key_that_may_decide(self, served: Served) -> None:
        body = {"basket": ["coffee-1"]}
        key = served.admin.make_key("teller of recommendations", ("outcomes",))
        with served.client(key) as client:
            assert client.post("/v1/recommendations", json=body).status_code == 403
        assert httpx.post(f"{served.url}/v1/recommendations", json=body).status_code == 401


class TestDecision:
    def test_of_a_known_customer_has_the_shape_of_the_design(self, client: httpx.Client) -> None:
        answer = ask(client, "c-0007", context={"store_id": "s-1"})
        assert set(answer) == {
            "decision_id", "customer_id", "degraded", "causes", "placements", "experiments",
            "versions",
        }  # fmt: skip
        assert (answer["customer_id"], answer["degraded"], answer["causes"]) == (
            "c-0007",
            False,
            [],
        )
        assert answer["versions"]["model"].startswith("response@")
        assert set(answer["versions"]) == {"catalogue", "model", "snapshot", "policy"}
        [placement] = answer["placements"]
        assert (placement["name"], placement["fallback"]) == ("checkout", False)
        assert 0 < placement["slate_propensity"] <= 1
        assert len(placement["offers"]) == 3
        for rank, offer in enumerate(placement["offers"], start=1):
            assert set(offer) == {
                "offer_id", "title", "rank", "score", "propensity", "valid_to", "reasons"
            }  # fmt: skip
            assert offer["rank"] == rank
            assert offer["offer_id"] in LIVE_OFFERS
            assert 0 <= offer["score"] <= 1
            assert datetime.fromisoformat(offer["valid_to"]) > AT
        # The slots' probabilities, each given those above, multiply to the slate's.
        product = np.prod([offer["propensity"] for offer in placement["offers"]])
        assert product == pytest.approx(placement["slate_propensity"])

    def test_says_why_in_a_few_words_and_of_strangers_nothing(self, client: httpx.Client) -> None:
        answers = [ask(client, f"c-{number:04}") for number in range(1, 31)]
        shown = [o for a in answers for p in a["placements"] for o in p["offers"]]
        assert any(offer["reasons"] for offer in shown)
        assert all(len(offer["reasons"]) <= 3 for offer in shown)
        stranger = ask(client, "nobody-knows-her")
        assert [o["reasons"] for o in stranger["placements"][0]["offers"]] == [[], [], []]

    def test_is_in_the_database_whole_when_the_answer_arrives(
        self, client: httpx.Client, served: Served
    ) -> None:
        answer = ask(client, "c-0008")
        record = record_of(served.database, answer["decision_id"])
        assert record.customer_id == "c-0008"
        assert [shown.offer_id for shown in record.slates[0].offers] == offered(answer)
        assert record.slates[0].slate_propensity == answer["placements"][0]["slate_propensity"]
        assert record.propensity_valid
        # Every offer of the catalogue was judged: scored, or refused with a reason.
        [(catalogue,)] = served.rows("SELECT count(*) FROM offers")
        assert len(record.scores) + len(record.refusals) == catalogue
        assert record.refusals["past-1"] == "expired"

    def test_of_a_customer_nobody_knows_is_a_fallback_that_says_so(
        self, client: httpx.Client, served: Served
    ) -> None:
        answer = ask(client, "c-nobody-knows")
        [placement] = answer["placements"]
        assert placement["fallback"]
        assert answer["versions"]["policy"] == "popular"
        assert len(placement["offers"]) == 3
        record = record_of(served.database, answer["decision_id"])
        assert (record.known, record.propensity_valid, record.vector) == (False, False, None)

    def test_of_a_channel_where_no_offer_may_be_shown_is_an_empty_slate(
        self, client: httpx.Client
    ) -> None:
        answer = ask(client, "c-0007", channel="call")
        assert answer["placements"] == [
            {"name": "checkout", "fallback": False, "offers": [], "slate_propensity": 1.0}
        ]

    def test_shows_an_offer_in_one_placement_only(self, client: httpx.Client) -> None:
        answer = ask(
            client, "c-0009", placements=[{"name": n, "limit": 2} for n in ("top", "side", "foot")]
        )
        assert sorted(offered(answer)) == sorted(LIVE_OFFERS)
        assert [len(p["offers"]) for p in answer["placements"]] == [2, 1, 0]

    def test_ids_are_ordered_by_time(self, client: httpx.Client) -> None:
        ids = [ask(client, "c-0007")["decision_id"] for _ in range(5)]
        assert ids == sorted(ids)
        assert len(set(ids)) == 5

    def test_honours_a_redemption_told_a_moment_ago_whichever_worker_answers(
        self, served: Served
    ) -> None:
        for n in range(12):
            customer_id = f"c-{100 + n:04}"
            # A connection each: the kernel hands them to either worker.
            with served.client() as teller:
                told = event(f"cap-{n}", customer_id, kind="redeem", offer_id=LIVE_OFFERS[0])
                assert teller.post("/v1/outcomes", json={"events": [told]}).status_code == 200
            with served.client() as asker:
                answer = ask(asker, customer_id)
            assert sorted(offered(answer)) == sorted(LIVE_OFFERS[1:])
            record = record_of(served.database, answer["decision_id"])
            assert record.refusals[LIVE_OFFERS[0]] == "customer_cap_reached"


class TestExplaining:
    def test_an_explained_decision_has_a_verdict_on_every_offer_of_the_catalogue(
        self, client: httpx.Client
    ) -> None:
        plain = ask(client, "c-0001")
        told = ask(client, "c-0001", explain=True)
        assert "considered" not in plain
        verdicts = {one["offer_id"]: one["verdict"] for one in told["considered"]}
        assert {i for i, verdict in verdicts.items() if verdict == "shown"} == set(offered(told))
        assert len(verdicts) == len(told["considered"]) > len(offered(told))
        assert set(verdicts.values()) & {"expired"}

    def test_a_dry_run_decides_and_leaves_nothing_behind(
        self, served: Served, client: httpx.Client
    ) -> None:
        nobody_else = "c-0377"
        told = ask(client, nobody_else, dry_run=True)
        assert told["decision_id"] is None
        assert offered(told)
        # What is decided does arrive, and nothing else of her.
        answered = ask(client, nobody_else)
        record_of(served.database, answered["decision_id"])
        time.sleep(2 * PASS_SECONDS)
        kept = records_in(served.database)
        assert [i for i in kept if kept[i].customer_id == nobody_else] == [answered["decision_id"]]


class TestExperiment:
    def test_assigns_shows_and_logs_each_customer_her_variant_until_it_stops(
        self, served: Served, client: httpx.Client
    ) -> None:
        design = Experiment(
            key="winter-latte",
            salt="winter-latte",
            variants=[
                Variant("no-offers", 0.3, policy="none"),
                Variant("one-offer", 0.3, offers=[LIVE_OFFERS[1]]),
                Variant("as-ever", 0.4),
            ],
            control="no-offers",
        )
        served.admin.start_experiment(design, datetime.now(UTC))
        try:
            # Both workers take it over within a second or so.
            assert within(10, lambda: all(ask(client, "c-0001")["experiments"] for _ in range(8)))
            time.sleep(1)
            shown = {"no-offers": 0, "one-offer": 1, "as-ever": 3}
            seen = set[str]()
            for n in range(30):
                with served.client() as one:
                    answer = ask(one, f"c-{200 + n:04}")
                variant = variant_of(design, f"c-{200 + n:04}").name
                assert answer["experiments"] == [{"key": "winter-latte", "variant": variant}]
                assert len(offered(answer)) == shown[variant]
                record = record_of(served.database, answer["decision_id"])
                assert record.assignments == [
                    Assignment("winter-latte", variant, f"c-{200 + n:04}")
                ]
                seen.add(variant)
            assert seen == set(shown)
        finally:
            served.admin.stop_experiment("winter-latte", datetime.now(UTC))
        assert within(10, lambda: not any(ask(client, "c-0001")["experiments"] for _ in range(8)))


class TestUses:
    """Activation, redemption, cancellation and reversal, over two workers and one counter."""

    @pytest.fixture
    def scarce(self, served: Served, client: httpx.Client) -> Iterator[str]:
        """An offer of which there is one use, known to both workers."""
        [(before,)] = served.rows(
            "SELECT json_agg(json_build_array(document, popularity)) FROM offers"
        )
        document = {**before[0][0], "offer_id": "scarce", "total_cap": 1, "customer_cap": None}
        document |= {"eligibility": None, "valid_from": "2020-01-01T00:00:00+00:00"}
        document |= {"valid_to": (AT + timedelta(days=9)).isoformat(), "channels": ["app"]}
        documents = [*(d for d, _ in before), document]
        popularity = {d["offer_id"]: p for d, p in before} | {"scarce": 0.5}
        served.admin.publish_offers(documents, popularity)
        # Who has a connection stays with her worker; the others are then the other one's to take.
        assert within(20, lambda: "scarce" in self.named(client))
        with served.client() as one:
            one.headers["Connection"] = "close"
            assert within(20, lambda: all("scarce" in self.named(one) for _ in range(24)))
        yield "scarce"
        popularity.pop("scarce")
        served.admin.publish_offers([d for d, _ in before], popularity)
        with psycopg.connect(served.database) as connection:
            connection.execute("TRUNCATE uses, held, replays")

    def named(self, client: httpx.Client, customer_id: str = "c-0300") -> list[str]:
        return offered(ask(client, customer_id, placements=[{"name": "all", "limit": 20}]))

    def post(
        self, client: httpx.Client, path: str, body: Any = None, name: str | None = None
    ) -> Any:
        headers = {"Idempotency-Key": name} if name else {}
        return client.post(f"/v1/{path}", json=body, headers=headers)

    def body(self, customer_id: str = "c-0300", **changed: Any) -> dict[str, Any]:
        return {"customer_id": customer_id, "offer_id": "scarce", "channel": "app", **changed}

    def test_the_last_use_is_kept_for_who_activated_it_and_shown_to_nobody_else(
        self, served: Served, client: httpx.Client, scarce: str
    ) -> None:
        kept = self.post(client, "activations", self.body()).json()
        assert kept["refused"] is None
        assert datetime.fromisoformat(kept["expires_at"]) > AT
        rival = self.post(client, "activations", self.body("c-0301")).json()
        assert rival == {"activation_id": None, "expires_at": None, "refused": "cap_reached"}
        assert within(5, lambda: all(scarce not in self.named(client, "c-0301") for _ in range(8)))
        # Hers is reserved: she goes on seeing it until she uses it.
        assert scarce in self.named(client)
        used = self.post(
            client, "redemptions", self.body(activation_id=kept["activation_id"], order_id="r-1")
        ).json()
        assert used == {"redemption_id": kept["activation_id"], "refused": None}
        assert served.rows(
            "SELECT kind, event ->> 'order_id' FROM outcomes WHERE event_id = %s",
            own_id("redeem", kept["activation_id"]),
        ) == [("redeem", "r-1")]

    def test_a_return_gives_the_use_back_and_twice_is_as_once(
        self, client: httpx.Client, scarce: str
    ) -> None:
        used = self.post(client, "redemptions", self.body(channel="till")).json()["redemption_id"]
        assert self.post(client, "redemptions", self.body("c-0301")).json()["refused"]
        reversed_ = [self.post(client, f"redemptions/{used}/reverse") for _ in range(2)]
        assert [one.json() for one in reversed_] == [
            {"state": "reversed", "changed": True},
            {"state": "reversed", "changed": False},
        ]
        assert self.post(client, "redemptions", self.body("c-0301")).json()["refused"] is None

    def test_a_cancelled_reservation_is_free_at_once(
        self, client: httpx.Client, scarce: str
    ) -> None:
        kept = self.post(client, "activations", self.body()).json()["activation_id"]
        assert self.post(client, f"activations/{kept}/cancel").json()["state"] == "released"
        assert self.post(client, "activations", self.body("c-0301")).json()["refused"] is None
        late = self.post(client, f"redemptions/{kept}/reverse")
        assert (late.status_code, late.json()["code"]) == (409, "redemption_released")

    def test_the_same_idempotency_key_does_nothing_twice(
        self, client: httpx.Client, scarce: str
    ) -> None:
        first, again = (self.post(client, "redemptions", self.body(), "key-1") for _ in range(2))
        assert first.json() == again.json()
        assert first.json()["refused"] is None
        other = self.post(client, "redemptions", self.body("c-0301"), "key-1")
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
        too_long = self.post(client, "redemptions", self.body(), "k" * 201)
        assert too_long.json()["code"] == "invalid_idempotency_key"

    def test_a_repeated_end_is_answered_as_before(self, client: httpx.Client, scarce: str) -> None:
        kept = self.post(client, "activations", self.body()).json()["activation_id"]
        for _ in range(2):
            told = self.post(client, f"activations/{kept}/cancel", name="end-1")
            assert told.json() == {"state": "released", "changed": True}
        used = self.post(client, "redemptions", self.body()).json()["redemption_id"]
        for _ in range(2):
            told = self.post(client, f"redemptions/{used}/reverse", name="end-1")
            assert told.json() == {"state": "reversed", "changed": True}
        assert self.post(client, f"redemptions/{used}/reverse", name="end-2").json() == {
            "state": "reversed",
            "changed": False,
        }

    def test_an_offer_that_is_not_for_her_is_refused_with_its_reason(
        self, client: httpx.Client, scarce: str
    ) -> None:
        for offer_id, reason in (("nothing", "unknown_offer"), ("past-1", "expired")):
            answer = self.post(client, "activations", self.body(offer_id=offer_id)).json()
            assert answer["refused"] == reason

    @pytest.mark.parametrize(
        "path", ["activations", "activations/a/cancel", "redemptions", "redemptions/r/reverse"]
    )
    def test_need_a_key_that_may_tell_outcomes(self, served: Served, path: str) -> None:
        asked = served.admin.make_key("asks only", ["decide"])
        for key, status in (("rgl_unknown", 401), (asked, 403)):
            with served.client(key) as client:
                assert self.post(client, path, self.body()).status_code == status

    def test_unknown_uses_are_not_found(self, client: httpx.Client) -> None:
        for path in (
            "activations/none/cancel",
            "redemptions/none/reverse",
            "redemptions/%00/reverse",
        ):
            response = self.post(client, path)
            assert (response.status_code, response.json()["code"][:8]) == (404, "unknown_")


class TestOutcomes:
    def test_told_twice_count_once(self, client: httpx.Client, served: Served) -> None:
        events = [
            event("told-1"),
            event("told-2", kind="redeem", offer_id="live-coffee", value=1.5),
            event(
                "told-3",
                kind="purchase",
                store_id="s-1",
                order_id="r-1",
                lines=[
                    {"line_id": "l-1", "product_id": "coffee-1", "quantity": 1, "amount": 4.5},
                    {"line_id": "l-2", "product_id": "dairy-1", "quantity": 2, "amount": -0.1},
                ],
            ),
        ]
        first = client.post("/v1/outcomes", json={"events": events})
        assert (first.status_code, first.json()) == (
            200,
            {"accepted": 3, "repeated": 0, "spooled": 0},
        )
        again = client.post("/v1/outcomes", json={"events": [*events, event("told-4")]})
        assert again.json() == {"accepted": 1, "repeated": 3, "spooled": 0}
        assert served.rows("SELECT count(*) FROM outcomes WHERE event_id LIKE 'told-%%'") == [(4,)]

    def test_under_a_known_id_with_other_content_are_refused_whole(
        self, client: httpx.Client, served: Served
    ) -> None:
        client.post("/v1/outcomes", json={"events": [event("changed-1")]})
        events = [event("changed-0"), event("changed-1", kind="dismiss"), event("changed-2")]
        response = client.post("/v1/outcomes", json={"events": events})
        check_problem(response, 409, "event_changed", "events")
        assert "'changed-1'" in response.json()["detail"]
        rows = served.rows("SELECT event_id FROM outcomes WHERE event_id LIKE 'changed-%%'")
        assert rows == [("changed-1",)]

    def test_that_wait_for_each_other_keep_no_decision_waiting(self, served: Served) -> None:
        async def story() -> None:
            headers = {"Authorization": f"Bearer {served.key}"}
            async with httpx.AsyncClient(
                base_url=served.url, headers=headers, timeout=30, trust_env=False
            ) as one:
                told = {"events": [event("held")]}
                telling = [
                    asyncio.create_task(one.post("/v1/outcomes", json=told)) for _ in range(60)
                ]
                await asyncio.sleep(0.5)
                began = time.monotonic()
                asked = {"customer_id": "c-0060", **CHECKOUT}
                for _ in range(20):
                    answer = await one.post("/v1/decisions", json=asked)
                    assert answer.status_code == 200
                assert time.monotonic() - began < 3
                # None waits for ever: they are on disk, and written when the database takes them.
                for response in await asyncio.gather(*telling):
                    assert response.json() == {"accepted": 0, "repeated": 0, "spooled": 1}

        with psycopg.connect(served.database) as connection:
            # The same event, in a transaction that does not end: every telling waits for it.
            connection.execute(
                "INSERT INTO outcomes (event_id, customer_id, at, kind, event, digest) "
                "VALUES ('held', 'c-1', now(), 'view', '{}', '')"
            )
            asyncio.run(story())
            connection.rollback()


def check_problem(
    response: httpx.Response, status: int, code: str, field: str | None = None
) -> None:
    """RFC 9457: the media type, and status and title also in the body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:regulars:{code}"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    assert problem.get("field") == field


def body(**changed: Any) -> bytes:
    return json.dumps({"customer_id": "c-0001", **CHECKOUT, **changed}).encode()


class TestBadRequest:
    @pytest.mark.parametrize(
        ("sent", "status", "code", "field"),
        [
            (b"", 400, "not_json", None),
            (b"{", 400, "not_json", None),
            (b'{"customer_id": "c-1",}', 400, "not_json", None),
            (b'{"customer_id": "\xff"}', 400, "not_json", None),
            (b'{"customer_id": "\\ud800"}', 400, "not_json", None),
            (b"[]", 422, "invalid_request", None),
            (b"[" * 500_000, 422, "invalid_request", None),
            (b"null", 422, "invalid_request", None),
            (b"{}", 422, "invalid_request", "customer_id"),
            (body(customer_id=7), 422, "invalid_request", "customer_id"),
            (body(customer_id=""), 422, "invalid_request", "customer_id"),
            (body(customer_id="a\x00b"), 422, "invalid_request", "customer_id"),
            (body(customer_id="x" * 201), 422, "invalid_request", "customer_id"),
            (body(channel="pigeon"), 422, "invalid_request", "channel"),
            (body(nonsense=1), 422, "invalid_request", "nonsense"),
            (body(placements=[]), 422, "invalid_request", "placements"),
            (body(placements=[{"name": "a"}] * 11), 422, "invalid_request", "placements"),
            (body(placements=[{"limit": 1}]), 422, "invalid_request", "placements[0].name"),
            (body(placements=[{"name": "a", "limit": 0}]), 422, "invalid_request",
             "placements[0].limit"),
            (body(placements=[{"name": "a", "limit": 21}]), 422, "invalid_request",
             "placements[0].limit"),
            (body(placements=[{"name": "a", "limit": 1.5}]), 422, "invalid_request",
             "placements[0].limit"),
            (body(context={"basket": [{"product_id": "p", "quantity": 1, "amount": "4"}]}), 422,
             "invalid_request", "context.basket[0].amount"),
            (body(context={"basket": [{"product_id": "p", "quantity": 1, "amount": 1e12}]}), 422,
             "invalid_request", "context.basket[0].amount"),
            (body(context={"basket": [{"product_id": "p", "quantity": 1, "amount": 1.005}]}), 422,
             "invalid_value", "context.basket"),
        ],
    )  # fmt: skip
    def test_for_a_decision_names_the_field_and_what_is_wrong(
        self, client: httpx.Client, sent: bytes, status: int, code: str, field: str | None
    ) -> None:
        check_problem(client.post("/v1/decisions", content=sent), status, code, field)

    @pytest.mark.parametrize(
        ("changed", "code", "field"),
        [
            ({"at": "yesterday"}, "invalid_request", "events[1].at"),
            ({"at": "2026-01-01T00:00:00"}, "invalid_request", "events[1].at"),
            ({"at": "0001-01-01T00:00:00+14:00"}, "invalid_value", "events[1]"),
            ({"at": "1969-12-31T23:59:59Z"}, "invalid_value", "events[1]"),
            ({"at": (AT + timedelta(days=3)).isoformat()}, "invalid_value", "events[1]"),
            ({"kind": "sneeze"}, "invalid_request", "events[1].kind"),
            ({"kind": "redeem", "value": 1.234}, "invalid_value", "events[1]"),
            ({"value": "1"}, "invalid_request", "events[1].value"),
            ({"text": "a\x00b"}, "invalid_request", "events[1].text"),
            ({"event_id": 5}, "invalid_request", "events[1].event_id"),
            ({"more": 1}, "invalid_request", "events[1].more"),
            ({"lines": [{"line_id": "l"}]}, "invalid_request", "events[1].lines[0].product_id"),
        ],
    )
    def test_for_outcomes_names_the_field_and_writes_nothing(
        self,
        client: httpx.Client,
        served: Served,
        changed: dict[str, Any],
        code: str,
        field: str,
    ) -> None:
        events = [event("bad-0"), {**event("bad-1"), **changed}]
        check_problem(client.post("/v1/outcomes", json={"events": events}), 422, code, field)
        assert served.rows("SELECT count(*) FROM outcomes WHERE event_id LIKE 'bad-%%'") == [(0,)]

    def test_of_too_many_outcomes_is_told(self, client: httpx.Client) -> None:
        events = [event(f"many-{n}") for n in range(1001)]
        check_problem(
            client.post("/v1/outcomes", json={"events": events}), 422, "invalid_request", "events"
        )

    def test_too_large_is_refused_also_when_its_size_is_not_announced(
        self, client: httpx.Client
    ) -> None:
        large = body() + b" " * 2_000_000
        check_problem(client.post("/v1/decisions", content=large), 413, "too_large")

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(large), 65_536):
                yield large[start : start + 65_536]

        check_problem(client.post("/v1/decisions", content=pieces()), 413, "too_large")
        # And the next request of the same caller is answered.
        assert ask(client, "c-0001")["customer_id"] == "c-0001"

    def test_without_a_key_that_may_is_refused(self, served: Served) -> None:
        deciding = served.admin.make_key("only decides", ("decide",))
        telling = served.admin.make_key("only tells", ("outcomes",))
        with httpx.Client(base_url=served.url, trust_env=False) as stranger:
            for headers in ({}, {"Authorization": served.key}, {"Authorization": "Basic eA=="}):
                response = stranger.post("/v1/decisions", content=body(), headers=headers)
                check_problem(response, 401, "no_key")
                assert response.headers["www-authenticate"] == "Bearer"
            for key in ("rgl_guessed", "é"):
                headers = {"Authorization": f"Bearer {key}".encode("latin-1")}
                response = stranger.post("/v1/outcomes", content=body(), headers=headers)
                check_problem(response, 401, "unknown_key")
        with served.client(deciding) as decider, served.client(telling) as teller:
            assert ask(decider, "c-0001")
            check_problem(decider.post("/v1/outcomes", content=b"{"), 403, "scope_missing")
            told = teller.post("/v1/outcomes", json={"events": [event("scope-1")]})
            assert told.status_code == 200
            check_problem(teller.post("/v1/decisions", content=body()), 403, "scope_missing")

    def test_of_an_unknown_place_or_method_is_a_problem_too(self, client: httpx.Client) -> None:
        check_problem(client.get("/v1/nothing"), 404, "not_found")
        response = client.get("/v1/decisions")
        check_problem(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "POST"

    def test_that_ends_in_its_middle_leaves_no_fault_in_the_log(self, served: Served) -> None:
        host, _, port = served.url.removeprefix("http://").partition(":")
        before = len(served.log.read_text())
        for _ in range(4):
            with socket.create_connection((host, int(port))) as gone:
                gone.sendall(
                    b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n"
                    b"Authorization: Bearer " + served.key.encode() + b"\r\n\r\n{"
                )
        time.sleep(0.5)
        lines = [json.loads(line) for line in served.log.read_text()[before:].splitlines()]
        # What other tests left on disk may arrive meanwhile.
        assert [line for line in lines if line["event"] != "passed on"] == []


class TestKeys:
    def test_made_after_the_start_work_at_once_and_revoked_ones_soon_not(
        self, served: Served
    ) -> None:
        for n in range(6):
            key = served.admin.make_key(f"till {n}", ("decide",))
            with served.client(key) as till:
                assert till.post("/v1/decisions", content=body()).status_code == 200
                served.admin.revoke_key(key)
                assert within(
                    5,
                    lambda till=till: till.post("/v1/decisions", content=body()).status_code == 401,
                )

    def test_are_refused_quickly_also_under_a_storm_of_guesses(self, served: Served) -> None:
        async def storm() -> list[int]:
            async with httpx.AsyncClient(base_url=served.url, timeout=30, trust_env=False) as one:
                posts = [
                    one.post(
                        "/v1/decisions",
                        content=body(),
                        headers={"Authorization": f"Bearer rgl_{n}"},
                    )
                    for n in range(200)
                ]
                return [response.status_code for response in await asyncio.gather(*posts)]

        reads = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'api_keys'"
        [(before,)] = served.rows(reads)
        began = time.monotonic()
        assert set(asyncio.run(storm())) == {401}
        assert time.monotonic() - began < 10
        time.sleep(1.2)
        [(after,)] = served.rows(reads)
        # Ten looks a second and worker at most, and two a second to keep up to date.
        assert after - before < (time.monotonic() - began + 1) * 2 * 12

    def test_are_never_kept_or_logged_in_the_clear(self, served: Served) -> None:
        key = served.admin.make_key("watched", SCOPES)
        with served.client(key) as watched:
            ask(watched, "c-0042")
            watched.post("/v1/decisions", content=b"{")
            watched.post("/v1/outcomes", json={"events": [event("fault-1", "c-0042")]})
            with psycopg.connect(served.database, autocommit=True) as connection:
                # A fault of our own, in the middle of a request that carries key and customer.
                connection.execute("ALTER TABLE outcomes RENAME TO outcomes_away")
                connection.execute("ALTER TABLE uses RENAME TO uses_away")
                try:
                    claim = {"customer_id": "c-0042", "offer_id": "live-bakery", "channel": "app"}
                    for path, sent in (
                        ("/v1/decisions", body(customer_id="c-0043")),
                        ("/v1/outcomes", json.dumps({"events": [event("fault-2")]}).encode()),
                        ("/v1/activations", json.dumps(claim).encode()),
                        ("/v1/redemptions", json.dumps(claim).encode()),
                        ("/v1/activations/use-of-c-0042/cancel", b""),
                        ("/v1/redemptions/use-of-c-0042/reverse", b""),
                    ):
                        replay = {"Idempotency-Key": "receipt of c-0042"}
                        answer = watched.post(path, content=sent, headers=replay)
                        check_problem(answer, 500, "fault")
                        assert key not in answer.text
                finally:
                    connection.execute("ALTER TABLE outcomes_away RENAME TO outcomes")
                    connection.execute("ALTER TABLE uses_away RENAME TO uses")
                # One that PostgreSQL explains with the row that broke the rule.
                connection.execute(
                    "ALTER TABLE outcomes ADD CONSTRAINT nobody CHECK (customer_id = '') NOT VALID"
                )
                try:
                    sent = {"events": [event("fault-3", "c-0042")]}
                    check_problem(watched.post("/v1/outcomes", json=sent), 500, "fault")
                finally:
                    connection.execute("ALTER TABLE outcomes DROP CONSTRAINT nobody")
            ask(watched, "c-0043")
            # A fault counts as what it is.
            faults = 'regulars_request_seconds_count{path="/v1/decisions",status="500"} 1.0'
            assert faults in watched.get("/metrics").text
        log = served.log.read_text()
        assert "UndefinedTableError" in log
        assert "CheckViolationError" in log
        for secret in (key, served.key, key[4:], "c-0042", "c-0043"):
            assert secret not in log
        # One line of JSON for each thing that happened.
        for line in log.splitlines():
            json.loads(line)
        dump = "".join(
            str(served.rows(f"SELECT {table}::text FROM {table}"))  # noqa: S608
            for table in ("api_keys", "decisions", "outcomes", "offers", "experiments")
        )
        assert hash_key(key).hex() in dump
        assert key not in dump
        assert key[4:] not in dump
        # Nor does any process of the service show it to who lists processes.
        shown = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline")]
        assert not [line for line in shown if key.encode() in line]


class TestOperation:
    def test_health_tells_life_and_readiness(self, client: httpx.Client) -> None:
        assert client.get("/health/live").json() == {"status": "live"}
        ready = {"status": "ready", "causes": [], "refused": []}
        assert client.get("/health/ready").json() == ready

    def test_metrics_are_of_both_workers_together(self, served: Served) -> None:
        def figure(name: str, **labels: str) -> float:
            with served.client() as one:
                text = one.get("/metrics").text
            label = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
            found = re.search(rf"^{re.escape(name)}\{{{re.escape(label)}\}} (\S+)$", text, re.M)
            return 0.0 if found is None else float(found.group(1))

        def decisions() -> float:
            return figure("regulars_decisions_total", channel="web", policy="response")

        before = decisions()
        for n in range(40):
            with served.client() as one:
                ask(one, f"c-{n:04}", channel="web")
        # Whichever worker is asked, it tells of all.
        assert {decisions() - before for _ in range(8)} == {40}
        path = {"path": "/v1/decisions"}
        assert figure("regulars_request_seconds_count", **path, status="200") >= 40
        # Nobody can make series by guessing paths.
        with served.client() as one:
            one.get("/v1/guess-1")
            assert "guess" not in one.get("/metrics").text

    def test_metrics_count_outcomes_and_refusals(self, served: Served) -> None:
        def total(name: str) -> float:
            with served.client() as one:
                found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", one.get("/metrics").text, re.M)
            return sum(map(float, found))

        with served.client() as one:
            told, refused = total("regulars_outcomes_total"), total("regulars_refusals_total")
            events = {"events": [event(f"counted-{n}") for n in range(7)]}
            one.post("/v1/outcomes", json=events)
            one.post("/v1/outcomes", json=events)
            assert total("regulars_outcomes_total") - told == 7
            ask(one, "c-0001", channel="call")
            [(catalogue,)] = served.rows("SELECT count(*) FROM offers")
            assert total("regulars_refusals_total") - refused == catalogue

    def test_openapi_describes_requests_answers_and_problems(self, client: httpx.Client) -> None:
        document = client.get("/openapi.json").json()
        schemas = document["components"]["schemas"]
        for path, asked, answered in (
            ("/v1/decisions", "DecisionRequest", "DecisionAnswer"),
            ("/v1/outcomes", "OutcomeRequest", "OutcomeAnswer"),
        ):
            post = document["paths"][path]["post"]
            assert post["requestBody"]["content"]["application/json"]["schema"] == {
                "$ref": f"#/components/schemas/{asked}"
            }
            good = post["responses"]["200"]["content"]["application/json"]["schema"]
            assert good == {"$ref": f"#/components/schemas/{answered}"}
            assert post["security"] == [{"key": []}]
            for status in ("400", "401", "403", "413", "422", "503"):
                content = post["responses"][status]["content"]
                assert list(content) == ["application/problem+json"]
        assert document["paths"]["/v1/outcomes"]["post"]["responses"]["409"]
        assert set(schemas["DecisionRequest"]["required"]) == {
            "customer_id", "channel", "placements"
        }  # fmt: skip
        named = json.dumps(document)
        for reference in set(re.findall(r'"#/components/schemas/(\w+)"', named)):
            assert reference in schemas
        assert "/docs" not in document["paths"]
        page = client.get("/docs").text
        # Nothing of the page comes from another machine, which may not be reached from a shop.
        places = re.findall(r"""(?:src|href|url)["']?\s*[=:]\s*["']([^"']+)""", page)
        assert len(places) == 4
        assert not [one for one in places if "//" in one]
        assert {client.get(f"/{one}").status_code for one in places} == {200}


RESPONSE = Policy("response", 0.1)


class Failing:
    """A champion that cannot be loaded until it can."""

    def __init__(self) -> None:
        self.broken = True

    def __call__(self) -> None:
        if self.broken:
            raise OSError("the tracking server hung up")


class Nonsense:
    """A model whose last answer is no number."""

    def __init__(self, model: Any) -> None:
        self.names, self.feature_hash = model.names, model.feature_hash

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        found = np.full(len(matrix), 0.1)
        found[-1:] = np.nan
        return found


class Behind:
    """A sound model on a machine that has no time for it, or no sound model after all."""

    def __init__(self, model: Any) -> None:
        self.names, self.feature_hash, self._model = model.names, model.feature_hash, model
        self.fault: Exception | None = None
        self.seconds = 0.0

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        return self._model.predict(matrix)


def shadow_counts(result: str) -> float:
    return metrics.SHADOW.labels("response@9", result)._value.get()


def shadow_top(offer: str) -> float:
    return metrics.SHADOW_TOP.labels("response@9", "response@1", offer)._value.get()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to hold in 5 s")


class TestTakingOver:
    """What changes under a running service, seen from inside one process."""

    @pytest.mark.parametrize("kept_in", ["lmdb", "redis"])
    def test_a_snapshot_with_other_features_meets_no_request_half_changed(
        self, house: House, tmp_path: Path, kept_in: str
    ) -> None:
        with contextlib.ExitStack() as stack:
            if kept_in == "redis":
                url = stack.enter_context(redis_server()).url
                publish, store = partial(redis_profiles.publish_snapshot, url), redis_store(url)
            else:
                publish, store = partial(publish_snapshot, tmp_path), LmdbProfiles(tmp_path)
            self.meets_no_request_half_changed(house, publish, store, f"{kept_in}-")

    def meets_no_request_half_changed(
        self, house: House, publish_snapshot: Any, store: ProfileStore, who: str
    ) -> None:
        def publish(names: tuple[str, ...]) -> None:
            people = [
                Profile(f"{who}{n}", None, None, np.arange(len(names)) * 1.0, {}) for n in range(9)
            ]
            publish_snapshot(iter(people), as_of=AT, names=names, feature_hash="-".join(names))

        async def story() -> None:
            publish(("a", "b"))
            async with in_process(house, store, lambda: None) as running:
                stop = asyncio.Event()
                answered = 0

                async def ask_on(n: int) -> None:
                    nonlocal answered
                    while not stop.is_set():
                        await running.decide(request(f"{who}{n}"))
                        answered += 1

                async def go_on() -> None:
                    """Let so many be answered that some began after what came before."""
                    before = answered
                    await until(lambda: answered > before + 30)

                asking = [asyncio.create_task(ask_on(n)) for n in range(9)]
                for size in (3, 1, 4, 2):
                    await go_on()
                    publish(tuple("abcd"[:size]))
                    await running.refresh()
                await go_on()
                stop.set()
                await asyncio.gather(*asking)

        asyncio.run(story())
        records = [
            record
            for record in records_in(str(house.settings.database_url)).values()
            if record.customer_id[:-1] == who
        ]
        assert all(record.known for record in records)
        # Each snapshot has its own length of vector.
        by_snapshot = {(record.versions.snapshot, len(record.vector or [])) for record in records}
        assert len(by_snapshot) == len({snapshot for snapshot, _ in by_snapshot}) == 5

    def test_a_champion_that_cannot_be_loaded_leaves_fallbacks_until_it_can(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live_module, "MODEL_SECONDS", 0.2)
        champion = Failing()

        async def story() -> None:
            async with in_process(house, house.profiles(), champion) as running:
                assert await running.causes() is not None
                answer = await running.decide(request("c-0050"))
                assert answer.degraded
                assert answer.causes == ["the champion model cannot be loaded (OSError)"]
                assert answer.placements[0].fallback
                assert len(answer.placements[0].offers) == 3
                champion.broken = False
                for _ in range(100):
                    answer = await running.decide(request("c-0050"))
                    if answer.causes != ["the champion model cannot be loaded (OSError)"]:
                        break
                    await asyncio.sleep(0.05)
                assert answer.causes == ["no champion model; run 'regulars train response'"]

        asyncio.run(story())

    def test_a_champion_that_fails_its_self_check_is_refused_and_the_one_before_stays(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live_module, "MODEL_SECONDS", 0.2)
        model = house.models.load("champion")
        assert model is not None
        other = replace(model, feature_hash="another")
        live = [LiveModel("response@1", model)]
        admin = PostgresAdmin(str(house.settings.database_url))

        async def crowned(running: DecisionService, new: LiveModel) -> None:
            live[0] = new
            admin.touch_catalogue()
            await asyncio.sleep(1.5)

        async def story() -> None:
            async with in_process(house, house.profiles(), lambda: live[0]) as running:
                assert (await running.decide(request("c-0050"))).versions.model == "response@1"
                assert list(running.live.refused) == []
                for new, reason in (
                    (LiveModel("response@2", model, 0.999), "0.999 when it was trained"),
                    (LiveModel("response@2", other), "was trained on features another"),
                    (LiveModel("response@2", Nonsense(model)), "answered nan"),
                ):
                    await crowned(running, new)
                    answer = await running.decide(request("c-0050"))
                    assert (answer.versions.model, answer.degraded) == ("response@1", False)
                    (told,) = running.live.refused
                    assert told.startswith("the champion model response@2 is refused: ")
                    assert told.endswith("; response@1 stays")
                    assert reason in told
                    assert await running.causes() is not None
                await crowned(running, LiveModel("response@2", model))
                assert (await running.decide(request("c-0050"))).versions.model == "response@2"
                assert list(running.live.refused) == []

        try:
            asyncio.run(story())
        finally:
            admin.close()

    def test_a_model_that_is_not_there_is_looked_for_only_when_the_catalogue_moves(
        self, house: House
    ) -> None:
        looks: list[str] = []
        admin = PostgresAdmin(str(house.settings.database_url))

        async def story() -> None:
            serving = in_process(
                house,
                house.profiles(),
                lambda: looks.append("response"),
                lambda: looks.append("uplift"),
            )
            async with serving:
                # At the start, and again when the snapshot is there.
                await asyncio.sleep(1.2)
                at_the_start = sorted(looks)
                assert set(at_the_start) == {"response", "uplift"}
                assert len(at_the_start) <= 4
                await asyncio.sleep(1.1)
                assert sorted(looks) == at_the_start
                looks.clear()
                admin.touch_catalogue()
                await asyncio.sleep(1.1)
                assert sorted(looks) == ["response", "uplift"]

        try:
            asyncio.run(story())
        finally:
            admin.close()

    def test_a_first_champion_that_fails_its_self_check_leaves_fallbacks_that_say_so(
        self, house: House
    ) -> None:
        model = house.models.load("champion")
        assert model is not None

        async def story() -> None:
            champion = LiveModel("response@1", Nonsense(model))
            async with in_process(house, house.profiles(), lambda: champion) as running:
                answer = await running.decide(request("c-0050"))
                assert answer.placements[0].fallback
                (told,) = answer.causes
                assert told.startswith("the champion model response@1 is refused: ")
                assert "answered nan" in told

        asyncio.run(story())

    def test_a_shadow_that_fails_or_is_slow_changes_no_answer_and_delays_none(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shadow_module, "LONGEST_QUEUE", 4)
        model = house.models.load("champion")
        assert model is not None
        behind = Behind(model)

        async def asked(running: DecisionService, n: int) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = []
            for i in range(n):
                answer = await running.decide(request(f"c-{i:04}"))
                offers = answer.placements[0].offers
                found.append((answer.degraded, [(o.offer_id, o.score) for o in offers]))
            return found

        async def story() -> None:
            champion = LiveModel("response@1", model)
            shadow = LiveModel("response@9", behind)
            policy = Policy("response")
            profiles = house.profiles()
            async with in_process(house, profiles, lambda: champion, policy=policy) as running:
                alone = await asked(running, 20)
            serving = in_process(
                house,
                profiles,
                lambda: champion,
                policy=policy,
                shadows=lambda: {"response": shadow},
            )
            async with serving as running:
                for _ in range(100):
                    if running.live.shadow.names:
                        break
                    await asyncio.sleep(0.05)
                assert running.live.shadow.names == ["response@9"]
                assert await asked(running, 20) == alone
                await until(lambda: shadow_counts("scored") > 0)
                # The very same model puts the very same offer first.
                assert shadow_counts("scored") == shadow_top("same") > 0
                assert shadow_top("other") == 0

                behind.fault = RuntimeError("no such tree")
                assert await asked(running, 20) == alone
                await until(lambda: shadow_counts("failed") > 0)

                behind.fault, behind.seconds = None, 0.5
                dropped, started = shadow_counts("dropped"), time.perf_counter()
                assert await asked(running, 20) == alone
                # One after the other the shadow needs 10 s for these.
                assert time.perf_counter() - started < 5
                assert shadow_counts("dropped") - dropped >= 10
                behind.seconds = 0.0

        asyncio.run(story())

    def test_a_shadow_that_cannot_be_loaded_or_fails_its_self_check_scores_nothing(
        self, house: House
    ) -> None:
        model = house.models.load("champion")
        assert model is not None
        shadows: list[Callable[[], Any]] = [
            lambda: {"response": LiveModel("response@8", Nonsense(model))},
            Failing(),
        ]

        async def story(load: Callable[[], Any]) -> None:
            champion = LiveModel("response@1", model)
            serving = in_process(house, house.profiles(), lambda: champion, shadows=load)
            async with serving as running:
                await asyncio.sleep(1.2)
                answer = await running.decide(request("c-0050"))
                assert (answer.degraded, answer.versions.model) == (False, "response@1")
                assert running.live.shadow.names == []

        for load in shadows:
            asyncio.run(story(load))

    def test_policy_uplift_waits_for_its_model_and_then_ranks_by_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live_module, "MODEL_SECONDS", 0.2)
        facts = house.profiles().facts()
        assert facts is not None
        model = OfferUplift(
            UpliftModel.of(
                {
                    "average": [70.0, -5.0], "average_error": [1.0, 1.0], "scale": {},
                    "best": "same", "sharpest": "t",
                    "n_features": len(facts.names) + len(CONTEXT_NAMES),
                    "outcomes": [], "scores": [], "centre": {},
                }
            ),
            ("live-coffee", "live-bakery"),
            (*facts.names, *CONTEXT_NAMES),
            facts.feature_hash,
            14,
        )  # fmt: skip
        failing = Failing()

        def uplift() -> LiveUplift:
            failing()
            return LiveUplift("uplift@4", model)

        async def story() -> None:
            chosen = Policy("uplift")
            serving = in_process(house, house.profiles(), lambda: None, uplift, chosen)
            async with serving as running:
                answer = await running.decide(request("c-0050"))
                assert "the uplift model cannot be loaded (OSError)" in answer.causes
                assert answer.placements[0].fallback
                failing.broken = False
                for _ in range(100):
                    answer = await running.decide(request("c-0050"))
                    if not answer.placements[0].fallback:
                        break
                    await asyncio.sleep(0.05)
                shown = [(o.offer_id, o.score) for o in answer.placements[0].offers]
                assert shown == [("live-coffee", 70.0)]
                assert (answer.versions.model, answer.versions.policy) == ("uplift@4", "uplift")

        asyncio.run(story())

    def test_a_champion_that_hangs_delays_neither_keys_nor_experiments(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service_module, "START_SECONDS", 1.0)
        admin = PostgresAdmin(str(house.settings.database_url))
        design = Experiment(
            key="meanwhile",
            salt="meanwhile",
            variants=[Variant("off", 0.5, policy="none"), Variant("on", 0.5)],
            control="off",
        )

        async def story() -> None:
            async with in_process(house, house.profiles(), lambda: time.sleep(4)) as running:
                answer = await running.decide(request("c-0050"))
                assert answer.causes == ["the champion model is still being loaded"]
                admin.start_experiment(design, datetime.now(UTC))
                key = admin.make_key("young", ("decide",))
                assert await running.keyring.facts(key)
                admin.revoke_key(key)
                for _ in range(40):
                    answer = await running.decide(request("c-0050"))
                    known = await running.keyring.facts(key)
                    if answer.experiments and known is None:
                        break
                    await asyncio.sleep(0.05)
                assert answer.experiments[0].key == "meanwhile"
                assert known is None
                assert answer.causes == ["the champion model is still being loaded"]

        try:
            asyncio.run(story())
        finally:
            admin.stop_experiment("meanwhile", datetime.now(UTC))
            admin.close()

    def test_without_a_database_is_told_and_a_key_is_not_called_unknown(
        self, house: House, tmp_path: Path
    ) -> None:
        # Nobody listens there: a till with a good key must hear "try again", not "bad key".
        async def story() -> None:
            nowhere = House(
                house.settings.model_copy(
                    update={
                        "database_url": "postgresql://postgres@127.0.0.1:1/postgres",
                        # Where nothing was known before; see tests/faults/test_outages.py.
                        "home": tmp_path,
                        "mlflow_tracking_uri": house.settings.mlflow_uri,
                    }
                )
            )
            running = nowhere.service("postgresql://postgres@127.0.0.1:1/postgres")
            await running.start()
            try:
                asked = await asyncio.gather(
                    *(running.keyring.facts("rgl_good") for _ in range(10)),
                    running.decide(request("c-0050")),
                    return_exceptions=True,
                )
                assert {type(one).__name__ for one in asked} == {"StoreUnavailable"}
                transport = httpx.ASGITransport(create_app(running))
                async with httpx.AsyncClient(transport=transport, base_url="http://x") as one:
                    headers = {"Authorization": "Bearer rgl_good"}
                    refused = await one.post("/v1/decisions", content=body(), headers=headers)
                    check_problem(refused, 503, "store_unavailable")
                    assert refused.headers["retry-after"] == "1"
                    check_problem(await one.get("/health/ready"), 503, "not_ready")
                    assert (await one.get("/health/live")).status_code == 200
            finally:
                await running.stop()

        asyncio.run(story())


def request(customer_id: str) -> DecisionRequest:
    return DecisionRequest(customer_id, "app", [AskedPlacement("checkout", 3)])


@contextlib.asynccontextmanager
async def in_process(
    house: House,
    profiles: ProfileStore,
    champion: Callable[[], Any],
    uplift: Callable[[], Any] = lambda: None,
    policy: Policy = RESPONSE,
    shadows: Callable[[], Any] = dict,
) -> AsyncGenerator[DecisionService]:
    pool = PostgresPool(str(house.settings.database_url))
    journal = PostgresJournal(pool)
    running = DecisionService(
        Parts(
            uses=PostgresUses(pool),
            contact_counter=PostgresContacts(pool, DEFAULT_CONTACT_POLICY),
            customers=PostgresCustomers(pool),
            kept_refusals=LastKnownRefusals(house.settings.last_known_folder),
            activation_seconds=60,
            ahead=FileWriteAhead(house.settings.spool_folder),
            spool=FileSpool(house.settings.spool_folder),
            deadline_seconds=5.0,
            clock=SystemClock(),
            catalogue=journal,
            journal=journal,
            keys=journal,
            profiles=profiles,
            champion=champion,
            uplift=uplift,
            policy=policy,
            time_zone="America/New_York",
            shadows=shadows,
        )
    )
    await running.start()
    try:
        yield running
    finally:
        await running.stop()

"""The client against a server that answers as told: what it sends, repeats and says."""

import contextlib
import json
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from regulars_client import AskedLine, AskedPlacement, Client, Outcome, Refused, Unavailable
from serving.examples import EXAMPLES

ACTIVATED = {"activation_id": "a-1", "expires_at": "2026-11-22T12:00:00Z", "refused": None}


class Told(BaseHTTPRequestHandler):
    """Answers the next thing it was told to, and keeps what it heard."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.heard.append((self.path, dict(self.headers), body))
        server.asked.append((self.command, self.path))
        status, headers, answer = server.answers.pop(0)
        if status == 0:
            # The answer is lost on its way.
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        self.do_POST()

    def do_GET(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def told(*answers: tuple[int, dict[str, str], Any]) -> Generator[tuple[Any, Client]]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    server.answers, server.heard, server.asked = list(answers), [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with Client(url, "rgl_key", seconds=2.0) as client:
            yield server, client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def problem(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {"type": "", "title": "", "status": status, "code": code, "detail": "why", **more}


def test_a_request_says_who_asks_and_what() -> None:
    answer = {
        "decision_id": "d-1",
        "customer_id": "ana",
        "degraded": False,
        "causes": [],
        "placements": [],
        "experiments": [],
        "versions": {"catalogue": 1, "model": None, "snapshot": None, "policy": "popular"},
    }
    with told((200, {}, answer)) as (server, client):
        found = client.decide(
            "ana",
            "app",
            [AskedPlacement("checkout", 2)],
            store_id="s-1",
            basket=[AskedLine("milk", 1.0, 3.9)],
        )

    assert found.decision_id == "d-1"
    path, headers, body = server.heard[0]
    assert path == "/v1/decisions"
    assert headers["Authorization"] == "Bearer rgl_key"
    assert json.loads(body) == {
        "customer_id": "ana",
        "channel": "app",
        "placements": [{"name": "checkout", "limit": 2}],
        "context": {
            "store_id": "s-1",
            "basket": [{"product_id": "milk", "quantity": 1.0, "amount": 3.9}],
        },
        "explain": False,
        "dry_run": False,
    }


@pytest.mark.parametrize("first", [(0, {}, b""), (503, {"Retry-After": "0"}, problem(503, "away"))])
def test_what_was_not_answered_is_asked_again_under_the_same_name(
    first: tuple[int, dict[str, str], Any],
) -> None:
    with told(first, (200, {}, ACTIVATED)) as (server, client):
        assert client.activate("ana", "latte", "app").activation_id == "a-1"

    names = [headers["Idempotency-Key"] for _, headers, _ in server.heard]
    assert len(names) == 2
    assert len(set(names)) == 1


def test_each_request_has_a_name_of_its_own() -> None:
    with told((200, {}, ACTIVATED), (200, {}, ACTIVATED)) as (server, client):
        client.activate("ana", "latte", "app")
        client.activate("ana", "latte", "app")

    assert len({headers["Idempotency-Key"] for _, headers, _ in server.heard}) == 2


def test_a_refusal_is_not_repeated_and_says_where() -> None:
    refusal = (422, {}, problem(422, "invalid_request", field="customer_id"))
    with told(refusal) as (server, client), pytest.raises(Refused) as caught:
        client.activate("", "latte", "app")

    assert (caught.value.code, caught.value.field) == ("invalid_request", "customer_id")
    assert str(caught.value) == "customer_id: why (invalid_request)"
    assert len(server.heard) == 1


def test_a_service_that_stays_away_is_called_away() -> None:
    away = (503, {"Retry-After": "0"}, problem(503, "store_unavailable"))
    with told(away, away, away) as (server, client), pytest.raises(Unavailable, match="3 tries"):
        client.activate("ana", "latte", "app")

    assert len(server.heard) == 3


def test_an_answer_of_somebody_else_is_told_as_such() -> None:
    with (
        told((502, {}, b"<html>bad gateway</html>")) as (_, client),
        pytest.raises(Refused, match="502 is none of the service's"),
    ):
        client.cancel("a/1")


def test_an_id_is_one_part_of_the_path() -> None:
    with told((200, {}, {"state": "released", "changed": True})) as (server, client):
        client.cancel("a/1?x")

    assert server.heard[0][0] == "/v1/activations/a%2F1%3Fx/cancel"


def test_a_decision_is_made_again_and_what_followed_it_is_told() -> None:
    again, told_of = EXAMPLES["ReplayAnswer"], EXAMPLES["OutcomeAnswer"]
    with told((200, {}, again), (200, {}, told_of)) as (server, client):
        replayed = client.replay("d/1")
        at = datetime(2026, 12, 3, 12, tzinfo=UTC)
        answer = client.tell([Outcome("e-1", "ana", at, "app", "view", offer_id="latte")])

    assert replayed.same
    assert answer.accepted == told_of["accepted"]
    assert server.asked == [("POST", "/v1/decisions/d%2F1/replay"), ("POST", "/v1/outcomes")]
    [event] = json.loads(server.heard[1][2])["events"]
    assert (event["event_id"], event["kind"], event["offer_id"]) == ("e-1", "view", "latte")


def test_what_a_customer_wants_is_told_and_asked_under_her_id() -> None:
    answers = (
        "ConsentsAnswer",
        "CustomerAnswer",
        "CustomerExport",
        "ErasedAnswer",
    )
    with told(*((200, {}, EXAMPLES[name]) for name in answers)) as (server, client):
        kept = client.consents("a/1", {"email": True, "push": False}, source="desk")
        known = client.customer("a/1")
        exported = client.export("a/1")
        erased = client.erase("a/1")

    assert kept.consents == {"email": True, "push": False}
    assert known.segments == {"rfm": "champions", "lifecycle": "active"}
    assert known.journey[0].at == datetime(2026, 12, 3, 12, 5, tzinfo=UTC)
    assert exported.lake["surveys"][0]["score"] == 9.0
    assert erased.rows["decisions"] == 12
    assert server.asked == [
        ("PUT", "/v1/customers/a%2F1/consents"),
        ("GET", "/v1/customers/a%2F1"),
        ("GET", "/v1/customers/a%2F1/export"),
        ("DELETE", "/v1/customers/a%2F1"),
    ]
    (_, put, body), (_, read, _), _, (_, delete, nothing) = server.heard
    assert json.loads(body) == {"consents": {"email": True, "push": False}, "source": "desk"}
    assert "Idempotency-Key" not in read
    assert put["Idempotency-Key"] != delete["Idempotency-Key"]
    assert nothing == b""


def test_an_erasure_that_was_not_heard_of_is_asked_again_under_the_same_name() -> None:
    with told((0, {}, b""), (200, {}, EXAMPLES["ErasedAnswer"])) as (server, client):
        client.erase("c-1")

    assert len({headers["Idempotency-Key"] for _, headers, _ in server.heard}) == 1
    assert [method for method, _ in server.asked] == ["DELETE", "DELETE"]


def test_a_marketer_changes_what_she_has_seen_and_is_told_what_was_made() -> None:
    policy = {"name": "half", "version": "v-2", "policy": {"kind": "random"}, "stored": True}
    with told((200, {}, policy), (201, {}, policy), (409, {}, problem(409, "used"))) as (
        server,
        client,
    ):
        seen = client.marketing.policy("half")
        made = client.marketing.put_policy("a/b", seen.policy, seen=seen.version)
        with pytest.raises(Refused, match="used"):
            client.marketing.remove_policy("half")

    assert made.version == "v-2"
    (_, read, _), (path, written, body), (_, removed, _) = server.heard
    assert "Idempotency-Key" not in read
    assert (path, written["If-Match"]) == ("/v1/policies/a%2Fb", '"v-2"')
    assert json.loads(body)["kind"] == "random"
    assert "If-Match" not in removed
    assert removed["Idempotency-Key"] != written["Idempotency-Key"]


def test_a_page_is_asked_for_by_where_it_begins() -> None:
    page = {"offers": [], "next": None}
    with told((200, {}, page), (200, {}, page)) as (server, client):
        client.marketing.offers()
        client.marketing.offers(after="a&b", limit=2)

    assert [path for path, _, _ in server.heard] == ["/v1/offers", "/v1/offers?after=a%26b&limit=2"]

"""Offers by the API: written, changed and withdrawn in lake and catalogue, each once."""

import json
import time
from typing import Any

import msgspec
import pytest

from regulars.jobs.publish import offered
from serving.office.offer_messages import ShownOffer
from tests.serving.office.conftest import Marketer

TERMS: dict[str, Any] = {
    "title": "One off coffee",
    "kind": "amount",
    "reward": 1.25,
    "cost": 1.25,
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_to": "2099-01-01T00:00:00Z",
    "channels": ["app"],
    "priority": 900,
    "budget": 1000.5,
}


def shown(marketer: Marketer) -> set[str]:
    """The offers that a decision considers."""
    asked = {
        "customer_id": "c-0001",
        "channel": "app",
        "placements": [{"name": "checkout", "limit": 1}],
        "explain": True,
        "dry_run": True,
    }
    answer = marketer.ask("POST", "/v1/decisions", asked)
    assert answer.status_code == 200, answer.text
    return {one["offer_id"] for one in answer.json()["considered"]}


def within(seconds: float, holds: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_an_offer_on_all_goods_of_a_grocer_can_be_read_and_sent_back(marketer: Marketer) -> None:
    # The largest campaigns of the grocer of the demo are on more than 35,000 articles.
    goods = [f"{number:07}" for number in range(40_000)]
    assert (
        marketer.ask("PUT", "/v1/offers/department", {**TERMS, "scope": goods}).status_code == 200
    )
    seen = marketer.ask("GET", "/v1/offers/department").json()
    assert len(seen["terms"]["scope"]) == 40_000
    again = marketer.ask("PUT", "/v1/offers/department", seen["terms"])
    assert (again.status_code, again.json()["version"]) == (200, seen["version"])
    # As the client reads it.
    assert msgspec.convert(seen, ShownOffer).terms.scope == goods
    marketer.ask("DELETE", "/v1/offers/department")


def test_an_offer_lives_from_its_writing_to_its_withdrawal(marketer: Marketer) -> None:
    added = marketer.ask("POST", "/v1/offers", {"offer_id": "latte", **TERMS}, key="k-1")
    assert added.status_code == 201, added.text
    answer = added.json()
    assert answer["warnings"] == []
    assert answer["waits"] is None
    # What was left out has its default, what was sent comes back as it was.
    assert answer["terms"].items() >= TERMS.items()
    assert answer["terms"]["stores"] == []
    assert within(5, lambda: "latte" in shown(marketer))
    # The lake has it in minor units, where training and reports find it.
    row = next(one for one in offered(marketer.house.lake) if one["offer_id"] == "latte")
    assert (row["reward"], row["cost"], row["budget"]) == (125.0, 125, 100050)

    one = marketer.ask("GET", "/v1/offers/latte")
    assert one.json() == {n: answer[n] for n in ("offer_id", "version", "terms")}
    assert one.headers["etag"] == f'"{answer["version"]}"'
    assert one.headers["etag"] == added.headers["etag"]

    changed = marketer.ask(
        "PUT", "/v1/offers/latte", {**TERMS, "title": "Two off"}, If_Match=one.headers["etag"]
    )
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] != one.headers["etag"]
    assert marketer.get("/v1/offers/latte")["terms"]["title"] == "Two off"

    gone = marketer.ask("DELETE", "/v1/offers/latte", key="k-2")
    assert gone.status_code == 200, gone.text
    assert gone.json() == {"offer_id": "latte", "reserved": 0}
    assert marketer.refused(404, "GET", "/v1/offers/latte")["code"] == "unknown_offer"
    assert within(5, lambda: "latte" not in shown(marketer))
    # History stays: only what is offered lacks it.
    lake = marketer.house.lake
    assert "latte" not in {one["offer_id"] for one in offered(lake)}
    assert "latte" in lake.fetch(lake.table("offers"))["offer_id"].to_pylist()

    done = [(action, subject) for _, action, subject in marketer.log()[:3]]
    assert done == [(w, "offer latte") for w in ("withdraw", "write", "write")]
    assert {who for who, _, subject in marketer.log() if subject == "offer latte"} == {
        "key 1 (Ana's planner)"
    }
    before, after = (marketer.admin.audit.of("offer latte")[1]).before, None
    assert before is not None
    assert before["title"] == "One off coffee"
    assert after is None


def test_an_offer_is_written_unchanged_without_a_trace(marketer: Marketer) -> None:
    marketer.ask("PUT", "/v1/offers/same", TERMS)
    written = len(marketer.log())
    again = marketer.ask("PUT", "/v1/offers/same", TERMS)
    assert again.status_code == 200
    assert len(marketer.log()) == written


def test_what_is_sent_again_is_done_once_and_answered_alike(marketer: Marketer) -> None:
    body = {"offer_id": "again", **TERMS}
    first = marketer.ask("POST", "/v1/offers", body, key="twice")
    # Written in another order it is the same request.
    second = marketer.ask("POST", "/v1/offers", dict(reversed(body.items())), key="twice")
    assert first.status_code == second.status_code == 201
    assert (first.content, first.headers["etag"]) == (second.content, second.headers["etag"])
    problem = marketer.refused(409, "POST", "/v1/offers", {**body, "title": "Other"}, key="twice")
    assert problem["code"] == "idempotency_key_reused"
    # On another path the same key is another request.
    assert marketer.ask("DELETE", "/v1/offers/again", key="twice").status_code == 200
    assert marketer.ask("DELETE", "/v1/offers/again", key="twice").status_code == 200
    assert marketer.refused(404, "DELETE", "/v1/offers/again", key="thrice")
    assert len([s for _, _, s in marketer.log() if s == "offer again"]) == 2


def test_what_was_refused_may_be_sent_again_under_its_key(marketer: Marketer) -> None:
    marketer.refused(404, "DELETE", "/v1/offers/later", key="early")
    marketer.ask("PUT", "/v1/offers/later", TERMS)
    assert marketer.ask("DELETE", "/v1/offers/later", key="early").status_code == 200


def test_an_offer_there_is_not_made_anew(marketer: Marketer) -> None:
    problem = marketer.refused(409, "POST", "/v1/offers", {"offer_id": "live-coffee", **TERMS})
    assert (problem["code"], problem["field"]) == ("offer_exists", "offer_id")


def test_a_version_that_was_not_seen_is_left_alone(marketer: Marketer) -> None:
    problem = marketer.refused(412, "PUT", "/v1/offers/live-coffee", TERMS, If_Match='"old"')
    assert (problem["code"], problem["field"]) == ("stale_version", "If-Match")
    assert marketer.refused(412, "DELETE", "/v1/offers/live-coffee", If_Match='"old"')
    assert marketer.refused(412, "PUT", "/v1/offers/nothing", TERMS, If_Match="*")
    # No version is called so.
    empty = marketer.refused(422, "PUT", "/v1/offers/nothing", TERMS, If_Match="")
    assert empty["field"] == "If-Match"
    seen = marketer.ask("GET", "/v1/offers/live-coffee")
    # What is read can be written as it is.
    kept = marketer.ask(
        "PUT", "/v1/offers/live-coffee", seen.json()["terms"], If_Match=seen.headers["etag"]
    )
    assert kept.headers["etag"] == seen.headers["etag"]


def test_a_list_comes_in_pages(marketer: Marketer) -> None:
    for number in range(3):
        marketer.ask("PUT", f"/v1/offers/page-{number}", TERMS)
    everything = [one["offer_id"] for one in marketer.get("/v1/offers")["offers"]]
    found, after = [], ""
    while True:
        page = marketer.get(f"/v1/offers?limit=2{after}")
        assert len(page["offers"]) <= 2
        found += [one["offer_id"] for one in page["offers"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == everything == sorted(everything)
    assert {"page-0", "page-1", "page-2", "live-coffee"} <= set(found)
    for bad in ("limit=0", "limit=201", "limit=two", "limit=²"):
        assert marketer.refused(422, "GET", f"/v1/offers?{bad}")["field"] == "limit"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"kind": "gratis"}, "kind"),
        ({"cost": -1}, "cost"),
        ({"cost": 1.234}, "cost"),
        ({"reward": 1.234}, "reward"),
        ({"kind": "percent", "reward": 100.5}, "reward"),
        ({"valid_to": TERMS["valid_from"]}, "valid_to"),
        ({"valid_to": "2027-01-01T00:00:00"}, "valid_to"),
        ({"valid_to": "2500-01-01T00:00:00Z"}, "valid_to"),
        ({"channels": ["radio"]}, "channels[0]"),
        ({"stores": ["a\u0000b"]}, "stores[0]"),
        ({"lever": 3}, "lever"),
        ({"attribution_days": 0}, "attribution_days"),
        ({"store_stock": {"s-1": -1}}, "store_stock[...]"),
        ({"store_stock": {"": 1}}, "store_stock"),
        ({"colour": "red"}, "colour"),
        ({"eligibility": {"feature": "height", "is": ">", "value": 1}}, "eligibility.feature"),
        ({"eligibility": {"any": []}}, "eligibility.any"),
        ({"eligibility": {"segment": "rfm", "in": ["champs"]}}, "eligibility"),
        ({"eligibility": {"attribute": "x", "in": ["\ud800"]}}, None),
    ],
)
def test_a_broken_offer_is_refused_with_its_field(
    marketer: Marketer, change: dict[str, Any], field: str | None
) -> None:
    body = json.dumps({**TERMS, **change}).encode()
    answer = marketer.client.put("/v1/offers/broken", content=body)
    assert answer.status_code == (422 if field else 400), answer.text
    assert answer.json().get("field") == field
    assert marketer.ask("GET", "/v1/offers/broken").status_code == 404


def test_more_than_the_whole_price_is_no_percentage(marketer: Marketer) -> None:
    asked = {**TERMS, "kind": "percent", "reward": 1e9}
    told = marketer.refused(422, "PUT", "/v1/offers/generous", asked)
    assert told["detail"] == (
        "offer 'generous': reward '1000000000.0' must be at most 100 where kind is percent"
    )
    assert marketer.ask("PUT", "/v1/offers/free", {**asked, "reward": 100}).status_code == 200
    points = {**asked, "kind": "points", "reward": 500}
    assert marketer.ask("PUT", "/v1/offers/points", points).status_code == 200


def test_a_field_that_is_missing_is_named(marketer: Marketer) -> None:
    assert marketer.refused(422, "POST", "/v1/offers", TERMS)["field"] == "offer_id"
    assert marketer.refused(422, "PUT", "/v1/offers/none", {})["field"] == "title"


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_is_refused(marketer: Marketer, body: bytes) -> None:
    answer = marketer.client.put("/v1/offers/none", content=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "not_json"


def test_a_body_too_large_is_refused_before_the_office_sees_it(marketer: Marketer) -> None:
    answer = marketer.client.put("/v1/offers/none", content=b" " * 2_000_001)
    assert answer.status_code == 413


def test_a_rule_that_must_be_counted_first_waits(marketer: Marketer) -> None:
    rule = {
        "count": {"event": "purchase", "where": {"category": ["COFFE"]}, "days": 30},
        "is": ">=",
        "value": 3,
    }
    answer = marketer.ask("PUT", "/v1/offers/waits", {**TERMS, "eligibility": rule})
    assert answer.status_code == 200
    assert "regulars segment" in answer.json()["waits"]
    assert answer.json()["warnings"] == [
        "no category here is called 'COFFE'; did you mean 'COFFEE'?"
    ]


def test_goods_and_stores_that_nobody_knows_are_told(marketer: Marketer) -> None:
    body = {**TERMS, "scope": ["coffee-1", "tea-1"], "stores": ["s-1", "s-99"]}
    warnings = marketer.ask("PUT", "/v1/offers/strange", body).json()["warnings"]
    assert [line.partition("'")[2].partition("'")[0] for line in warnings] == ["tea-1", "s-99"]


def test_an_id_of_any_letters_can_be_asked_for(marketer: Marketer) -> None:
    body = {"offer_id": "été 50 %?&#", **TERMS}
    assert marketer.ask("POST", "/v1/offers", body).status_code == 201
    path = "/v1/offers/%C3%A9t%C3%A9%2050%20%25%3F%26%23"
    assert marketer.get(path)["offer_id"] == "été 50 %?&#"
    assert marketer.ask("DELETE", path).status_code == 200


def test_pieces_by_store_are_counted_as_they_were_written(marketer: Marketer) -> None:
    body = {**TERMS, "store_stock": {"s-1": 1, "s-2": 0}}
    assert marketer.ask("PUT", "/v1/offers/piled", body).status_code == 200
    assert within(5, lambda: "piled" in shown(marketer))
    claims = [
        marketer.ask(
            "POST",
            "/v1/redemptions",
            {"customer_id": who, "offer_id": "piled", "channel": "app", "store_id": store},
        ).json()["refused"]
        for who, store in (("c-0001", "s-2"), ("c-0001", "s-1"), ("c-0002", "s-1"))
    ]
    assert claims == ["out_of_stock", None, "out_of_stock"]

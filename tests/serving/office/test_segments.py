"""Living segments by the API: the same versions, rules and refusals as on the command line."""

from typing import Any

import pytest

from regulars.jobs.living_segments import history
from tests.serving.office.conftest import Marketer

RULE = {"feature": "orders_365d", "is": ">=", "value": 20}
TERMS: dict[str, Any] = {"name": "Regulars", "rule": RULE}


def test_a_segment_has_a_version_a_change(marketer: Marketer) -> None:
    added = marketer.ask("POST", "/v1/segments", {"id": "often", **TERMS}, key="s-1")
    assert added.status_code == 201, added.text
    assert added.headers["etag"] == '"1"'
    assert (
        added.json().items()
        >= {
            "id": "often",
            "version": 1,
            "author": "key 1 (Ana's planner)",
            "status": "active",
            "customers": None,
            "warnings": [],
            "rule": RULE,
        }.items()
    )
    # Twice is once.
    assert marketer.ask("POST", "/v1/segments", {"id": "often", **TERMS}, key="s-1").content == (
        added.content
    )
    changed = marketer.ask(
        "PUT",
        "/v1/segments/often",
        {**TERMS, "note": "fewer", "author": "Ana"},
        If_Match='"1"',
    )
    assert changed.json()["version"] == 2
    # What says nothing new is no new version.
    again = marketer.ask(
        "PUT", "/v1/segments/often", {**TERMS, "note": "fewer", "author": "Ana"}, If_Match='"2"'
    )
    assert again.json()["version"] == 2
    stale = marketer.refused(412, "PUT", "/v1/segments/often", TERMS, If_Match='"1"')
    assert stale["code"] == "stale_version"

    gone = marketer.ask("DELETE", "/v1/segments/often", key="s-2")
    assert gone.json()["status"] == "archived"
    assert marketer.get("/v1/segments/often")["version"] == 3
    # Archived once is archived.
    assert marketer.ask("DELETE", "/v1/segments/often").json()["version"] == 3
    stored = history(marketer.house.lake, "often")
    assert [one.draft.author for one in stored] == [
        "key 1 (Ana's planner)",
        "Ana",
        "key 1 (Ana's planner)",
    ]
    logged = marketer.admin.audit.of("segment often")
    assert [(e.who, e.action, (e.after or {})["version"]) for e in logged] == [
        ("key 1 (Ana's planner)", "save", version) for version in (1, 2, 3)
    ]


def test_a_preview_counts_and_keeps_nothing(marketer: Marketer) -> None:
    saved = marketer.get("/v1/segments")
    answer = marketer.ask("POST", "/v1/segments/preview", {"rule": RULE})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    # Counted in the shop's own rows, by other means than the preview's.
    lake = marketer.house.lake
    bought = lake.fetch(lake.table("purchases").select("customer_id", "order_id").distinct())
    orders = bought.to_pandas().groupby("customer_id").order_id.nunique()
    assert 0 < found["customers"] == int((orders >= 20).sum()) < found["of"]
    assert len(found["sample"]) == 10
    assert set(found["sample"]) <= set(orders.index[orders >= 20])
    assert 0 < found["value_share"] <= 1
    assert marketer.get("/v1/segments") == saved


def test_what_is_asked_for_is_not_archived(marketer: Marketer) -> None:
    marketer.ask("PUT", "/v1/segments/asked", TERMS)
    rule = {"all": [{"segment": "asked"}, RULE]}
    marketer.ask("PUT", "/v1/segments/asking", {"name": "Asks", "rule": rule})
    for archived in (
        lambda: marketer.refused(409, "DELETE", "/v1/segments/asked"),
        lambda: marketer.refused(409, "PUT", "/v1/segments/asked", {**TERMS, "status": "archived"}),
    ):
        problem = archived()
        assert problem["code"] == "segment_in_use"
        assert "'asking'" in problem["detail"]
    marketer.ask("DELETE", "/v1/segments/asking")
    offer = {
        "title": "For them",
        "kind": "percent",
        "reward": 10,
        "cost": 1,
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_to": "2099-01-01T00:00:00Z",
        "eligibility": {"segment": "asked"},
    }
    written = marketer.ask("PUT", "/v1/offers/for-them", offer)
    # Known to the next run, not yet to the live snapshot.
    assert "asked" in written.json()["waits"]
    assert "'for-them'" in marketer.refused(409, "DELETE", "/v1/segments/asked")["detail"]
    marketer.ask("DELETE", "/v1/offers/for-them")
    assert marketer.ask("DELETE", "/v1/segments/asked").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "Upper", **TERMS}, "id"),
        ({"id": "rfm", **TERMS}, "id"),
        ({"id": "new", "rule": RULE}, "name"),
        ({"id": "new", "name": "x"}, "rule"),
        ({"id": "new", **TERMS, "status": "gone"}, "status"),
        ({"id": "new", **TERMS, "owner": "me"}, "owner"),
        ({"id": "new", "name": "x", "rule": []}, "rule"),
        ({"id": "new", "name": "x", "rule": {"all": [{"any": []}]}}, "rule.all[0].any"),
        (
            {"id": "new", "name": "x", "rule": {"feature": "height", "is": ">", "value": 1}},
            "rule.feature",
        ),
        ({"id": "new", "name": "x", "rule": {"segment": "rfm", "in": ["champs"]}}, "rule"),
        ({"id": "new", "name": "x", "rule": {"segment": "new"}}, "rule"),
    ],
)
def test_a_broken_segment_is_refused_with_its_field(
    marketer: Marketer, body: dict[str, Any], field: str
) -> None:
    assert marketer.refused(422, "POST", "/v1/segments", body)["field"] == field
    assert marketer.ask("GET", "/v1/segments/new").status_code == 404


def test_a_segment_there_is_not_made_anew(marketer: Marketer) -> None:
    marketer.ask("PUT", "/v1/segments/there", TERMS)
    # What the first try left, which nobody heard of, is what was asked for.
    assert marketer.ask("POST", "/v1/segments", {"id": "there", **TERMS}).status_code == 201
    other = {"id": "there", **TERMS, "name": "Other"}
    assert marketer.refused(409, "POST", "/v1/segments", other)["code"] == "segment_exists"
    assert marketer.refused(404, "GET", "/v1/segments/nobody")["code"] == "unknown_segment"
    assert marketer.refused(404, "DELETE", "/v1/segments/nobody")["code"] == "unknown_segment"
    page = marketer.get("/v1/segments?limit=1")
    assert len(page["segments"]) == 1
    assert page["next"] == page["segments"][0]["id"]

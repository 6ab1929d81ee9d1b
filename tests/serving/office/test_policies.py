"""Policies by the API: kept under a name; the default one decides within a second."""

from typing import Any

import pytest

from tests.serving.office.conftest import Marketer
from tests.serving.office.test_experiments import decide
from tests.serving.office.test_offers import within


def serves(marketer: Marketer) -> str:
    return decide(marketer, 399)["versions"]["policy"]


def test_the_default_policy_is_taken_over_live_and_given_back(marketer: Marketer) -> None:
    default = marketer.ask("GET", "/v1/policies/default")
    assert default.json()["stored"] is False
    assert default.json()["policy"]["kind"] == "response"
    before = serves(marketer)
    random = {"kind": "random", "exploration": 1.0}
    written = marketer.ask(
        "PUT", "/v1/policies/default", random, key="p-1", If_Match=default.headers["etag"]
    )
    assert written.status_code == 200, written.text
    assert written.json()["stored"] is True
    assert within(5, lambda: serves(marketer) == "random" != before)
    assert marketer.refused(412, "DELETE", "/v1/policies/default", If_Match='"other"')
    assert marketer.ask("DELETE", "/v1/policies/default").json() == {"name": "default"}
    assert within(5, lambda: serves(marketer) == before)
    assert marketer.refused(409, "DELETE", "/v1/policies/default")["code"] == "policy_of_settings"
    log = marketer.admin.audit.of("policy default")
    assert [(e.who, e.action) for e in log] == [
        ("key 1 (Ana's planner)", "write"),
        ("key 1 (Ana's planner)", "remove"),
    ]
    assert log[0].after == random == log[1].before


def test_a_default_policy_without_its_model_is_kept_and_says_what_is_missing(
    marketer: Marketer,
) -> None:
    # The model may come later, and is then taken over; no plan is locked meanwhile.
    def notes(**policy: Any) -> list[str]:
        answer = marketer.ask("PUT", "/v1/policies/default", {"exploration": 0.1, **policy})
        assert answer.status_code == 200, answer.text
        return [note for note in answer.json()["notes"] if "model" in note]

    missing = (
        "no uplift model is live; train and promote one (regulars train uplift); until then "
        "answers are fallbacks"
    )
    assert notes(kind="uplift") == [missing]
    parts = [{"kind": "uplift"}, {"kind": "random"}]
    assert notes(kind="mixture", parts=parts, weights=[0.5, 0.5]) == [missing]
    assert notes(kind="response") == notes(kind="random") == []
    marketer.ask("DELETE", "/v1/policies/default")


def test_a_policy_is_kept_under_a_name(marketer: Marketer) -> None:
    body = {"name": "half", "kind": "random", "exploration": 0.5}
    assert marketer.ask("POST", "/v1/policies", body).status_code == 201
    assert marketer.refused(409, "POST", "/v1/policies", body)["code"] == "policy_exists"
    assert marketer.refused(409, "POST", "/v1/policies", {**body, "name": "default"})
    names = [one["name"] for one in marketer.get("/v1/policies")["policies"]]
    assert names == sorted(names)
    assert {"default", "half"} <= set(names)
    assert marketer.ask("DELETE", "/v1/policies/half").status_code == 200
    for method in ("GET", "DELETE"):
        assert marketer.refused(404, method, "/v1/policies/half")["code"] == "unknown_policy"


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("new", {}, "kind"),
        ("new", {"kind": "greedy"}, "kind"),
        ("new", {"kind": "random", "exploration": 2}, "exploration"),
        ("new", {"kind": "random", "order": ["a"]}, "kind"),
        ("new", {"kind": "thompson"}, "kind"),
        ("new", {"kind": "mixture", "parts": [{"kind": "random"}], "weights": [0.5]}, "kind"),
        ("uplift", {"kind": "random"}, "name"),
        ("Upper", {"kind": "random"}, "name"),
        ("default", {"kind": "response"}, "exploration"),
    ],
)
def test_a_broken_policy_is_refused_with_its_field(
    marketer: Marketer, name: str, body: dict[str, Any], field: str
) -> None:
    assert marketer.refused(422, "PUT", f"/v1/policies/{name}", body)["field"] == field

"""Experiments by the API: drafted, started with a locked plan, ramped up, stopped, reported."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow import MlflowClient

from experiments.design import content_hash, read_design
from regulars.wiring import House
from tests.kept_decisions import record_of
from tests.serving.office.conftest import Marketer
from tests.serving.office.test_offers import within

TERMS: dict[str, Any] = {
    "variants": [
        {"name": "control", "weight": 0.5},
        {"name": "shown", "weight": 0.5, "offers": ["live-coffee"]},
    ],
    "control": "control",
    "exposure": 0.5,
    "stop": {"days": 28},
    "follow_up_days": 0,
}


@contextlib.contextmanager
def crowned(house: House, model: str) -> Iterator[None]:
    """A champion of a kind of model; it is registered, and has no files."""
    client = MlflowClient(house.settings.mlflow_uri)
    experiment = client.create_experiment(f"nobody's {model}")
    run = client.create_run(experiment, tags={"kind": "none"})
    client.create_registered_model(model)
    version = client.create_model_version(model, "file:///nowhere", run.info.run_id)
    client.set_registered_model_alias(model, "champion", version.version)
    try:
        yield
    finally:
        client.delete_registered_model(model)


def decide(marketer: Marketer, customer: int) -> dict[str, Any]:
    asked = {
        "customer_id": f"c-{customer:04}",
        "channel": "app",
        "placements": [{"name": "checkout", "limit": 1}],
    }
    answer = marketer.ask("POST", "/v1/decisions", asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_experiment_lives_from_its_draft_to_its_report(marketer: Marketer) -> None:
    drafted = marketer.ask("POST", "/v1/experiments", {"key": "latte", **TERMS}, key="e-1")
    assert drafted.status_code == 201, drafted.text
    assert drafted.json()["state"] == "draft"
    assert drafted.json()["plan_hash"] is None
    path = "/v1/experiments/latte"
    assert marketer.refused(409, "GET", f"{path}/report")["code"] == "experiment_draft"
    assert marketer.refused(409, "POST", f"{path}/stop")["code"] == "experiment_not_running"

    seen = drafted.headers["etag"]
    better = {**TERMS, "hypothesis": "coffee brings them in"}
    redrafted = marketer.ask("PUT", path, better, If_Match=seen)
    assert redrafted.status_code == 200
    assert marketer.refused(412, "POST", f"{path}/start", If_Match=seen)

    started = marketer.ask("POST", f"{path}/start", key="e-2", If_Match=redrafted.headers["etag"])
    assert started.status_code == 200, started.text
    told = started.json()
    assert told["state"] == "running"
    # The plan is the job's own, locked by its hash.
    assert told["plan_hash"] == content_hash(read_design(told["plan"]))
    assert told["plan"]["hypothesis"] == "coffee brings them in"
    assert marketer.ask(
        "POST", f"{path}/start", key="e-2", If_Match=redrafted.headers["etag"]
    ).content == (started.content)
    assert marketer.refused(409, "POST", f"{path}/start")["code"] == "experiment_running"
    assert within(5, lambda: any(decide(marketer, i)["experiments"] for i in range(20)))

    # Nothing of the plan moves any more but its exposure, and that only grows.
    moved = marketer.refused(409, "PUT", path, {**better, "minimum_effect": 2})
    assert moved["code"] == "plan_locked"
    assert "minimum_effect (null is locked, 2.0 is asked for)" in moved["detail"]
    assert marketer.refused(409, "PUT", path, {**better, "exposure": 0.1})["field"] == "exposure"
    grown = marketer.ask("PUT", path, {**better, "exposure": 1.0}).json()
    assert grown["plan"]["exposure"] == 1.0
    assert grown["plan_hash"] == told["plan_hash"]
    assert marketer.refused(409, "DELETE", path)["code"] == "experiment_started"
    shown = marketer.refused(409, "DELETE", "/v1/offers/live-coffee")
    assert shown["code"] == "offer_in_experiment"

    assert within(20, lambda: all(decide(marketer, i)["experiments"] for i in range(9)))
    last = [decide(marketer, customer) for customer in range(40)][-1]
    record_of(marketer.database, last["decision_id"])
    report = marketer.get(f"{path}/report")
    assert report["report"]["key"] == "latte"
    assert report["report"]["design"] == told["plan_hash"]
    # Outcomes were brought in: who was decided is counted.
    assert sum(report["report"]["units"].values()) == 40
    assert report["assumptions"]

    stopped = marketer.ask("POST", f"{path}/stop", key="e-3")
    assert stopped.json()["state"] == "stopped"
    assert marketer.ask("POST", f"{path}/stop", key="e-3").content == stopped.content
    assert marketer.refused(409, "POST", f"{path}/stop")["code"] == "experiment_not_running"
    assert marketer.refused(409, "PUT", path, better)["code"] == "plan_locked"
    assert marketer.refused(409, "POST", "/v1/experiments", {"key": "latte", **TERMS})
    assert "latte" in {one["key"] for one in marketer.get("/v1/experiments")["experiments"]}

    log = marketer.admin.history("latte")
    assert [entry.action for entry in log] == ["write", "write", "start", "ramp-up", "stop"]
    assert {entry.who for entry in log} == {"key 1 (Ana's planner)"}


def test_a_plan_that_names_no_follow_up_gets_two_purchase_cycles(marketer: Marketer) -> None:
    terms = {name: value for name, value in TERMS.items() if name != "follow_up_days"}
    marketer.ask("PUT", "/v1/experiments/cycles", {**terms, "layer": {"name": "cycles"}})
    started = marketer.ask("POST", "/v1/experiments/cycles/start").json()
    days = started["plan"]["follow_up_days"]
    assert days > 0
    assert days % 7 == 0
    assert "two purchase cycles" in started["notes"][0]
    # Nobody's are over yet: that is said, and no figure made up.
    early = marketer.refused(409, "GET", "/v1/experiments/cycles/report")
    assert early["code"] == "no_report"
    # It has just brought in what there is: to do so again would help nobody.
    assert "run 'regulars ingest'" not in early["detail"]
    # Whoever lets more in need not know what was chosen.
    more = {**terms, "layer": {"name": "cycles"}, "exposure": 0.75}
    grown = marketer.ask("PUT", "/v1/experiments/cycles", more)
    assert grown.status_code == 200, grown.text
    assert grown.json()["plan"]["exposure"] == 0.75
    # What its variants decide by is told to whoever changes the default policy.
    assert "'cycles'" in marketer.get("/v1/policies/default")["notes"][0]
    marketer.ask("POST", "/v1/experiments/cycles/stop")


def test_a_draft_can_be_forgotten(marketer: Marketer) -> None:
    marketer.ask("PUT", "/v1/experiments/idea", TERMS)
    assert marketer.ask("DELETE", "/v1/experiments/idea").json() == {"key": "idea"}
    for method, path in (
        ("GET", "/v1/experiments/idea"),
        ("DELETE", "/v1/experiments/idea"),
        ("POST", "/v1/experiments/idea/start"),
        ("POST", "/v1/experiments/idea/stop"),
        ("GET", "/v1/experiments/idea/report"),
    ):
        assert marketer.refused(404, method, path)["code"] == "unknown_experiment"


def test_a_variant_draws_by_a_kept_policy_which_its_plan_then_holds_whole(
    marketer: Marketer,
) -> None:
    rule = {"kind": "rule", "order": ["live-bakery"], "exploration": 0.2}
    marketer.ask("POST", "/v1/policies", {"name": "bakery-first", **rule})
    variants = [
        {"name": "control", "weight": 0.5},
        {"name": "rule", "weight": 0.5, "policy": "bakery-first"},
    ]
    layered = {**TERMS, "variants": variants, "layer": {"name": "bakery"}}
    drafted = marketer.ask("PUT", "/v1/experiments/kept", layered)
    assert drafted.status_code == 200, drafted.text
    assert drafted.json()["plan"]["variants"][1]["policy"] == "bakery-first"
    in_use = marketer.refused(409, "DELETE", "/v1/policies/bakery-first")
    assert in_use["code"] == "policy_in_use"
    started = marketer.ask("POST", "/v1/experiments/kept/start")
    assert started.status_code == 200, started.text
    policy = started.json()["plan"]["variants"][1]["policy"]
    assert policy == {"kind": "rule", "order": ["live-bakery"], "exploration": 0.2}
    # What another range of the layer would disturb is refused, and stays a draft.
    marketer.ask("PUT", "/v1/experiments/other", layered)
    taken = marketer.refused(409, "POST", "/v1/experiments/other/start")
    assert taken["code"] == "layer_taken"
    assert marketer.get("/v1/experiments/other")["state"] == "draft"
    marketer.ask("DELETE", "/v1/experiments/other")
    marketer.ask("POST", "/v1/experiments/kept/stop")
    assert marketer.ask("DELETE", "/v1/policies/bakery-first").status_code == 200


def test_a_variant_by_uplift_starts_only_with_an_uplift_model(marketer: Marketer) -> None:
    variants = [
        {"name": "control", "weight": 0.5, "policy": "response"},
        {"name": "some", "weight": 0.5, "policy": "uplift"},
    ]
    # Planned may it be before its model is there.
    drafted = marketer.ask("PUT", "/v1/experiments/targeting", {**TERMS, "variants": variants})
    assert drafted.status_code == 200, drafted.text
    refused = marketer.refused(422, "POST", "/v1/experiments/targeting/start")
    assert refused["field"] == "variants"
    assert refused["detail"] == (
        "experiment 'targeting': policy 'uplift' of variant 'some': no uplift model is live; train "
        "and promote one (regulars train uplift), or name another policy"
    )
    assert marketer.get("/v1/experiments/targeting")["state"] == "draft"
    with crowned(marketer.house, "uplift"):
        layered = {**TERMS, "variants": variants, "layer": {"name": "targeting"}}
        marketer.ask("PUT", "/v1/experiments/targeting", layered)
        started = marketer.ask("POST", "/v1/experiments/targeting/start")
        assert started.status_code == 200, started.text
    marketer.ask("POST", "/v1/experiments/targeting/stop")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"control": "nobody"}, "control"),
        ({"variants": TERMS["variants"][:1]}, "variants"),
        ({"variants": [{"name": "control", "weight": 0.5}] * 2}, "variants"),
        (
            {"variants": [{"name": "control", "weight": 0.5}, {"name": "b", "weight": 0.4}]},
            "variants",
        ),
        ({"variants": [{"name": "control", "weight": 0.5}, {"name": "b"}]}, "variants[1].weight"),
        (
            {
                "variants": [
                    {"name": "control", "weight": 0.5},
                    {"name": "b", "weight": 0.5, "policy": "guess"},
                ]
            },
            "variants",
        ),
        (
            {
                "variants": [
                    {"name": "control", "weight": 0.5},
                    {"name": "b", "weight": 0.5, "offers": ["nothing"]},
                ]
            },
            "variants",
        ),
        ({"exposure": 0}, "exposure"),
        ({"method": "guess"}, "method"),
        ({"method": "pocock"}, "method"),
        ({"primary_metric": "love"}, "primary_metric"),
        ({"outlier_cap": 0.2}, "outlier_cap"),
        ({"channels": ["radio"]}, "channels[0]"),
        ({"stop": {}}, "stop"),
        ({"guardrails": [{"metric": "margin", "margin": 0}]}, "guardrails"),
        ({"audience": {"feature": "height", "is": ">", "value": 1}}, "audience"),
        ({"layer": {"name": "a", "low": 0.5, "high": 0.5}}, "layer"),
    ],
)
def test_a_broken_plan_is_refused_with_its_field(
    marketer: Marketer, change: dict[str, Any], field: str
) -> None:
    problem = marketer.refused(422, "PUT", "/v1/experiments/broken", {**TERMS, **change})
    assert problem["field"] == field, problem
    assert "\n" not in problem["detail"]
    assert marketer.ask("GET", "/v1/experiments/broken").status_code == 404


def test_keys_are_of_small_letters_and_the_holdout_is_no_draft(marketer: Marketer) -> None:
    problem = marketer.refused(422, "PUT", "/v1/experiments/Upper", TERMS)
    assert problem["field"] == "key"
    assert marketer.refused(422, "POST", "/v1/experiments", {"key": "Up", **TERMS})
    assert marketer.refused(422, "PUT", "/v1/experiments/holdout", TERMS)["field"] == "key"

import msgspec
import pytest
from msgspec.structs import replace

from experiments.design import Experiment, InvalidDesign, Variant, content_hash, read_design
from experiments.lock import (
    PlanChanged,
    check_locked,
    differing_fields,
    exploratory_metrics,
)
from experiments.plan import Guardrail, StopRule

WHOLE = {
    "key": "winter-latte",
    "hypothesis": "they come back sooner",
    "audience": {"segment": "lifecycle", "in": ["dormant"]},
    "unit": "store",
    "layer": {"name": "checkout", "low": 0, "high": 0.4},
    "exposure": 0.05,
    "control": "off",
    "variants": [{"name": "off", "weight": 0.5, "policy": "none"}, {"name": "on", "weight": 0.5}],
    "primary_metric": "margin",
    "secondary_metrics": ["redeemed"],
    "guardrails": [
        {"metric": "orders", "margin": -0.1},
        {"metric": "complaints", "margin": 0.01, "better": "lower"},
    ],
    "segments": ["rfm"],
    "minimum_effect": 0.25,
    "method": "obrien-fleming",
    "outlier_cap": 0.999,
    "stop": {"days": 28, "looks": 4},
}


def plan(**changes):
    return read_design(WHOLE | changes)


def test_a_whole_plan_is_read_and_survives_the_way_through_json():
    found = plan()
    assert found.guardrails[1] == Guardrail("complaints", 0.01, "lower")
    assert found.stop == StopRule(days=28, looks=4)
    assert found.planned_metrics == ["margin", "redeemed", "orders", "complaints"]
    assert msgspec.json.decode(msgspec.json.encode(found), type=Experiment) == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guardrails": [{"metric": "orders", "margin": 0.1}]}, ["asks for a gain", "-0.1"]),
        (
            {"guardrails": [{"metric": "waits", "margin": -2, "better": "lower"}]},
            ["asks for a gain", "lower is better", "tolerated, 2"],
        ),
        ({"guardrails": [{"metric": "orders", "margin": 0}]}, ["is no margin"]),
        ({"guardrails": [{"metric": "orders"}]}, ["margin", "its fields are metric, margin"]),
        ({"guardrails": [{"metric": "margin", "margin": -1}]}, ["'margin' is planned twice"]),
        ({"secondary_metrics": [""]}, ["empty name"]),
        ({"segments": ["rfm", "rfm"]}, ["segmentation 'rfm' is planned twice"]),
        ({"exposure": 0}, ["exposure 0"]),
        ({"exposure": 1.01}, ["exposure 1.01"]),
        ({"exposure": float("nan")}, ["exposure nan"]),
        ({"audience": {}}, ["audience is empty"]),
        ({"layer": {"name": "checkout", "low": 0.5, "high": 0.4}}, ["no range of shares"]),
        ({"minimum_effect": -0.1}, ["minimum_effect -0.1"]),
        ({"outlier_cap": 99.9}, ["outlier_cap 99.9", "0.999"]),
        ({"method": "bayes"}, ["method", "choose welch, sequential"]),
        ({"method": "pocock", "stop": {"days": 28}}, ["judges at planned looks"]),
        ({"method": "welch"}, ["stop.looks is for methods"]),
        ({"stop": {"looks": 4}}, ["names no end"]),
        ({"stop": {"days": 0, "looks": 4}}, ["stop.days 0"]),
    ],
)
def test_a_broken_plan_gives_one_line_that_names_the_fault(changes, words):
    with pytest.raises(InvalidDesign) as refusal:
        plan(**changes)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_the_hash_moves_with_every_field_of_the_plan_but_exposure():
    changes = {
        "audience": None,
        "layer": {"name": "checkout", "low": 0, "high": 0.5},
        "secondary_metrics": [],
        "guardrails": [],
        "segments": [],
        "minimum_effect": None,
        "method": "pocock",
        "outlier_cap": None,
        "stop": {"days": 29, "looks": 4},
    }
    hashes = {content_hash(plan(**{name: value})) for name, value in changes.items()}
    assert len(hashes | {content_hash(plan())}) == len(changes) + 1
    assert content_hash(plan(exposure=0.5)) == content_hash(plan())


def test_a_plan_changed_past_regulars_is_refused():
    locked = content_hash(plan())
    assert check_locked(plan(exposure=0.5), locked) == plan(exposure=0.5)
    with pytest.raises(PlanChanged, match="locked as"):
        check_locked(plan(primary_metric="visits"), locked)


def test_what_differs_is_named_with_both_values():
    short = Experiment("k", "k", [Variant("a", 0.5), Variant("b", 0.5)], "a")
    assert differing_fields(short, replace(short, exposure=0.5)) == []
    assert differing_fields(short, replace(short, control="b", minimum_effect=2.0)) == [
        'control ("a" is locked, "b" is asked for)',
        "minimum_effect (null is locked, 2.0 is asked for)",
    ]


def test_only_what_was_planned_is_not_exploratory():
    assert exploratory_metrics(plan(), ["margin", "visits", "orders"]) == ["visits"]

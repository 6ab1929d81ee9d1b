"""A verdict on every candidate, from records of decisions with known scores."""

from typing import Any

import msgspec
import pytest

from foundation.decision import DecisionRecord, Policy, Shown, Slate, Versions
from serving.catalogue import Catalogue
from serving.explain import explain
from serving.messages import Considered
from tests.serving.test_decide import NOW, offer

OFFERS = [offer("a"), offer("b"), offer("c"), offer("twin", exclusive_group="g"),
          offer("shown-twin", exclusive_group="g")]  # fmt: skip
CATALOGUE = Catalogue(1, OFFERS, [])


def record(shown: list[str], scores: dict[str, float], **changed: Any) -> DecisionRecord:
    slate = Slate("top", [Shown(i, n, scores[i], 1.0) for n, i in enumerate(shown, 1)], 1.0, False)
    fields: dict[str, Any] = {
        "decision_id": "d",
        "customer_id": "ana",
        "at": NOW,
        "channel": "app",
        "placements": [],
        "context": None,
        "known": True,
        "vector": None,
        "assignments": [],
        "policy": Policy("response", 0.2),
        "scores": scores,
        "refusals": {},
        "slates": [slate],
        "seed": 1,
        "propensity_valid": True,
        "causes": [],
        "versions": Versions(1, None, None),
    }
    return DecisionRecord(**(fields | changed))


def verdicts(told: DecisionRecord) -> dict[str, str]:
    return {one.offer_id: one.verdict for one in considered(told)}


def considered(told: DecisionRecord) -> list[Considered]:
    return msgspec.json.decode(explain(told, CATALOGUE), type=list[Considered])


def test_every_candidate_has_a_verdict_and_refusals_keep_their_code() -> None:
    told = record(
        ["a", "shown-twin"],
        {"a": 0.9, "shown-twin": 0.5, "twin": 0.8, "b": 0.1},
        refusals={"c": "expired"},
    )
    assert verdicts(told) == {
        "a": "shown",
        "shown-twin": "shown",
        "twin": "exclusive_group",
        "b": "outranked",
        "c": "expired",
    }


def test_an_offer_that_exploration_passed_over_was_not_drawn() -> None:
    assert verdicts(record(["b"], {"a": 0.9, "b": 0.1, "c": 0.05})) == {
        "a": "not_drawn",
        "b": "shown",
        "c": "outranked",
    }


@pytest.mark.parametrize(
    ("policy", "verdict"), [(Policy("none"), "withheld"), (Policy("uplift"), "not_worth_it")]
)
def test_an_empty_slate_says_whether_she_is_held_out_or_nothing_pays(
    policy: Policy, verdict: str
) -> None:
    told = record([], {"a": -1.0}, policy=policy)
    assert verdicts(told) == {"a": verdict}


def test_scores_are_told_where_there_are_any() -> None:
    told = record(["a"], {"a": 0.9}, refusals={"b": "expired"})
    assert [(one.offer_id, one.score) for one in considered(told)] == [
        ("a", 0.9),
        ("b", None),
    ]


def test_it_is_told_as_its_message_would_be() -> None:
    every = record(["b"], {'q"uoted': 0.9, "b": 1e-7, "c": 0.05}, refusals={"ü": "expired"})
    nothing = record([], {})
    for told in (every, nothing):
        assert bytes(explain(told, CATALOGUE)) == msgspec.json.encode(considered(told))

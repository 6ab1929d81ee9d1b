"""Who is in which experiment when she is asked for, and what the global holdout does to it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from experiments.assignment import assigned_variant
from experiments.design import Experiment, Variant
from experiments.holdout import HELD_OUT, REACHED, holdout_design
from experiments.layers import Layer
from foundation.decision import Assignment, Policy
from foundation.offer import Offer
from foundation.profile import LiveState, Profile, SnapshotFacts
from foundation.rule_profile import Facts
from serving.assign import assign
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedPlacement, DecisionRequest

NOW = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
SNAPSHOT = SnapshotFacts("v", NOW, ("recency_days",), "91bc", 2)
IDS = [f"c-{number}" for number in range(300)]
LAPSED = {"segment": "lifecycle", "in": ["lost"]}


def design(key: str = "latte", **changes: Any) -> Experiment:
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5, policy="popular")]
    return replace(Experiment(key, key, variants, "off"), **changes)


def her(
    customer_id: str, household: str | None = None, store: str | None = None, **segments: str
) -> Profile:
    attributes: dict[str, Any] = {} if store is None else {"home_store_id": store}
    vector = np.array([3.0])
    return Profile(customer_id, household, None, vector, segments, attributes=attributes)


def assigned(
    experiments: list[Experiment], customer_id: str, profile: Profile | None = None
) -> list[Assignment]:
    catalogue = Catalogue(1, [], experiments).compiled(SNAPSHOT.vocabulary)
    facts = Facts({}, {}) if profile is None else profile.facts(SNAPSHOT.names)
    return assign(customer_id, "app", profile, facts, catalogue)[0]


def test_a_store_is_assigned_as_one_by_where_its_customers_are_at_home() -> None:
    by_store = design(unit="store")
    for store in ("s-1", "s-2", "s-3"):
        found = {assigned([by_store], one, her(one, store=store))[0] for one in IDS[:20]}
        expected = assigned_variant(by_store, store)
        assert expected is not None
        assert found == {Assignment("latte", expected.name, store)}


def test_who_has_no_unit_is_outside() -> None:
    for unit in ("household", "store"):
        assert assigned([design(unit=unit)], "ana", her("ana")) == []
        assert assigned([design(unit=unit)], "ana") == []


def test_only_the_audience_is_assigned_and_who_leaves_it_is_not_any_more() -> None:
    lapsed = design(audience=LAPSED)
    assert len(assigned([lapsed], "ana", her("ana", lifecycle="lost"))) == 1
    assert assigned([lapsed], "ana", her("ana", lifecycle="active")) == []
    # Nothing is known of her, so nobody can say that she is in.
    assert assigned([design(audience={"not": LAPSED})], "ana") == []


def test_an_audience_that_the_snapshot_cannot_judge_holds_nobody_and_says_so() -> None:
    unheard = design(audience={"not": {"segment": "coffee-lovers"}})
    assert assigned([unheard], "ana", her("ana", lifecycle="lost")) == []
    catalogue = Catalogue(1, [], [unheard]).compiled(SNAPSHOT.vocabulary)
    assert "'coffee-lovers'" in catalogue.waiting["latte"]


def test_of_a_layer_everybody_is_in_one_experiment() -> None:
    first = design("first", layer=Layer("checkout", 0.0, 0.3))
    second = design("second", layer=Layer("checkout", 0.3, 1.0))
    keys = [[a.key for a in assigned([first, second], one)] for one in IDS]
    assert {len(found) for found in keys} == {1}
    assert {found[0] for found in keys} == {"first", "second"}


def test_who_is_held_out_is_in_no_other_experiment_and_the_others_are_as_without_it() -> None:
    trial, holdout = design(), holdout_design(0.3)
    seen = set[str]()
    for one in IDS:
        alone, found = assigned([trial], one), assigned([trial, holdout], one)
        assert found[0].key == "holdout"
        assert found[0].unit == one
        assert found[1:] == ([] if found[0].variant == HELD_OUT else alone)
        seen.add(found[0].variant)
    assert seen == {HELD_OUT, REACHED}


@pytest.mark.parametrize("policy", ["response", "popular", "random"])
def test_who_is_held_out_gets_no_offer_of_any_policy(policy: Any) -> None:
    offer = Offer(
        "o-1",
        title="1 off",
        valid_from=NOW.replace(year=2025),
        valid_to=NOW.replace(year=2027),
        channels=frozenset(),
        placements=frozenset(),
        stores=frozenset(),
        eligibility=None,
        customer_cap=None,
        priority=0,
        exclusive_group=None,
        products=12,
        reward=100.0,
        min_spend=500,
        cost=80,
        campaign_kind="TypeA",
        popularity=0.1,
    )
    trial = design(variants=[Variant("a", 0.5, policy=policy), Variant("b", 0.5, offers=["o-1"])])
    catalogue = Catalogue(1, [offer], [holdout_design(0.3), trial]).compiled(SNAPSHOT.vocabulary)
    known = Knowledge(catalogue, None, SNAPSHOT.names, None, Policy(policy, 0.1), "UTC")
    shown = dict[str, int]()
    for one in IDS[:60]:
        record = decide(
            DecisionRequest(one, "app", [AskedPlacement("checkout")]),
            None,
            LiveState({}),
            known,
            decision_id=one,
            at=NOW,
            seed=1,
        )
        variant = record.assignments[0].variant
        shown[variant] = shown.get(variant, 0) + len(record.slates[0].offers)
        # Her empty answer is a policy's own, so it may be evaluated.
        assert variant == REACHED or record.propensity_valid
    assert shown[HELD_OUT] == 0
    assert shown[REACHED] > 0

"""Whose part of a shared limit is hers, and is a used-up part shown to nobody?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from experiments.assignment import variant_of
from experiments.design import Experiment, Variant
from experiments.holdout import holdout_design
from foundation.decision import Policy
from foundation.offer import Offer
from foundation.profile import LiveState, Profile
from foundation.uses import Held, Limits
from serving.arms import arms_of, shared_offers
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedPlacement, DecisionRequest

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TRIAL = Experiment(
    "latte",
    "latte",
    [
        Variant("off", 0.2, policy="none"),
        Variant("few", 0.4, policy="popular", offers=["scarce", "free"]),
        Variant("all", 0.4, policy="popular"),
    ],
    "off",
    channels=["app"],
)


def offer(offer_id: str, limits: Limits) -> Offer:
    return Offer(
        offer_id, offer_id, NOW - timedelta(days=1), NOW + timedelta(days=1), frozenset(),
        frozenset(), frozenset(), None, None, 0, None, 0, 100.0, 0, 80, None, 0.5, limits,
    )  # fmt: skip


OFFERS = [
    offer("scarce", Limits(80, total_cap=10)),
    offer("free", Limits(80)),
    offer("alone", Limits(80, total_cap=10)),
]
CATALOGUE = Catalogue(1, OFFERS, [holdout_design(0.1), TRIAL])


def _someone_in(name: str) -> str:
    people = (f"c-{n}" for n in range(1_000))
    reached = (c for c in people if variant_of(holdout_design(0.1), c).name == "reached")
    return next(c for c in reached if variant_of(TRIAL, c).name == name)


IN = {name: _someone_in(name) for name in ("off", "few", "all")}


def test_a_limited_offer_that_several_variants_show_is_shared_out_between_them() -> None:
    assert set(CATALOGUE.shared) == {"scarce"}
    assert CATALOGUE.shared["scarce"].weights == {"latte/few": 0.4, "latte/all": 0.4}
    # The holdout shows offers in one variant alone: nobody is there to be starved.
    assert shared_offers(OFFERS, CATALOGUE.trials[:0]) == {}


@pytest.mark.parametrize("name", ["few", "all"])
def test_her_arm_is_her_variant_wherever_she_redeems(name: str) -> None:
    arm = arms_of(IN[name], None, CATALOGUE.shared).get("scarce")
    assert arm is not None
    assert arm.name == f"latte/{name}"
    assert arms_of(IN[name], None, CATALOGUE.shared).get("free") is None


def test_who_is_outside_or_in_a_variant_without_the_offer_has_no_arm() -> None:
    assert arms_of(IN["off"], None, CATALOGUE.shared).get("scarce") is None
    later = replace(CATALOGUE, experiments=[_of(TRIAL, exposure=1e-9)])
    assert arms_of(IN["few"], None, later.shared).get("scarce") is None
    homes = replace(CATALOGUE, experiments=[_of(TRIAL, unit="household")])
    assert arms_of("c-1", None, homes.shared).get("scarce") is None
    profile = Profile("c-1", IN["few"], None, np.zeros(0), {})
    arm = arms_of("c-1", profile, homes.shared).get("scarce")
    assert arm is not None
    assert arm.name == "latte/few"


def test_an_arm_that_used_its_part_up_is_shown_the_offer_no_more_and_the_other_is() -> None:
    held = Held(5, 400)
    held.by_arm["latte/few"] = Held(5, 400)
    known = Knowledge(CATALOGUE, None, (), None, Policy("popular"), "UTC", held={"scarce": held})
    told = {name: _refusals(IN[name], known) for name in ("few", "all")}
    assert told["few"]["scarce"] == "cap_reached"
    assert "scarce" not in told["all"]


def _refusals(customer_id: str, known: Knowledge) -> dict[str, str]:
    asked = DecisionRequest(customer_id, "app", [AskedPlacement("home", 3)])
    record = decide(asked, None, LiveState({}), known, decision_id="d", at=NOW, seed=1)
    return record.refusals


def _of(trial: Experiment, **changed: Any) -> Experiment:
    return msgspec.structs.replace(trial, **changed)

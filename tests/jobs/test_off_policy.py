"""What another policy would have earned on decisions of the lake."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import TABLES
from foundation.decision import (
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Posterior,
    Shown,
    Slate,
    Versions,
    encode,
)
from foundation.errors import NothingToDo, RegularsError
from recommender.policies import Eligible, draw_slate
from recommender.value import Contact, Contacts
from regulars.jobs.off_policy import PolicyValue, first_shown, policy_value

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
UNTIL = START + 60 * DAY
LOGGING = Policy("response", 0.5)
# What an offer earns wherever it stands; b is the best, and the scores do not know it.
RATES = {"a": 0.05, "b": 0.4, "c": 0.1}
SCORES = {"a": 0.9, "b": 0.1, "c": 0.5}
ELIGIBLE = [Eligible("a"), Eligible("b", 3), Eligible("c", 1)]
TARGET = Policy("rule", 0.1, order=("b", "c", "a"))


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        assert write.merge(table, TABLES[table].from_rows(rows)).conflicts == ()


def offer(eligible: Eligible) -> dict[str, Any]:
    return {
        "offer_id": eligible.offer_id, "title": "", "kind": "amount", "reward": 1.0,
        "min_spend": 0, "scope": [], "channels": [], "placements": [], "stores": [],
        "valid_from": START, "valid_to": UNTIL, "cost": 0, "priority": eligible.priority,
        "exclusive_group": eligible.exclusive_group, "combinable": True,
    }  # fmt: skip


def decided(n: int, **changed: Any) -> dict[str, Any]:
    drawn = draw_slate(LOGGING, ELIGIBLE, SCORES, 2, Random(n))
    shown = [
        Shown(o.offer_id, rank, SCORES[o.offer_id], p)
        for rank, (o, p) in enumerate(
            zip(drawn.offers, drawn.slot_propensities, strict=True), start=1
        )
    ]
    fields: dict[str, Any] = {
        "decision_id": f"d-{n}", "customer_id": f"c-{n}", "at": START + n * timedelta(seconds=1),
        "channel": "app", "placements": [Placement("checkout", 2)], "context": Context(),
        "known": True, "vector": None, "assignments": [], "policy": LOGGING, "scores": SCORES,
        "refusals": {}, "slates": [Slate("checkout", shown, drawn.slate_propensity, False)],
        "seed": n, "propensity_valid": True, "causes": [], "versions": Versions(1, None, None),
    }  # fmt: skip
    record = DecisionRecord(**(fields | changed))
    return {
        "decision_id": record.decision_id,
        "customer_id": record.customer_id,
        "at": record.at,
        "channel": record.channel,
        "known": record.known,
        "propensity_valid": record.propensity_valid,
        "policy": record.policy.kind,
        "experiments": "[]",
        "slates": encode(record.slates).decode(),
        "record": encode(record).decode(),
    }


def redeemed(n: int, offer_id: str, at: datetime = START + DAY) -> dict[str, Any]:
    return {
        "event_id": f"e-{n}-{offer_id}", "customer_id": f"c-{n}", "at": at, "channel": "app",
        "kind": "redeem", "offer_id": offer_id, "decision_id": f"d-{n}",
    }  # fmt: skip


def answers(n: int) -> list[dict[str, Any]]:
    chance = np.random.default_rng(n)
    drawn = draw_slate(LOGGING, ELIGIBLE, SCORES, 2, Random(n)).offers
    return [redeemed(n, o.offer_id) for o in drawn if chance.random() < RATES[o.offer_id]]


@pytest.fixture
def log(lake: DuckDbLake) -> DuckDbLake:
    put(lake, "offers", [offer(eligible) for eligible in ELIGIBLE])
    put(lake, "decisions", [decided(n) for n in range(1_500)])
    put(lake, "interactions", [row for n in range(1_500) for row in answers(n)])
    return lake


def value(lake: DuckDbLake, target: Policy = TARGET, **changed: Any) -> PolicyValue:
    return policy_value(lake, target, **({"placement": "checkout", "until": UNTIL} | changed))


def test_the_value_holds_what_the_target_truly_earns(log: DuckDbLake) -> None:
    found = value(log)

    # Source: all slates of the target. First b in .9 and each in .1/3; second c in .9.
    first = 0.9 * RATES["b"] + 0.1 * np.mean(list(RATES.values()))
    both = 0.9 * (RATES["b"] + RATES["c"]) + 0.1 * 2 * np.mean(list(RATES.values()))
    assert (found.decisions, found.censored, found.unmatched) == (1_500, 0, 0)
    assert found.first.ips is not None
    assert found.slate.snips is not None
    assert found.first.ips.low < first < found.first.ips.high
    assert found.slate.snips.low < both < found.slate.snips.high
    # Logged slates earned less: the target is told apart from what drew.
    assert found.slate.snips.low > 0.2
    # The doubly robust values hold the same truth, and are surer: forecasts take out what is
    # known of offers.
    for robust, plain, truth in (
        (found.first.doubly_robust, found.first.ips, first),
        (found.slate.doubly_robust, found.slate.ips, both),
    ):
        assert robust is not None
        assert plain is not None
        assert robust.low < truth < robust.high
        assert robust.high - robust.low < plain.high - plain.low


def test_on_itself_a_policy_earns_what_it_earned(log: DuckDbLake) -> None:
    found = value(log, LOGGING)

    earned = sum(len(answers(n)) for n in range(1_500)) / 1_500
    assert found.slate.ips is not None
    assert found.slate.ips.value == pytest.approx(earned)
    assert found.slate.effective_rows == pytest.approx(3_000)


def test_an_outcome_without_a_decision_is_the_latest_ones_that_showed_the_offer(
    lake: DuckDbLake,
) -> None:
    put(lake, "offers", [offer(eligible) for eligible in ELIGIBLE])
    put(lake, "decisions", [decided(n) for n in range(1_500)])
    # As a till tells them that knows the customer's card and no decision.
    told = [row | {"decision_id": None} for n in range(1_500) for row in answers(n)]
    put(lake, "interactions", told)
    earned = sum(len(answers(n)) for n in range(1_500)) / 1_500
    found = value(lake, LOGGING)
    assert found.slate.ips is not None
    assert found.slate.ips.value == pytest.approx(earned)

    # Shown again elsewhere in between, they are the later decision's.
    again = [
        decided(n, decision_id=f"again-{n}", at=START + DAY / 2,
                placements=[Placement("home", 2)],
                slates=[Slate("home", [Shown("b", 1, 0.1, 0.5)], 0.5, False)])
        for n in range(1_500)
    ]  # fmt: skip
    put(lake, "decisions", again)
    earned = sum(row["offer_id"] != "b" for n in range(1_500) for row in answers(n)) / 1_500
    found = value(lake, LOGGING)
    assert found.slate.ips is not None
    assert found.slate.ips.value == pytest.approx(earned)


def test_a_redemption_taken_back_inside_the_window_earns_nothing(log: DuckDbLake) -> None:
    back = [
        row | {"event_id": f"{row['event_id']}-reverse", "kind": "reverse", "at": at}
        for n, at in ((n, START + (2 if n % 4 else 40) * DAY) for n in range(0, 1_500, 2))
        for row in answers(n)
    ]
    put(log, "interactions", back)
    # Of even decisions those of a multiple of four were taken back only after their window.
    earned = sum(len(answers(n)) for n in range(1_500) if n % 2 or n % 4 == 0) / 1_500
    found = value(log, LOGGING)
    assert found.slate.ips is not None
    assert found.slate.ips.value == pytest.approx(earned)


def test_decisions_among_which_a_policy_learned_anew_are_refused(lake: DuckDbLake) -> None:
    put(lake, "offers", [offer(eligible) for eligible in ELIGIBLE])

    def drawn(n: int, first: float) -> dict[str, Any]:
        beliefs = {o.offer_id: Posterior("beta", first, 5.0) for o in ELIGIBLE}
        policy = Policy("thompson", 0.3, posteriors=beliefs)
        slate = draw_slate(policy, ELIGIBLE, SCORES, 2, Random(n))
        shown = [
            Shown(o.offer_id, rank, SCORES[o.offer_id], p)
            for rank, (o, p) in enumerate(zip(slate.offers, slate.slot_propensities, strict=True))
        ]
        slates = [Slate("checkout", shown, slate.slate_propensity, False)]
        return decided(n, policy=policy, slates=slates)

    put(lake, "decisions", [drawn(n, 2.0) for n in range(300)])
    told = [redeemed(n, o) for n in range(300) for o in "abc"]
    put(lake, "interactions", told)
    assert value(lake).first.refusal is None
    put(lake, "decisions", [drawn(n, 3.0) for n in range(300, 310)])
    assert "learned from these very decisions" in (value(lake).first.refusal or "")


def test_money_is_what_came_inside_the_window_less_a_contact_for_each_offer_shown(
    lake: DuckDbLake,
) -> None:
    put(lake, "offers", [offer(eligible) for eligible in ELIGIBLE])
    put(lake, "decisions", [decided(n) for n in range(3)])
    line = {"product_id": "p-1", "store_id": "s-1", "channel": "till", "quantity": 1.0,
            "discount": 0, "offer_discount": 0, "local_day": 20_578, "local_hour": 8}  # fmt: skip
    put(lake, "purchases", [
        line | {"line_id": f"l-{n}-{day}", "order_id": f"b-{n}-{day}", "customer_id": f"c-{n}",
                "at": START + day * DAY, "amount": 1_000, "margin": margin}
        for n, day, margin in ((0, 1, 400), (0, 9, 50), (0, 11, 7_000), (1, 25, 9_000))
    ])  # fmt: skip
    contacts = Contacts({"app": Contact(30.0, opt_out=0.1)}, remaining_value=200.0)

    found = first_shown(lake, "checkout", UNTIL, days=10, money=contacts)

    # By hand: 450 came in ten days; each of two offers cost 30 and a tenth of 200.
    rewards = dict(zip(found.shown.customer, found.shown.reward, strict=True))
    assert rewards == {"c-0": 450 - 100, "c-1": -100, "c-2": -100}


def test_what_cannot_count_is_left_out_and_counted(log: DuckDbLake) -> None:
    before = value(log)
    put(log, "decisions", [
        decided(2_000, propensity_valid=False),
        decided(2_001, at=UNTIL - DAY),
        decided(2_002, scores={"a": 0.1, "b": 0.9, "c": 0.5}),
    ])  # fmt: skip
    # Too late, and of a decision that is not over.
    put(log, "interactions", [
        redeemed(3, "a", START + 40 * DAY), redeemed(2_001, "a", UNTIL - DAY / 2)
    ])  # fmt: skip

    found = value(log)

    assert (found.censored, found.unmatched) == (1, 1)
    # One row for the first position, one for each of the slate's two.
    assert (found.first.left_out, found.slate.left_out) == (1, 2)
    assert found.first.ips == before.first.ips
    assert found.slate.ips == before.slate.ips


def test_a_target_of_other_scores_is_refused(log: DuckDbLake) -> None:
    with pytest.raises(RegularsError, match="ranks by uplift scores, decision 'd-0' recorded resp"):
        value(log, Policy("uplift"))


def test_few_decisions_are_refused_with_the_reason(lake: DuckDbLake) -> None:
    put(lake, "offers", [offer(eligible) for eligible in ELIGIBLE])
    put(lake, "decisions", [decided(n) for n in range(50)])

    found = value(lake)

    assert found.first.ips is None
    assert "effective successes" in str(found.first.refusal)
    with pytest.raises(NothingToDo, match="placement 'till'"):
        value(lake, placement="till")


def test_an_unknown_offer_is_named(lake: DuckDbLake) -> None:
    put(lake, "decisions", [decided(0)])
    with pytest.raises(RegularsError, match="considered offer 'a', which the lake does not know"):
        value(lake)

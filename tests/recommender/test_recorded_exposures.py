"""Our own decisions train on what was recorded with them, and are counted where they cannot."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.contracts import TABLES
from foundation.decision import (
    BasketLine,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Shown,
    Slate,
    Versions,
    encode,
)
from foundation.features import definitions
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.affinity import response_hash
from recommender.exposures import TrainingFrame, exposures
from recommender.recorded_exposures import recorded_exposures

ZONE = "America/New_York"
FEATURES = definitions()[:3]
TODAY = response_hash(FEATURES)
# 16 o'clock UTC is noon in New York.
AT = datetime(2026, 6, 1, 16, tzinfo=UTC)
ENDS = AT + timedelta(days=40)
LATER = AT + timedelta(days=400)
DAY = timedelta(days=1)
NEAR = [0.5, 3.0, 2.0, 1.0, None, 0.25, 1.5]

Row = dict[str, Any]


def offer(offer_id: str = "o-1", **fields: Any) -> Row:
    return {
        "offer_id": offer_id,
        "title": offer_id,
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 500,
        "scope": [],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": AT - 10 * DAY,
        "valid_to": ENDS,
        "cost": 80,
        "priority": 0,
        "combinable": True,
        "campaign_kind": "TypeA",
        **fields,
    }


def decision(
    decision_id: str,
    shown: list[Shown],
    customer: str = "ana",
    vector: list[float | None] | None = None,
    features: str | None = TODAY,
    **fields: Any,
) -> DecisionRecord:
    told: dict[str, Any] = {
        "decision_id": decision_id,
        "customer_id": customer,
        "at": AT,
        "channel": "app",
        "placements": [Placement("checkout", 3)],
        "context": Context(basket=[BasketLine("p-1", 1, 450), BasketLine("p-2", 1, 50)]),
        "known": vector is not None,
        "vector": vector,
        "assignments": [],
        "policy": Policy("response", 0.1),
        "scores": {},
        "refusals": {},
        "slates": [Slate("checkout", shown, 0.9, False)],
        "seed": 1,
        "propensity_valid": True,
        "causes": [],
        "versions": Versions(1, "response@1", "s-1", features),
        **fields,
    }
    return DecisionRecord(**told)


def row(record: DecisionRecord) -> Row:
    return {
        "decision_id": record.decision_id,
        "customer_id": record.customer_id,
        "at": record.at,
        "channel": record.channel,
        "known": record.known,
        "propensity_valid": record.propensity_valid,
        "policy": record.policy.kind,
        "experiments": "[]",
        "slates": "[]",
        "record": encode(record).decode(),
    }


def event(event_id: str, kind: str, at: datetime, customer: str = "ana", **fields: Any) -> Row:
    return {
        "event_id": event_id,
        "customer_id": customer,
        "at": at,
        "channel": "till",
        "kind": kind,
        "offer_id": "o-1",
        **fields,
    }


def fill(
    lake: DuckDbLake,
    decisions: list[DecisionRecord],
    interactions: list[Row] | None = None,
    offers: list[Row] | None = None,
) -> DuckDbLake:
    with lake.write() as write:
        write.merge("offers", TABLES["offers"].from_rows([offer()] if offers is None else offers))
        write.merge("decisions", TABLES["decisions"].from_rows([row(d) for d in decisions]))
        if interactions:
            write.merge("interactions", TABLES["interactions"].from_rows(interactions))
    return lake


def framed(lake: DuckDbLake, until: datetime = LATER) -> TrainingFrame:
    return recorded_exposures(lake, FEATURES, until, ZONE)


def named(frame: TrainingFrame, place: int = 0) -> dict[str, float]:
    return dict(zip(frame.names, frame.matrix[place].tolist(), strict=True))


def shown(offer_id: str = "o-1", rank: int = 1, **fields: Any) -> Shown:
    return Shown(offer_id, rank, 0.3, fields.pop("propensity", 0.6), **fields)


def test_a_row_holds_what_was_recorded_and_not_what_is_known_today(lake: DuckDbLake) -> None:
    fill(lake, [decision("d-1", [shown(affinity=NEAR)], vector=[4.0, None, 7.0])])
    with lake.write() as write:
        # What the lake tells now of that night is something else.
        line = {
            "line_id": "l",
            "customer_id": "ana",
            "order_id": "r",
            "product_id": "p",
            "channel": "store",
            "at": AT - 9 * DAY,
            "local_day": 0,
            "local_hour": 8,
            "quantity": 1.0,
            "amount": 100,
            "discount": 0,
            "offer_discount": 0,
        }
        write.merge("purchases", TABLES["purchases"].from_rows([line]))

    frame = framed(lake)

    known = named(frame)
    assert [known[f.name] for f in FEATURES] == pytest.approx([4.0, np.nan, 7.0], nan_ok=True)
    near = [known[name] for name in AFFINITY_NAMES]
    assert near == pytest.approx([0.5, 3, 2, 1, np.nan, 0.25, 1.5], nan_ok=True)
    assert known["offer_min_spend"] == 500
    assert known["context_channel=app"] == 1
    assert (known["context_hour"], known["context_basket_amount"]) == (12, 500)
    told = frame.rows.iloc[0]
    assert (told["propensity"], told["slate_propensity"], told["propensity_valid"]) == (
        0.6,
        0.9,
        True,
    )
    assert (told["source"], told["decision_id"], told["bought_before"]) == ("decision", "d-1", True)
    assert frame.recorded == 1


def test_columns_are_those_of_loaded_history(lake: DuckDbLake) -> None:
    fill(
        lake,
        [decision("d-1", [shown()], vector=[1.0, 2.0, 3.0])],
        [
            event("s-1", "sent", AT, "bea"),
            # The engine's own letter is known by its decision, and counts once.
            event("s-2", "sent", AT + DAY, "ana", decision_id="d-1"),
        ],
    )

    recorded = framed(lake)
    history = exposures(lake, FEATURES, LATER, ZONE, 3)
    both = history.beside(recorded)

    assert recorded.names == history.names
    assert history.rows["customer_id"].tolist() == ["bea"]
    assert sorted(both.rows["source"]) == ["decision", "history"]
    assert both.matrix.shape == (2, len(recorded.names))
    assert set(recorded.rows.columns) == set(history.rows.columns)
    assert both.names[-len(CONTEXT_NAMES) :] == CONTEXT_NAMES


def test_a_decision_under_other_definitions_is_left_out_and_counted(lake: DuckDbLake) -> None:
    fill(
        lake,
        [
            decision("new", [shown()], vector=[1.0, 2.0, 3.0]),
            decision("old", [shown()], "bea", vector=[1.0, 2.0, 3.0], features="3f2a"),
            # Written before the hash was recorded.
            decision("older", [shown()], "cleo", vector=[1.0, 2.0, 3.0], features=None),
        ],
    )

    frame = framed(lake)

    assert frame.rows["decision_id"].tolist() == ["new"]
    assert frame.outdated == 2


def test_a_customer_unknown_then_is_kept_with_missing_values(lake: DuckDbLake) -> None:
    fill(lake, [decision("d-1", [shown()], vector=None, features="3f2a", propensity_valid=False)])

    frame = framed(lake)

    known = named(frame)
    assert all(np.isnan(known[name]) for name in (*(f.name for f in FEATURES), *AFFINITY_NAMES))
    assert known["offer_cost"] == 80
    assert frame.rows["propensity_valid"].tolist() == [False]
    assert frame.rows["bought_before"].tolist() == [False]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (-timedelta(seconds=1), 0),
        (timedelta(0), 1),
        (7 * DAY, 0),
        (7 * DAY - timedelta(seconds=1), 1),
    ],
)
def test_the_outcome_lies_inside_the_offers_own_days(
    lake: DuckDbLake, after: timedelta, expected: int
) -> None:
    fill(
        lake,
        [decision("d-1", [shown()], vector=[1.0, 2.0, 3.0])],
        [event("r-1", "redeem", AT + after), event("a-1", "activate", AT + DAY)],
        [offer(attribution_days=7)],
    )

    frame = framed(lake)

    assert frame.rows["outcome"].tolist() == [expected]
    assert frame.rows["activated"].tolist() == [1]
    assert frame.rows["ends"][0] == AT + 7 * DAY


def test_a_window_ends_with_its_offer(lake: DuckDbLake) -> None:
    fill(
        lake,
        [decision("d-1", [shown()], vector=[1.0, 2.0, 3.0])],
        offers=[offer(attribution_days=90)],
    )

    assert framed(lake).rows["ends"][0] == ENDS


def test_open_windows_and_unknown_offers_are_left_out_and_counted(lake: DuckDbLake) -> None:
    fill(
        lake,
        [
            decision(
                "d-1",
                [shown("short"), shown("o-1", 2), shown("withdrawn", 3), shown("over", 4)],
                vector=[1.0, 2.0, 3.0],
            )
        ],
        offers=[offer(), offer("short", attribution_days=2), offer("over", valid_to=AT)],
    )

    frame = framed(lake, AT + 3 * DAY)

    assert frame.rows["offer_id"].tolist() == ["short"]
    assert (frame.censored, frame.unanswerable, frame.outdated) == (1, 2, 0)


@pytest.mark.parametrize(
    ("named", "outcomes"),
    [
        # By the decision it names, whoever came later; else by the latest that showed the offer.
        ("first", {"first": 1, "second": 0, "third": 0}),
        (None, {"first": 0, "second": 1, "third": 0}),
        # That of a decision the lake does not hold is nobody's here.
        ("elsewhere", {"first": 0, "second": 0, "third": 0}),
    ],
)
def test_an_outcome_is_credited_to_one_decision(
    lake: DuckDbLake, named: str | None, outcomes: dict[str, int]
) -> None:
    shown = [Shown("o-1", 1, 0.5, 0.9)]
    days = {"first": 0, "second": 2, "third": 5}
    decisions = [decision(name, shown, at=AT + day * DAY) for name, day in days.items()]
    others = [decision("hers", shown, customer="bea", at=AT + 2.5 * DAY)]
    told = [event("e-1", "redeem", AT + 3 * DAY, decision_id=named)]
    frame = framed(fill(lake, [*decisions, *others], told))

    found = dict(zip(frame.rows["decision_id"], frame.rows["outcome"], strict=True))
    assert found == outcomes | {"hers": 0}


@pytest.mark.parametrize("named", ["first", None])
def test_a_redemption_taken_back_is_none_of_the_decision_it_was_credited_to(
    lake: DuckDbLake, named: str | None
) -> None:
    shown = [Shown("o-1", 1, 0.5, 0.9)]
    decisions = [decision(name, shown, at=AT + 3 * n * DAY) for n, name in enumerate("ab")]
    # Redeemed by the first; shown again before she gave it back.
    told = [
        event("e-1", "redeem", AT + DAY, decision_id=named and "a"),
        event("e-2", "reverse", AT + 4 * DAY, decision_id=named and "a"),
        event("e-3", "redeem", AT + 5 * DAY, decision_id=named and "b"),
    ]
    frame = framed(fill(lake, decisions, told))

    assert dict(zip(frame.rows["decision_id"], frame.outcome, strict=True)) == {"a": 0, "b": 1}


def test_a_decision_that_is_left_out_keeps_its_outcome(lake: DuckDbLake) -> None:
    shown = [Shown("o-1", 1, 0.5, 0.9)]
    vector = [1.0, 2.0, 3.0]
    decisions = [
        decision("sound", shown, vector=vector),
        decision("outdated", shown, vector=vector, features="0000", at=AT + DAY),
    ]
    frame = framed(fill(lake, decisions, [event("e-1", "redeem", AT + 2 * DAY)]))

    assert frame.rows["decision_id"].tolist() == ["sound"]
    assert frame.outcome.tolist() == [0]


def test_without_decisions_there_are_no_rows(lake: DuckDbLake) -> None:
    frame = framed(fill(lake, []))

    assert len(frame.rows) == len(frame.matrix) == frame.recorded == 0

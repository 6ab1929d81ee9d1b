"""Which redemptions stand as of an instant? Against a stack of them, kept by hand."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as arrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.duckdb_lake import DuckDbLake
from foundation.taken_back import standing, with_taken_back

START = datetime(2026, 5, 4, tzinfo=UTC)
Event = tuple[str, str, str, int]

SCHEMA = arrow.schema(
    [
        ("customer_id", arrow.string()),
        ("offer_id", arrow.string()),
        ("kind", arrow.string()),
        ("at", arrow.timestamp("us", tz="UTC")),
    ]
)
events = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bo"]),
        st.sampled_from(["o-1", "o-2"]),
        st.sampled_from(["redeem", "redeem", "reverse", "sent"]),
        # Few instants: what happens at one and the same is common.
        st.integers(0, 8),
    ),
    max_size=24,
)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def stand(lake: DuckDbLake, told: list[Event], as_of: int) -> Counter[Event]:
    rows = [(*names, at(second)) for *names, second in told]
    columns = [list(one) for one in zip(*rows, strict=True)] or [[], [], [], []]
    table = arrow.table(dict(zip(SCHEMA.names, columns, strict=True)), SCHEMA)
    known: Any = with_taken_back(lake.memory(table))
    found = lake.fetch(standing(known.filter(known["at"] < at(as_of)), at(as_of)))
    assert found.column_names == [*SCHEMA.names, "taken_back_at"]
    return Counter(
        (r["customer_id"], r["offer_id"], r["kind"], int((r["at"] - START).total_seconds()))
        for r in found.to_pylist()
    )


def by_hand(told: list[Event], as_of: int) -> Counter[Event]:
    found, stacks = Counter[Event](), defaultdict[tuple[str, str], list[Event]](list)
    for event in sorted(told, key=lambda one: (one[3], one[2])):
        customer, offer, kind, second = event
        if second >= as_of:
            continue
        if kind == "sent":
            found[event] += 1
        elif kind == "redeem":
            stacks[customer, offer].append(event)
        elif stacks[customer, offer]:
            stacks[customer, offer].pop()
    for stack in stacks.values():
        found.update(stack)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(events, st.integers(0, 10))
def test_a_reversal_takes_back_the_latest_redemption_that_still_stood(
    lake: DuckDbLake, told: list[Event], as_of: int
) -> None:
    assert stand(lake, told, as_of) == by_hand(told, as_of)


def test_a_reversal_told_later_does_not_exist_yet(lake: DuckDbLake) -> None:
    told = [("ana", "o-1", "redeem", 1), ("ana", "o-1", "reverse", 5)]
    assert stand(lake, told, 5) == Counter({told[0]: 1})
    assert stand(lake, told, 6) == Counter()


def test_a_reversal_of_nothing_takes_nothing_back_that_comes_after(lake: DuckDbLake) -> None:
    told = [("ana", "o-1", "reverse", 1), ("ana", "o-1", "redeem", 2)]
    assert stand(lake, told, 9) == Counter({told[1]: 1})

"""Long lists in rules: the same answers as short ones, and no seconds of compiling."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as arrow
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.among import LONGEST_WRITTEN
from foundation.contracts import PURCHASES
from foundation.counted_events import Count, with_counts
from foundation.rule_profile import Facts, judge
from foundation.rule_sets import attribute_column, holds, segment_column
from foundation.rules import Vocabulary, read_rule

AT = datetime(2026, 5, 1, tzinfo=UTC)
TOWNS = [f"town-{n}" for n in range(0, 3 * LONGEST_WRITTEN, 2)]
# Some live in a town of the list, some do not, of some nothing is known.
LIVE = ["town-0", "town-1", None, f"town-{3 * LONGEST_WRITTEN - 2}", "", "town-4"]
VOCABULARY = Vocabulary((), ("rfm",), {"town": {"string"}})


@pytest.mark.parametrize(
    "rule",
    [
        {"attribute": "town", "in": TOWNS},
        {"not": {"attribute": "town", "in": TOWNS}},
        {"segment": "rfm", "in": TOWNS},
        {"any": [{"attribute": "town", "in": TOWNS[:1]}, {"not": {"segment": "rfm", "in": TOWNS}}]},
        {"all": [{"attribute": "town", "in": TOWNS}, {"attribute": "town", "in": TOWNS[2:]}]},
    ],
)
def test_a_long_list_holds_for_the_same_people_as_set_and_as_function(
    lake: DuckDbLake, rule: dict[str, Any]
) -> None:
    read = read_rule(rule, VOCABULARY)
    people = lake.memory(
        arrow.table(
            {
                "place": list(range(len(LIVE))),
                attribute_column("town", "string"): LIVE,
                segment_column("rfm"): LIVE[::-1],
            }
        )
    )
    one = judge(read)
    told = [
        one(
            Facts(
                {},
                {} if group is None else {"rfm": group},
                {} if town is None else {"town": town},
            )
        )
        for town, group in zip(LIVE, LIVE[::-1], strict=True)
    ]

    asked = people.mutate(member=holds(read, people)).order_by("place").select("member")
    assert lake.fetch(asked)["member"].to_pylist() == told
    assert len(set(told)) == 2
    kept = people.filter(holds(read, people)).order_by("place").select("place")
    assert lake.fetch(kept)["place"].to_pylist() == [n for n, member in enumerate(told) if member]


def line(n: int) -> dict[str, Any]:
    return {
        "line_id": f"l-{n}", "customer_id": f"c-{n % 3}", "order_id": f"o-{n}",
        "product_id": f"town-{n}", "channel": "store", "at": AT - timedelta(hours=n + 1),
        "local_day": 20_573, "local_hour": 7, "quantity": 1.0, "amount": 100, "discount": 0,
        "offer_discount": 0,
    }  # fmt: skip


def test_events_of_a_long_list_are_counted_as_those_of_a_short_one(lake: DuckDbLake) -> None:
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows([line(n) for n in range(60)]))
    people = lake.memory(arrow.table({"customer_id": ["c-0", "c-1", "c-2", "c-9"]}))
    long = Count.of("purchase", {"product": TOWNS}, 2)
    # The same products, without those that nobody bought.
    short = Count.of("purchase", {"product": TOWNS[:30]}, 2)

    found = lake.fetch(with_counts(people, lake, [long, short], AT)).to_pandas()

    found = found.set_index("customer_id").sort_index()
    # By hand: of the newest 48 lines every second is counted, 8 of each customer's 16.
    assert found[long.name].tolist() == found[short.name].tolist() == [8, 8, 8, 0]


def test_100_000_values_take_no_seconds(lake: DuckDbLake) -> None:
    towns = [f"town-{n}" for n in range(100_000)]
    read = read_rule({"not": {"attribute": "town", "in": towns}}, VOCABULARY)
    people = lake.memory(arrow.table({attribute_column("town", "string"): [*LIVE, "elsewhere"]}))

    began = time.perf_counter()
    found = lake.fetch(people.filter(holds(read, people)))

    assert found.num_rows == 3
    # Written out they took 20 s.
    assert time.perf_counter() - began < 5

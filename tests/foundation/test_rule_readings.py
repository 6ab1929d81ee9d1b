"""Sets, profiles and the index name the same members, over a thousand rules and hostile data."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from adapters.duckdb_lake import DuckDbLake
from foundation.attributes import attribute_kinds, attributes_of
from foundation.contracts import INTERACTIONS, PRODUCTS, PURCHASES
from foundation.counted_events import SOURCES, Count, with_counts
from foundation.people import people_table, vocabulary_of
from foundation.rule_profile import Facts, judge
from foundation.rule_sets import holds
from foundation.rules import DEEPEST, Rule, counts, read_rule
from regulars.jobs.event_index import read_event_index, write_event_index

# The clocks of Vienna went forward on 29 March 2026 at 01:00 UTC: its day had 23 hours.
T = datetime(2026, 3, 30, 1, 0, 0, 500_000, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
CUSTOMERS = 60
EDGES = [T - d * DAY + shift for d in (1, 2, 7, 30) for shift in (-TICK, 0 * TICK, TICK)]

NUMBERS = [0.0, -0.0, 1.0, 2.0, 0.1, 0.1 + 0.2, 1.9999999999999998, 1e308, 5e-324, float(2**60)]
INSTANTS = [
    datetime(2026, 3, 29, 2, 0, tzinfo=ZoneInfo("Europe/Vienna")).astimezone(UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
ZONES = ["UTC", "Europe/Vienna", "America/St_Johns", "Asia/Kathmandu"]


# What would end a text, open a comment or stand for a parameter, were it taken for SQL.
HOSTILE = """\\' OR 1=1 --;%s{x}$1? \u2028\uffff"""


class World:
    """Customers with gaps, booleans beside 1 and 0, and events on both sides of every boundary."""

    def __init__(self, folder: Path) -> None:
        draw = random.Random(5)
        self.ids = [f"c-{i:02}" for i in range(CUSTOMERS)]
        self.products = {
            "p-1": ("COFFEE", "BEANS", "own"),
            "p-2": ("COFFEE", "PODS", None),
            "p-3": ("TEA", None, "own"),
        }
        self.lines = self._lines(draw)
        self.back = defaultdict[str, float](float)
        for line in self.lines:
            if line.get("returns_line_id") and line["at"] < T:
                self.back[line["returns_line_id"]] -= line["quantity"]
        self.told = [
            {
                "event_id": f"e-{n}",
                "customer_id": draw.choice([*self.ids[2:], "stranger"]),
                "at": self._moment(draw),
                "channel": draw.choice(["app", "email"]),
                "kind": draw.choice(["sent", "redeem", "view"]),
                "offer_id": draw.choice(["X", "Y", None]),
                "touchpoint": draw.choice(["inbox", None]),
            }
            for n in range(600)
        ]
        self.features = pd.DataFrame(
            {
                "spend": [draw.choice([*NUMBERS, math.nan]) for _ in self.ids],
                "orders": pd.array(
                    [draw.choice([0, 1, 2, 2**60, None]) for _ in self.ids], "Int64"
                ),
            },
            index=pd.Index(self.ids, name="customer_id"),
        )
        self.groups = pd.DataFrame(
            {
                "lifecycle": [draw.choice(["new", "active", None]) for _ in self.ids],
                "vip": [draw.choice(["member", None]) for _ in self.ids],
            },
            index=self.features.index,
            dtype=object,
        )
        self.attributes = [
            attributes_of(
                {
                    "home_store_id": draw.choice(["s-1", "s-2", None]),
                    "joined_at": draw.choice([*INSTANTS, None]),
                    "attributes": draw.choice(
                        [
                            None,
                            "[]",
                            '{"mixed": true, "tier": "gold"}',
                            '{"mixed": 1, "tier": null}',
                            '{"mixed": "1", "tier": ["gold"]}',
                            '{"mixed": 0, "tier": "true"}',
                            '{"mixed": false, "tier": "sil\'ver"}',
                            json.dumps({"tier": HOSTILE}),
                        ]
                    ),
                }
            )
            for _ in self.ids
        ]
        self.lake = DuckDbLake(folder)
        products = [
            {"product_id": p, "category": c, "subcategory": s, "brand": b}
            for p, (c, s, b) in self.products.items()
        ]
        with self.lake.write() as write:
            write.merge("products", PRODUCTS.from_rows(products))
            write.merge("purchases", PURCHASES.from_rows(self.lines))
            write.merge("interactions", INTERACTIONS.from_rows(self.told))
        with self.lake.write() as write:
            write_event_index(self.lake, write, self.ids, T)
        self.people = self.lake.memory(people_table(self.features, self.groups, self.attributes))
        self.indexes = {
            source: read_event_index(self.lake, source, CUSTOMERS) for source in SOURCES
        }

    def _moment(self, draw: random.Random) -> datetime:
        return draw.choice([*EDGES, T, T - TICK, T + DAY, T - timedelta(days=draw.random() * 40)])

    def _lines(self, draw: random.Random) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        for order in range(500):
            customer_id, at = draw.choice(self.ids[2:]), self._moment(draw)
            for line in range(draw.choice([1, 1, 2, 3])):
                lines.append(
                    {
                        "line_id": f"l-{order}-{line}",
                        "customer_id": customer_id,
                        "order_id": f"o-{order}",
                        # The last is in no product list.
                        "product_id": draw.choice([*self.products, "p-4"]),
                        "store_id": draw.choice(["s-1", "s-2", None]),
                        "channel": draw.choice(["store", "web"]),
                        "at": at,
                        "local_day": 0,
                        "local_hour": 0,
                        "quantity": draw.choice([1.0, 2.0, 0.3, 0.0]),
                        "amount": 100,
                        "discount": 0,
                        "offer_discount": 0,
                    }
                )
        for n, line in enumerate(draw.sample(lines, 250)):
            # Some give back the whole, some a part, some in two steps, some after T, some nameless.
            share = draw.choice([1.0, 0.5, 1 / 3])
            for step in range(draw.choice([1, 2, 3])):
                lines.append(
                    {
                        **line,
                        "line_id": f"r-{n}-{step}",
                        "order_id": f"back-{n}",
                        "at": line["at"] + draw.choice([TICK, DAY, 20 * DAY]),
                        "quantity": -line["quantity"] * share,
                        "amount": -50,
                        "returns_line_id": draw.choice([line["line_id"]] * 3 + [None]),
                    }
                )
        return lines

    def times(self, customer_id: str, count: Count) -> int:
        """Count by hand, event by event, straight from the definition."""
        since = None if count.days is None else T - timedelta(hours=24 * count.days)
        found = set[str]()
        for event in self.lines if count.event == "purchase" else self.told:
            if event["customer_id"] != customer_id or not event["at"] < T:
                continue
            if since is not None and event["at"] < since:
                continue
            if count.event == "purchase":
                if event.get("returns_line_id") or event["quantity"] <= 0:
                    continue
                if self.back[event["line_id"]] > event["quantity"] - 1e-9:
                    continue
                of_product = self.products.get(event["product_id"], (None, None, None))
                values = dict(zip(("category", "subcategory", "brand"), of_product, strict=True))
                values |= {"product": event["product_id"], "store": event["store_id"]}
                one = event["order_id"]
            else:
                if event["kind"] != count.event:
                    continue
                values = {"offer": event["offer_id"], "touchpoint": event["touchpoint"]}
                one = event["event_id"]
            values["channel"] = event["channel"]
            if all(values[name] in wanted for name, wanted in count.where):
                found.add(one)
        return len(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("rules") / "lake")


COMPARISONS = st.sampled_from(["<", "<=", "=", "!=", ">=", ">"])


def subset(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2)


def where(**fields: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, list[str]]]:
    return st.fixed_dictionaries({}, optional=fields)


def counted(event: st.SearchStrategy[str], narrowed: Any) -> st.SearchStrategy[dict[str, Any]]:
    days = {"days": st.sampled_from([1, 2, 7, 30, 36_525])}
    return st.fixed_dictionaries(
        {
            "count": st.fixed_dictionaries({"event": event}, optional={"where": narrowed, **days}),
            "is": COMPARISONS,
            "value": st.integers(0, 4),
        }
    )


def compared(
    family: str, names: list[str], values: st.SearchStrategy[Any], comparisons: Any = COMPARISONS
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {family: st.sampled_from(names), "is": comparisons, "value": values}
    )


NUMBER = st.one_of(st.sampled_from(NUMBERS), st.integers(-1, 3), st.floats(-3, 3))
WRITTEN = st.builds(
    lambda at, zone, shift: (at + shift * TICK).astimezone(ZoneInfo(zone)).isoformat(),
    st.sampled_from(INSTANTS),
    st.sampled_from(ZONES),
    st.integers(-1, 1),
)
LEAVES = st.one_of(
    compared("feature", ["spend", "orders"], NUMBER),
    st.fixed_dictionaries(
        {"segment": st.just("lifecycle"), "in": subset("new", "active", "nobody's", HOSTILE)}
    ),
    st.just({"segment": "vip"}),
    compared("attribute", ["attributes.mixed"], NUMBER),
    compared("attribute", ["attributes.mixed"], st.booleans(), st.sampled_from(["=", "!="])),
    compared("attribute", ["joined_at"], WRITTEN),
    st.fixed_dictionaries(
        {
            "attribute": st.sampled_from(["attributes.mixed", "attributes.tier", "home_store_id"]),
            "in": subset("gold", "sil'ver", "1", "true", "s-1", HOSTILE, ""),
        }
    ),
    counted(
        st.just("purchase"),
        where(
            category=subset("COFFEE", "TEA", "MILK"),
            subcategory=subset("BEANS", "PODS"),
            brand=subset("own", HOSTILE),
            product=subset("p-1", "p-4"),
            store=subset("s-1", "s-2"),
            channel=subset("store", "web"),
        ),
    ),
    counted(
        st.sampled_from(["sent", "redeem", "view", "visit"]),
        where(offer=subset("X", "Y"), channel=subset("app"), touchpoint=subset("inbox")),
    ),
)
RULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)
RULES_AT_ONCE, ROUNDS = 100, 10


@settings(
    max_examples=ROUNDS,
    derandomize=True,
    database=None,
    deadline=None,
    # The assertion names the rule; to shrink a hundred of them takes minutes.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(documents=st.lists(RULES, min_size=RULES_AT_ONCE, max_size=RULES_AT_ONCE))
def test_set_profile_and_index_name_the_same_members_of_a_thousand_rules(
    world: World, documents: list[dict[str, Any]]
) -> None:
    vocabulary = vocabulary_of(world.people.columns)
    rules = [read_rule(document, vocabulary) for document in documents]
    asked = {count.name: count for rule in rules for count in counts(rule)}

    sets, counted_sets = by_sets(world, rules, asked)
    profiles = by_profiles(world, rules, asked)

    for number, document in enumerate(documents):
        assert sets[number] == profiles[number], document
    for name, count in asked.items():
        assert world.indexes[count.source].times(count).tolist() == counted_sets[name], count


def by_sets(
    world: World, rules: list[Rule], asked: Mapping[str, Count]
) -> tuple[list[list[str]], dict[str, list[int]]]:
    people = world.lake.memory(
        world.lake.fetch(with_counts(world.people, world.lake, list(asked.values()), T))
    )
    answers = people.select(
        "customer_id", *asked, **{f"rule_{i}": holds(rule, people) for i, rule in enumerate(rules)}
    )
    found = world.lake.fetch(answers.order_by("customer_id")).to_pydict()
    members = [
        [
            c
            for c, holds_for in zip(found["customer_id"], found[f"rule_{i}"], strict=True)
            if holds_for
        ]
        for i in range(len(rules))
    ]
    # Never null: a rule says yes or no of everybody.
    assert not any(None in found[f"rule_{i}"] for i in range(len(rules)))
    return members, {name: found[name] for name in asked}


def by_profiles(world: World, rules: list[Rule], asked: Mapping[str, Count]) -> list[list[str]]:
    @cache
    def times(customer_id: str, name: str) -> int:
        return world.times(customer_id, asked[name])

    everyone = [
        Facts(
            dict(zip(world.features, world.features.loc[c].astype(float), strict=True)),
            {k: v for k, v in world.groups.loc[c].items() if isinstance(v, str)},
            attributes,
            {name: times(c, name) for name in asked if times(c, name)},
        )
        for c, attributes in zip(world.ids, world.attributes, strict=True)
    ]
    judges = [judge(rule) for rule in rules]
    return [
        [c for c, facts in zip(world.ids, everyone, strict=True) if decides(facts)]
        for decides in judges
    ]


@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    leaves=st.lists(LEAVES, min_size=10, max_size=10),
    shape=st.lists(st.sampled_from(["all", "any", "not"]), min_size=DEEPEST - 2, max_size=50),
)
def test_set_and_profile_agree_on_rules_as_wide_and_as_deep_as_they_may_be(
    world: World, leaves: list[dict[str, Any]], shape: list[str]
) -> None:
    vocabulary = vocabulary_of(world.people.columns)
    deep: dict[str, Any] = leaves[0]
    for word in shape[: DEEPEST - 2]:
        deep = {"not": deep} if word == "not" else {word: [*leaves[1:], deep]}
    wide = {"any": [{"not": {"all": leaves * 25}}, {"all": leaves * 25}]}
    rules = [read_rule(document, vocabulary) for document in (wide, deep)]
    asked = {count.name: count for rule in rules for count in counts(rule)}

    assert by_sets(world, rules, asked)[0] == by_profiles(world, rules, asked)


def test_the_kinds_of_an_attribute_are_those_it_comes_in(world: World) -> None:
    kinds = attribute_kinds(world.attributes)

    assert kinds["attributes.mixed"] == {"boolean", "number", "string"}
    assert kinds["attributes.tier"] == {"string"}
    assert vocabulary_of(world.people.columns).attributes.keys() == kinds.keys()


def test_a_day_is_24_hours_also_where_the_clocks_are_turned(tmp_path: Path) -> None:
    vienna = ZoneInfo("Europe/Vienna")
    # From noon to noon 23 hours pass here: eleven o'clock of the day before is within the day.
    noon = datetime(2026, 3, 29, 12, tzinfo=vienna).astimezone(UTC)
    moments = [datetime(2026, 3, 28, hour, tzinfo=vienna).astimezone(UTC) for hour in (10, 11, 12)]
    lake = DuckDbLake(tmp_path)
    with lake.write() as write:
        write.merge(
            "interactions",
            INTERACTIONS.from_rows(
                [
                    {
                        "event_id": f"e-{n}",
                        "customer_id": f"c-{n}",
                        "at": at,
                        "channel": "app",
                        "kind": "visit",
                    }
                    for n, at in enumerate(moments)
                ]
            ),
        )
    count = Count.of("visit", {}, 1)
    people = ibis.memtable({"customer_id": ["c-0", "c-1", "c-2"]})

    found = lake.fetch(with_counts(people, lake, [count], noon).order_by("customer_id"))

    assert [(noon - at) / timedelta(hours=1) for at in moments] == [25, 24, 23]
    assert found[count.name].to_pylist() == [0, 1, 1]

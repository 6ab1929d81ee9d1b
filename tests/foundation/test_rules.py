import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.counted_events import Count
from foundation.errors import RegularsError
from foundation.rule_profile import Facts, Judge, judge
from foundation.rules import (
    DEEPEST,
    FORMS,
    AttributeKind,
    CountIs,
    InvalidRule,
    UnknownName,
    Vocabulary,
    read_rule,
)

FEATURES = ("recency_days", "spend_30d", "orders_30d")
SEGMENTS = ("lifecycle", "rfm")
ATTRIBUTES: dict[str, list[AttributeKind]] = {
    "attributes.vip": ["boolean"],
    "joined_at": ["instant"],
    "points": ["number"],
    "tier": ["string"],
}


def compiled(
    document: Any, features: Sequence[str] = FEATURES, segments: Sequence[str] = SEGMENTS
) -> Judge:
    return judge(read_rule(document, Vocabulary(features, segments, ATTRIBUTES)))


def holds(
    document: Any, features: dict[str, float], segments: dict[str, str] | None = None
) -> bool:
    return compiled(document)(Facts(features, segments or {}))


def compare(word: str, value: float) -> dict[str, Any]:
    return {"feature": "recency_days", "is": word, "value": value}


# ----------------------------------------------------------------------------------- what holds


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<", [True, False, False]),
        ("<=", [True, True, False]),
        ("=", [False, True, False]),
        ("!=", [True, False, True]),
        (">=", [False, True, True]),
        (">", [False, False, True]),
    ],
)
def test_each_comparison_below_at_and_above_its_value(word: str, expected: list[bool]) -> None:
    found = [holds(compare(word, 30), {"recency_days": at}) for at in (29.0, 30.0, 31.0)]

    assert found == expected


@pytest.mark.parametrize("word", ["<", "<=", "=", "!=", ">=", ">"])
@pytest.mark.parametrize("features", [{}, {"recency_days": math.nan}])
def test_a_comparison_with_a_missing_value_is_false_and_not_turns_it_to_true(
    word: str, features: dict[str, float]
) -> None:
    assert holds(compare(word, 30), features) is False
    assert holds({"not": compare(word, 30)}, features) is True


def test_a_customer_is_in_a_segment_when_her_group_is_listed() -> None:
    rule = {"segment": "lifecycle", "in": ["new", "active"]}

    assert holds(rule, {}, {"lifecycle": "active"})
    assert not holds(rule, {}, {"lifecycle": "lost"})
    # Another segmentation's group of the same name says nothing.
    assert not holds(rule, {}, {"rfm": "active"})


def test_a_customer_without_a_group_is_in_none_and_not_turns_it_to_true() -> None:
    rule = {"segment": "lifecycle", "in": ["lost"]}

    assert not holds(rule, {}, {})
    assert holds({"not": rule}, {}, {})


def test_the_rule_of_the_documentation_finds_who_came_lately_and_is_not_lost() -> None:
    rule = json.loads(
        '{"all": [{"feature": "recency_days", "is": "<", "value": 30},'
        ' {"not": {"segment": "lifecycle", "in": ["lost"]}}]}'
    )

    assert holds(rule, {"recency_days": 3.0}, {"lifecycle": "active"})
    assert not holds(rule, {"recency_days": 3.0}, {"lifecycle": "lost"})
    assert not holds(rule, {"recency_days": 30.0}, {"lifecycle": "active"})


def test_a_rule_compiled_once_keeps_nothing_of_the_customer_before() -> None:
    rule = compiled({"any": [compare("<", 30), compare(">", 300)]})

    found = [rule(Facts({"recency_days": at}, {})) for at in (3.0, 100.0, 400.0, math.nan, 3.0)]

    assert found == [True, False, True, False, True]


def test_a_document_changed_after_compiling_changes_nothing() -> None:
    document = {"segment": "lifecycle", "in": ["active"]}
    rule = compiled(document)
    document["in"].append("lost")

    assert not rule(Facts({}, {"lifecycle": "lost"}))


# ------------------------------------------------------- against an evaluator that interprets it


def naive(document: dict[str, Any], features: dict[str, float], segments: dict[str, str]) -> bool:
    """Walk the document for every customer anew, straight from the language's description."""
    if "all" in document:
        return False not in [naive(part, features, segments) for part in document["all"]]
    if "any" in document:
        return True in [naive(part, features, segments) for part in document["any"]]
    if "not" in document:
        return not naive(document["not"], features, segments)
    if "segment" in document:
        return document["segment"] in segments and segments[document["segment"]] in document["in"]
    value = features.get(document["feature"])
    if value is None or value != value:
        return False
    bound = document["value"]
    match document["is"]:
        case "<":
            return value < bound
        case "<=":
            return value < bound or value == bound
        case "=":
            return value == bound
        case "!=":
            return value < bound or value > bound
        case ">=":
            return value > bound or value == bound
        case _:
            return value > bound


# Few different numbers, so that equality happens.
NUMBERS = st.one_of(st.integers(-2, 2), st.floats(-2, 2), st.sampled_from([1e308, -0.0, 2**60]))
GROUPS = st.sampled_from(["new", "active", "lost"])
LEAVES = st.one_of(
    st.fixed_dictionaries(
        {
            "feature": st.sampled_from(FEATURES),
            "is": st.sampled_from(["<", "<=", "=", "!=", ">=", ">"]),
            "value": NUMBERS,
        }
    ),
    st.fixed_dictionaries(
        {"segment": st.sampled_from(SEGMENTS), "in": st.lists(GROUPS, min_size=1, max_size=3)}
    ),
)
RULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=12,
)
CUSTOMERS = st.dictionaries(
    st.sampled_from(FEATURES), st.one_of(NUMBERS.map(float), st.just(math.nan), st.just(math.inf))
)


@given(RULES, CUSTOMERS, st.dictionaries(st.sampled_from(SEGMENTS), GROUPS))
def test_a_compiled_rule_decides_as_a_naive_evaluator_does(
    document: dict[str, Any], features: dict[str, float], segments: dict[str, str]
) -> None:
    # As it arrives: through JSON.
    sent = json.loads(json.dumps(document))

    assert holds(sent, features, segments) is naive(document, features, segments)


@given(RULES, CUSTOMERS, st.dictionaries(st.sampled_from(SEGMENTS), GROUPS))
def test_de_morgan_holds_also_where_values_are_missing(
    document: dict[str, Any], features: dict[str, float], segments: dict[str, str]
) -> None:
    parts = [document, compare("<", 1)]

    assert holds({"not": {"all": parts}}, features, segments) == holds(
        {"any": [{"not": part} for part in parts]}, features, segments
    )


# --------------------------------------------------------------------------------- what is refused

GOOD = compare("<", 30)


def attribute(name: str, word: str, value: Any) -> dict[str, Any]:
    return {"attribute": name, "is": word, "value": value}


def times(event: Any, value: Any) -> dict[str, Any]:
    return {"count": event, "is": ">=", "value": value}


@pytest.mark.parametrize(
    ("document", "path", "allowed"),
    [
        ([], "rule:", "write all, any, not or a comparison"),
        (None, "rule:", "write all, any, not or a comparison"),
        ("recency_days < 30", "rule:", "write all, any, not or a comparison"),
        ({}, "rule:", FORMS),
        ({"feature": "recency_days", "value": 3}, "rule:", FORMS),
        ({"all": [GOOD], "any": [GOOD]}, "rule:", FORMS),
        ({"ALL": [GOOD]}, "rule:", FORMS),
        ({**GOOD, "unit": "days"}, "rule:", FORMS),
        ({"all": []}, "rule.all:", "a list of at least one rule"),
        ({"any": GOOD}, "rule.any:", "a list of at least one rule"),
        ({"all": [GOOD, 7]}, "rule.all[1]:", "write all, any, not or a comparison"),
        ({"not": [GOOD]}, "rule.not:", "write all, any, not or a comparison"),
        (
            {"all": [GOOD, {"any": [{"not": {"feature": "age", "is": "<", "value": 3}}]}]},
            "rule.all[1].any[0].not.feature: 'age'",
            "orders_30d, recency_days, spend_30d",
        ),
        ({"feature": ["recency_days"], "is": "<", "value": 3}, "rule.feature:", "write one in"),
        (compare("==", 3), "rule.is: '=='", "< <= = != >= >"),
        ({**GOOD, "is": []}, "rule.is: []", "< <= = != >= >"),
        ({**GOOD, "is": None}, "rule.is: None", "< <= = != >= >"),
        ({**GOOD, "value": "30"}, "rule.value: '30'", "no finite number"),
        ({**GOOD, "value": None}, "rule.value: None", "no finite number"),
        ({**GOOD, "value": True}, "rule.value: True", "no finite number"),
        ({**GOOD, "value": math.nan}, "rule.value: nan", "no finite number"),
        ({**GOOD, "value": -math.inf}, "rule.value: -inf", "no finite number"),
        # JSON's numbers have no largest one, doubles have.
        (json.loads('{"not": {"feature": "recency_days", "is": "<", "value": 1%s}}' % ("0" * 400)),
         "rule.not.value:", "no finite number"),
        ({"segment": "mood", "in": ["good"]}, "rule.segment: 'mood'", "lifecycle, rfm"),
        ({"segment": {}, "in": ["good"]}, "rule.segment: {}", "write one in quotes"),
        ({"segment": "rfm", "in": "lost"}, "rule.in: 'lost'", "give at least one"),
        ({"segment": "rfm", "in": []}, "rule.in: []", "give at least one"),
        ({"segment": "rfm", "in": ["a", 3]}, "rule.in:", "give at least one"),
        # What JSON can write and no engine takes, wherever a text may stand.
        ({"segment": "rfm", "in": ["a", "b\x00c"]}, "rule.in[1]: 'b\\x00c'", "take it out"),
        ({"attribute": "tier", "in": ["\ud800"]}, "rule.in[0]: '\\ud800'", "take it out"),
        (times({"event": "purchase", "where": {"brand": ["\udfff"]}}, 3),
         "rule.count.where.brand[0]:", "take it out"),
        ({"not": {"any": [GOOD] * 501}}, "rule.not.any: holds 501 comparisons", "at most 500"),
        ({"all": [{"any": [GOOD] * 300}, {"all": [GOOD] * 300}]}, "rule.all: holds 600",
         "list values under in"),
        ({"attribute": "age", "in": ["x"]}, "rule.attribute: 'age'", "attributes.vip, joined_at"),
        ({"attribute": "tier", "in": "gold"}, "rule.in: 'gold'", "give at least one"),
        # To Python True is 1, to a marketer it is not.
        (attribute("attributes.vip", "=", 1), "rule.value: 'attributes.vip' is never a number",
         "true or false"),
        (attribute("points", "=", True), "rule.value: 'points' is never a boolean", "a number"),
        (attribute("attributes.vip", "<", True), "rule.is: '<'", "write ="),
        (attribute("joined_at", "<", 20), "rule.value: 'joined_at' is never a number",
         "an instant like"),
        (attribute("joined_at", "<", "2026-01-31"), "rule.value: '2026-01-31'", "with its zone"),
        (attribute("joined_at", "<", "soon"), "rule.value: 'soon'", "with its zone"),
        (attribute("joined_at", "<", "0001-01-01T00:00:00+14:00"), "rule.value:", "with its zone"),
        (attribute("points", "<", None), "rule.value: None", "for texts write in"),
        ({"attribute": "points", "in": ["3"]}, "rule.in: 'points' is never a string", "a number"),
        (times({"event": "purchase"}, 2.5), "rule.value: 2.5", "write it like 3"),
        (times({"event": "purchase"}, -1), "rule.value: -1", "write it like 3"),
        (times({"event": "purchase"}, True), "rule.value: True", "write it like 3"),
        (times("purchase", 3), "rule.count: 'purchase'", "write event"),
        (times({"event": "purchase", "hours": 3}, 3), "rule.count:", "where, days"),
        (times({"event": "bought"}, 3), "rule.count.event: 'bought'", "purchase, sent"),
        (times({"event": "return"}, 3), "rule.count.event: 'return'", "purchase, sent"),
        (times({"event": "sent", "where": {"category": ["A"]}}, 3), "rule.count.where: 'category'",
         "offer, channel, touchpoint"),
        (times({"event": "purchase", "where": {"offer": ["A"]}}, 3), "rule.count.where: 'offer'",
         "category, subcategory, brand, product, store, channel"),
        (times({"event": "purchase", "where": []}, 3), "rule.count.where: []", "write like"),
        (times({"event": "purchase", "where": {"brand": "own"}}, 3), "rule.count.where.brand:",
         "give at least one"),
        (times({"event": "purchase", "days": 0}, 3), "rule.count.days: 0", "from 1 to 36525"),
        (times({"event": "purchase", "days": 7.0}, 3), "rule.count.days: 7.0", "from 1 to 36525"),
        (times({"event": "purchase", "days": None}, 3), "rule.count.days: None", "leave it out"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_refused_with_the_path_of_the_fault_and_what_is_allowed(
    document: Any, path: str, allowed: str
) -> None:
    with pytest.raises(InvalidRule) as refused:
        compiled(document)

    line = str(refused.value)
    assert line.startswith(path)
    assert allowed in line
    assert "\n" not in line


def test_only_a_name_that_is_not_known_here_counts_as_unknown() -> None:
    later = {"feature": "visits_7d", "is": ">", "value": 3}

    with pytest.raises(UnknownName):
        compiled(later)
    with pytest.raises(UnknownName, match="none known"):
        compiled(GOOD, ())
    # A fault that no newer snapshot mends comes first.
    with pytest.raises(InvalidRule) as refused:
        compiled({**later, "is": "about"})
    assert not isinstance(refused.value, UnknownName)


def test_a_counted_event_that_the_snapshot_lacks_is_unknown_and_never_silently_none() -> None:
    document = times({"event": "purchase", "days": 30}, 0)
    count = Count.of("purchase", {}, 30)

    with pytest.raises(UnknownName, match=r"rule\.count: 'purchase' is not counted"):
        read_rule(document, Vocabulary((), (), counts=()))
    assert read_rule(document, Vocabulary((), (), counts=(count.name,))) == CountIs(count, ">=", 0)
    # Of a customer the snapshot does not have nothing was counted: not even never.
    assert not judge(CountIs(count, ">=", 0))(Facts({}, {}))
    assert judge(CountIs(count, ">=", 0))(Facts({}, {}, counts={}))


def test_a_count_has_one_name_however_it_is_written() -> None:
    one = Count.of("purchase", {"brand": ["b", "a", "b"], "category": ["x"]}, 30)
    other = Count.of("purchase", {"category": ["x"], "brand": ["a", "b"]}, 30)

    assert one == other
    assert one.name == other.name
    assert one.name != Count.of("purchase", {"category": ["x"], "brand": ["a", "b"]}, None).name


def test_a_rule_may_be_deep_but_not_bottomless() -> None:
    def nested(depth: int) -> dict[str, Any]:
        document = GOOD
        for _ in range(depth - 1):
            document = {"not": document}
        return document

    assert holds(nested(DEEPEST), {"recency_days": 3.0}) is (DEEPEST % 2 == 1)
    with pytest.raises(InvalidRule, match=f"at most {DEEPEST} deep"):
        compiled(nested(DEEPEST + 1))
    with pytest.raises(InvalidRule, match="deep"):
        compiled(nested(5_000))


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["all", "any", "not", "feature", "is", "value", "segment", "in"]),
                st.text(max_size=3),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@given(JUNK)
def test_whatever_json_brings_is_a_rule_or_refused_in_words(document: Any) -> None:
    line = "rule"
    try:
        assert compiled(document)(Facts({}, {})) in (True, False)
    except RegularsError as error:
        line = str(error)

    assert line.startswith("rule")

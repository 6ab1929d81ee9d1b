"""The rule language: who is in a segment, who may see an offer; JSON, checked before it is stored.

    {"all": [{"feature": "recency_days", "is": "<", "value": 30},
             {"count": {"event": "purchase", "where": {"category": ["COFFEE"]}, "days": 30},
              "is": ">=", "value": 3},
             {"not": {"segment": "lifecycle", "in": ["lost"]}}]}

A document is read once into a tree, and the tree has three readings: a set of customers
(rule_sets.py), a function of one profile (rule_profile.py), a sentence (rule_sentence.py).

A comparison with a missing value is false, also under `is: "!="`; `not` turns it to true. The
same holds for a segmentation in which she has no group, and for an attribute whose value is of
another kind than the rule's.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args

from foundation.counted_events import EVENTS, FIELDS, Count
from foundation.errors import RegularsError
from foundation.texts import storable

Comparison = Literal["<", "<=", "=", "!=", ">=", ">"]
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)

# What an attribute's value may be; a JSON list, object or null is none of them, so it is missing.
AttributeKind = Literal["string", "number", "boolean", "instant"]

# The group of everybody whom a living segment holds.
MEMBER = "member"

# Deeper ones are mistakes, and would exhaust the interpreter's stack.
DEEPEST = 50

# More are slow to compile every night, and nobody reads them.
MOST_COMPARISONS = 500

FORMS = (
    "allowed are all, any, not, {feature, is, value}, {segment, in}, {segment}, "
    "{attribute, is, value}, {attribute, in} and {count, is, value}"
)


class InvalidRule(RegularsError):
    """A rule is not of the language; the line gives the path of the fault."""


class UnknownName(InvalidRule):
    """A rule asks for a name or a counted event that is not known here, perhaps not yet."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a rule may ask about.

    `segments` are segmentations and living segments; `attributes` gives the kinds in which each
    attribute's values come; `counts` names the counted events that are at hand, None where events
    themselves are and so all can be counted.
    """

    features: Collection[str]
    segments: Collection[str]
    attributes: Mapping[str, Collection[AttributeKind]] = field(
        default_factory=dict[str, Collection[AttributeKind]]
    )
    counts: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: "tuple[Rule, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: "tuple[Rule, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    part: "Rule"


@dataclass(frozen=True, slots=True)
class FeatureIs:
    feature: str
    comparison: Comparison
    value: float


@dataclass(frozen=True, slots=True)
class SegmentIn:
    segment: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """`value` is a number, a truth or an instant in UTC, as `kind` says."""

    attribute: str
    kind: AttributeKind
    comparison: Comparison
    value: float | bool | datetime


@dataclass(frozen=True, slots=True)
class AttributeIn:
    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountIs:
    count: Count
    comparison: Comparison
    value: int


Rule: TypeAlias = AllOf | AnyOf | Not | FeatureIs | SegmentIn | AttributeIs | AttributeIn | CountIs


def read_rule(document: Any, vocabulary: Vocabulary) -> Rule:
    """Return a rule's tree.

    Args:
        document: The rule, decoded from JSON.
        vocabulary: What may be asked about.

    Raises:
        InvalidRule: The path of the fault, and what is allowed there; UnknownName where the rule
            is well formed up to a name that may not be asked about.
    """
    return _read(document, "rule", 1, vocabulary)


def leaves(rule: Rule) -> "tuple[Rule, ...]":
    """Return a rule's comparisons, from left to right."""
    match rule:
        case AllOf(parts) | AnyOf(parts):
            return tuple(leaf for part in parts for leaf in leaves(part))
        case Not(part):
            return leaves(part)
        case _:
            return (rule,)


def counts(rule: Rule) -> tuple[Count, ...]:
    """Return the counted events a rule asks for, each once."""
    asked = (leaf.count for leaf in leaves(rule) if isinstance(leaf, CountIs))
    return tuple({count.name: count for count in asked}.values())


def _read(node: Any, path: str, depth: int, vocabulary: Vocabulary) -> Rule:
    if depth > DEEPEST:
        raise InvalidRule(f"{path[:60]}…: rules lie in rules at most {DEEPEST} deep; flatten it")
    if not isinstance(node, dict):
        raise InvalidRule(f"{path}: {node!r} is no object; write all, any, not or a comparison")
    keys = set(node)
    if keys in ({"all"}, {"any"}):
        (word,) = keys
        parts = node[word]
        if not isinstance(parts, list) or not parts:
            raise InvalidRule(f"{path}.{word}: give a list of at least one rule")
        read = tuple(
            _read(part, f"{path}.{word}[{i}]", depth + 1, vocabulary)
            for i, part in enumerate(parts)
        )
        compared = sum(len(leaves(part)) for part in read)
        if compared > MOST_COMPARISONS:
            raise InvalidRule(
                f"{path}.{word}: holds {compared} comparisons, at most {MOST_COMPARISONS} are "
                "allowed; list values under in, or make living segments of parts"
            )
        return AllOf(read) if word == "all" else AnyOf(read)
    if keys == {"not"}:
        return Not(_read(node["not"], f"{path}.not", depth + 1, vocabulary))
    if keys == {"feature", "is", "value"}:
        return _feature(node, path, vocabulary)
    if keys in ({"segment", "in"}, {"segment"}):
        return _segment(node, path, vocabulary)
    if keys == {"attribute", "is", "value"}:
        return _attribute(node, path, vocabulary)
    if keys == {"attribute", "in"}:
        values = _strings(node["in"], f"{path}.in", "values")
        name = _known(node["attribute"], f"{path}.attribute", vocabulary.attributes)
        _check_kind(name, "string", path, "in", vocabulary)
        return AttributeIn(name, values)
    if keys == {"count", "is", "value"}:
        return _count(node, path, vocabulary)
    raise InvalidRule(f"{path}: keys {sorted(str(k) for k in keys)} fit no form; {FORMS}")


def _feature(node: dict[str, Any], path: str, vocabulary: Vocabulary) -> FeatureIs:
    comparison = _comparison(node["is"], path)
    value = _number(node["value"])
    if value is None:
        raise InvalidRule(f"{path}.value: {node['value']!r} is no finite number; write it like 30")
    name = _known(node["feature"], f"{path}.feature", vocabulary.features)
    return FeatureIs(name, comparison, value)


def _segment(node: dict[str, Any], path: str, vocabulary: Vocabulary) -> SegmentIn:
    groups = _strings(node["in"], f"{path}.in", "group names") if "in" in node else (MEMBER,)
    return SegmentIn(_known(node["segment"], f"{path}.segment", vocabulary.segments), groups)


def _attribute(node: dict[str, Any], path: str, vocabulary: Vocabulary) -> AttributeIs:
    comparison, written = _comparison(node["is"], path), node["value"]
    kind: AttributeKind
    value: float | bool | datetime | None
    if isinstance(written, bool):
        kind, value = "boolean", written
        if comparison not in ("=", "!="):
            raise InvalidRule(f"{path}.is: {comparison!r} does not order true and false; write =")
    elif isinstance(written, str):
        kind, value = "instant", _instant(written, path)
    else:
        kind, value = "number", _number(written)
    if value is None:
        raise InvalidRule(
            f"{path}.value: {written!r} is no finite number, true, false or instant; for texts "
            "write in"
        )
    name = _known(node["attribute"], f"{path}.attribute", vocabulary.attributes)
    _check_kind(name, kind, path, "value", vocabulary)
    return AttributeIs(name, kind, comparison, value)


def _instant(written: str, path: str) -> datetime:
    try:
        read = datetime.fromisoformat(written)
        if read.tzinfo is not None:
            return read.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidRule(
        f"{path}.value: {written!r} is no instant; write it with its zone, like "
        "2026-01-31T00:00:00+01:00, and texts under in"
    )


_WRITTEN: dict[AttributeKind, str] = {
    "string": "in with a list of texts",
    "number": "a number",
    "boolean": "true or false",
    "instant": "an instant like 2026-01-31T00:00:00Z",
}


def _check_kind(
    name: str, kind: AttributeKind, path: str, key: str, vocabulary: Vocabulary
) -> None:
    """Refuse a comparison that no customer's value could answer: true is not 1."""
    found = vocabulary.attributes[name]
    if kind not in found:
        allowed = " or ".join(_WRITTEN[k] for k in sorted(found))
        raise InvalidRule(f"{path}.{key}: {name!r} is never a {kind}; compare it with {allowed}")


def _count(node: dict[str, Any], path: str, vocabulary: Vocabulary) -> CountIs:
    comparison, value = _comparison(node["is"], path), node["value"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidRule(f"{path}.value: {value!r} is no number of times; write it like 3")
    count = _counted(node["count"], f"{path}.count")
    if vocabulary.counts is not None and count.name not in vocabulary.counts:
        raise UnknownName(
            f"{path}.count: {count.event!r} is not counted like this in the live snapshot; "
            "'regulars segment' counts what stored rules ask for"
        )
    return CountIs(count, comparison, value)


def _counted(node: Any, path: str) -> Count:
    if not isinstance(node, dict) or not {"event"} <= set(node) <= {"event", "where", "days"}:
        raise InvalidRule(
            f"{path}: {node!r} fits no form; write event and, if you like, where, days"
        )
    event, where, days = node["event"], node.get("where", {}), node.get("days")
    if not isinstance(event, str) or event not in EVENTS:
        raise InvalidRule(f"{path}.event: {event!r} is none of {', '.join(EVENTS)}")
    fields = FIELDS["purchase" if event == "purchase" else "interaction"]
    if not isinstance(where, dict):
        raise InvalidRule(
            f"{path}.where: {where!r} is no object; write like {{{fields[0]}: [...]}}"
        )
    for name in where:
        if name not in fields:
            raise InvalidRule(f"{path}.where: {name!r} is none of {', '.join(fields)}")
    if "days" in node and not (
        isinstance(days, int) and not isinstance(days, bool) and 1 <= days <= LONGEST_DAYS
    ):
        raise InvalidRule(
            f"{path}.days: {days!r} is no whole number of days from 1 to {LONGEST_DAYS}; "
            "leave it out for the whole past"
        )
    return Count.of(
        event, {n: _strings(v, f"{path}.where.{n}", "values") for n, v in where.items()}, days
    )


# A century: what is longer is a mistake.
LONGEST_DAYS = 36_525


def _comparison(word: Any, path: str) -> Comparison:
    for comparison in COMPARISONS:
        if isinstance(word, str) and word == comparison:
            return comparison
    raise InvalidRule(f"{path}.is: {word!r} is none of {' '.join(COMPARISONS)}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _strings(values: Any, path: str, what: str) -> tuple[str, ...]:
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(item, str) for item in values)
    ):
        raise InvalidRule(f"{path}: {values!r} is no list of {what}; give at least one")
    for i, text in enumerate(values):
        if not storable(text):
            raise InvalidRule(
                f"{path}[{i}]: {text!r} holds a null character or half a character, which no "
                "stored text does; take it out"
            )
    return tuple(dict.fromkeys(values))


def _known(name: Any, path: str, known: Collection[str]) -> str:
    if not isinstance(name, str):
        raise InvalidRule(f"{path}: {name!r} is no name; write one in quotes")
    if name not in known:
        raise UnknownName(f"{path}: {name!r} is none of {', '.join(sorted(known)) or 'none known'}")
    return name

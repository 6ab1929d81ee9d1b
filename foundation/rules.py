"""The rule language: who may see an offer, written as JSON, checked before it is stored.

    {"all": [{"feature": "recency_days", "is": "<", "value": 30},
             {"not": {"segment": "lifecycle", "in": ["lost"]}}]}

A comparison with a missing value is false, also under `is: "!="`; `not` turns it to true. The
same holds for a segmentation in which she has no group.
"""

import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from foundation.errors import RegularsError

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


# Deeper ones are mistakes, and would exhaust the interpreter's stack.
DEEPEST = 50


class InvalidRule(RegularsError):
    """A rule is not of the language; the line gives the path of the fault."""


class UnknownName(InvalidRule):
    """A rule asks for a feature or a segmentation that is not known here, perhaps not yet."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may ask about one customer: her features (NaN is missing) and segments."""

    features: Mapping[str, float]
    segments: Mapping[str, str]


Rule = Callable[[Facts], bool]


def compile_rule(document: Any, features: Collection[str], segments: Collection[str]) -> Rule:
    """Return a rule as a function of one customer's facts.

    Args:
        document: The rule, decoded from JSON.
        features, segments: Names that may be asked about.

    Raises:
        InvalidRule: The path of the fault, and what is allowed there; UnknownName where the rule
            is well formed up to a name that may not be asked about.
    """
    return _compile(document, "rule", 1, frozenset(features), frozenset(segments))


def _compile(
    node: Any, path: str, depth: int, features: frozenset[str], segments: frozenset[str]
) -> Rule:
    if depth > DEEPEST:
        raise InvalidRule(f"{path[:60]}…: rules lie in rules at most {DEEPEST} deep; flatten it")
    if not isinstance(node, dict):
        raise InvalidRule(f"{path}: {node!r} is no object; write all, any, not or a comparison")
    keys = set(node)
    for word, combine in (("all", all), ("any", any)):
        if keys == {word}:
            parts = node[word]
            if not isinstance(parts, list) or not parts:
                raise InvalidRule(f"{path}.{word}: give a list of at least one rule")
            rules = [
                _compile(part, f"{path}.{word}[{i}]", depth + 1, features, segments)
                for i, part in enumerate(parts)
            ]
            return lambda facts, combine=combine, rules=rules: combine(r(facts) for r in rules)
    if keys == {"not"}:
        inner = _compile(node["not"], f"{path}.not", depth + 1, features, segments)
        return lambda facts: not inner(facts)
    if keys == {"feature", "is", "value"}:
        return _comparison(node, path, features)
    if keys == {"segment", "in"}:
        return _membership(node, path, segments)
    raise InvalidRule(
        f"{path}: keys {sorted(str(k) for k in keys)} fit no form; allowed are all, any, not, "
        "{feature, is, value} and {segment, in}"
    )


def _comparison(node: dict[str, Any], path: str, features: frozenset[str]) -> Rule:
    name, word, bound = node["feature"], node["is"], _number(node["value"])
    if not isinstance(word, str) or word not in _COMPARISONS:
        raise InvalidRule(f"{path}.is: {word!r} is none of {' '.join(_COMPARISONS)}")
    if bound is None:
        raise InvalidRule(f"{path}.value: {node['value']!r} is no finite number; write it like 30")
    _check_name(name, f"{path}.feature", features)
    compare = _COMPARISONS[word]

    def holds(facts: Facts) -> bool:
        found = facts.features.get(name, math.nan)
        return not math.isnan(found) and compare(found, bound)

    return holds


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _membership(node: dict[str, Any], path: str, segments: frozenset[str]) -> Rule:
    name, allowed = node["segment"], node["in"]
    if (
        not isinstance(allowed, list)
        or not allowed
        or not all(isinstance(item, str) for item in allowed)
    ):
        raise InvalidRule(f"{path}.in: {allowed!r} is no list of group names; give at least one")
    _check_name(name, f"{path}.segment", segments)
    groups = frozenset(allowed)
    return lambda facts: facts.segments.get(name) in groups


def _check_name(name: Any, path: str, known: frozenset[str]) -> None:
    if not isinstance(name, str):
        raise InvalidRule(f"{path}: {name!r} is no name; write one in quotes")
    if name not in known:
        raise UnknownName(f"{path}: {name!r} is none of {', '.join(sorted(known)) or 'none known'}")

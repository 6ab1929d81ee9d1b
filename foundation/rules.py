"""The rule language: who may see an offer, written as JSON, checked before it is stored.

    {"all": [{"feature": "recency_days", "is": "<", "value": 30},
             {"not": {"segment": "lifecycle", "in": ["lost"]}}]}

A comparison with a missing value is false, also under `is: "!="`; `not` turns it to true.
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


class InvalidRule(RegularsError):
    """A rule is not of the language; the line gives the path of the fault."""


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
        InvalidRule: The path of the fault, and what is allowed there.
    """
    return _compile(document, "rule", features, segments)


def _compile(node: Any, path: str, features: Collection[str], segments: Collection[str]) -> Rule:
    if not isinstance(node, dict):
        raise InvalidRule(f"{path}: {node!r} is no object; write all, any, not or a comparison")
    keys = set(node)
    for word, combine in (("all", all), ("any", any)):
        if keys == {word}:
            parts = node[word]
            if not isinstance(parts, list) or not parts:
                raise InvalidRule(f"{path}.{word}: give a list of at least one rule")
            rules = [
                _compile(part, f"{path}.{word}[{i}]", features, segments)
                for i, part in enumerate(parts)
            ]
            return lambda facts, combine=combine, rules=rules: combine(r(facts) for r in rules)
    if keys == {"not"}:
        inner = _compile(node["not"], f"{path}.not", features, segments)
        return lambda facts: not inner(facts)
    if keys == {"feature", "is", "value"}:
        return _comparison(node, path, features)
    if keys == {"segment", "in"}:
        return _membership(node, path, segments)
    raise InvalidRule(
        f"{path}: keys {sorted(str(k) for k in keys)} fit no form; allowed are all, any, not, "
        "{feature, is, value} and {segment, in}"
    )


def _comparison(node: dict[str, Any], path: str, features: Collection[str]) -> Rule:
    name, word, value = node["feature"], node["is"], node["value"]
    if name not in features:
        raise InvalidRule(f"{path}.feature: {name!r} is none of {', '.join(sorted(features))}")
    if word not in _COMPARISONS:
        raise InvalidRule(f"{path}.is: {word!r} is none of {' '.join(_COMPARISONS)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise InvalidRule(f"{path}.value: {value!r} is not a number")
    compare, bound = _COMPARISONS[word], float(value)

    def holds(facts: Facts) -> bool:
        found = facts.features.get(name, math.nan)
        return not math.isnan(found) and compare(found, bound)

    return holds


def _membership(node: dict[str, Any], path: str, segments: Collection[str]) -> Rule:
    name, allowed = node["segment"], node["in"]
    if name not in segments:
        raise InvalidRule(f"{path}.segment: {name!r} is none of {', '.join(sorted(segments))}")
    if not isinstance(allowed, list) or not all(isinstance(item, str) for item in allowed):
        raise InvalidRule(f"{path}.in: give a list of group names")
    groups = frozenset(allowed)
    return lambda facts: facts.segments.get(name) in groups

"""A rule as a function of one profile: is she in, now, in microseconds?"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from foundation.rules import (
    AllOf,
    AnyOf,
    AttributeIn,
    AttributeIs,
    Comparison,
    CountIs,
    FeatureIs,
    Not,
    Rule,
    SegmentIn,
)

Attribute: TypeAlias = str | float | bool | datetime

_COMPARISONS: dict[Comparison, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may ask about one customer.

    Features (NaN is missing), her group by segmentation, attributes, and how often each counted
    event happened, by its name: absent is never, and None says that nothing was counted for her,
    so that every count is missing.
    """

    features: Mapping[str, float]
    segments: Mapping[str, str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    counts: Mapping[str, int] | None = None


Judge: TypeAlias = Callable[[Facts], bool]


def judge(rule: Rule) -> Judge:
    """Return a rule as a function of one customer's facts."""
    match rule:
        case AllOf(parts):
            every = [judge(part) for part in parts]
            return lambda facts: all(holds(facts) for holds in every)
        case AnyOf(parts):
            some = [judge(part) for part in parts]
            return lambda facts: any(holds(facts) for holds in some)
        case Not(part):
            inner = judge(part)
            return lambda facts: not inner(facts)
        case FeatureIs():
            return _feature(rule)
        case SegmentIn(segment, allowed):
            groups = frozenset(allowed)
            return lambda facts: facts.segments.get(segment) in groups
        case AttributeIs():
            return _attribute(rule)
        case AttributeIn(attribute, allowed):
            values = frozenset(allowed)
            return lambda facts: facts.attributes.get(attribute) in values
        case CountIs(count, comparison, value):
            name, compare = count.name, _COMPARISONS[comparison]
            return lambda facts: (
                facts.counts is not None and compare(facts.counts.get(name, 0), value)
            )


def _feature(rule: FeatureIs) -> Judge:
    name, compare, value = rule.feature, _COMPARISONS[rule.comparison], rule.value

    def holds(facts: Facts) -> bool:
        found = facts.features.get(name, math.nan)
        return not math.isnan(found) and compare(found, value)

    return holds


def _attribute(rule: AttributeIs) -> Judge:
    name, compare, value = rule.attribute, _COMPARISONS[rule.comparison], rule.value
    # By the exact type: to Python True is the number 1.
    kind = type(value)

    def holds(facts: Facts) -> bool:
        found = facts.attributes.get(name)
        return type(found) is kind and compare(found, value)

    return holds

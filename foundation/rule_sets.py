"""A rule as a set: which of these people are in? Ibis expressions, for any engine.

People are a table with a row a customer and a column for everything a rule may ask: its names are
given by the functions below, and a counted event's column by the count itself.
"""

import operator
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import ibis

from foundation.among import among
from foundation.rules import (
    AllOf,
    AnyOf,
    AttributeIn,
    AttributeIs,
    AttributeKind,
    Comparison,
    CountIs,
    FeatureIs,
    Not,
    Rule,
    SegmentIn,
)

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any

_COMPARISONS: dict[Comparison, Callable[[Rows, Rows], Rows]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def feature_column(name: str) -> str:
    return f"feature.{name}"


def segment_column(name: str) -> str:
    return f"segment.{name}"


def attribute_column(name: str, kind: AttributeKind) -> str:
    """Return the column of an attribute's values of one kind; one of mixed kinds has several."""
    return f"attribute.{kind}.{name}"


def holds(rule: Rule, people: ibis.Table) -> ibis.Value:
    """Return who is in: a boolean a row, never null.

    Args:
        people: Every column the rule asks for, features and numbers as float64, counts as int64,
            instants as timestamps in UTC; missing values are null.
    """
    match rule:
        case AllOf(parts):
            return _combined(operator.and_, [holds(part, people) for part in parts])
        case AnyOf(parts):
            return _combined(operator.or_, [holds(part, people) for part in parts])
        case Not(part):
            negated: Rows = holds(part, people)
            return ~negated
        case FeatureIs(feature, comparison, value):
            return _compared(people[feature_column(feature)], comparison, _number(value))
        case SegmentIn(segment, groups):
            return _known(among(people[segment_column(segment)], groups))
        case AttributeIs(attribute, kind, comparison, value):
            column = people[attribute_column(attribute, kind)]
            return _compared(column, comparison, _literal(value))
        case AttributeIn(attribute, values):
            return _known(among(people[attribute_column(attribute, "string")], values))
        case CountIs(count, comparison, value):
            return _compared(people[count.name], comparison, ibis.literal(value, "int64"))


def _combined(operation: Callable[[Rows, Rows], Rows], parts: Sequence[Rows]) -> Rows:
    # Halved, not one after the other: expressions nest, and compilers descend into them.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return operation(_combined(operation, parts[:middle]), _combined(operation, parts[middle:]))


def _compared(column: Rows, comparison: Comparison, value: Rows) -> Rows:
    return _known(_COMPARISONS[comparison](column, value))


def _known(answer: Rows) -> Rows:
    # What compares with null is null, and null under `not` stays null: false is what we mean.
    return answer.fill_null(False)


def _literal(value: float | bool | datetime) -> Rows:
    if isinstance(value, datetime):
        return ibis.literal(value).cast("timestamp('UTC')")
    return ibis.literal(value) if isinstance(value, bool) else _number(value)


def _number(value: float) -> Rows:
    # As a text: engines read a number's digits as a decimal first, and may lose the last bit.
    return ibis.literal(repr(value)).cast("float64")

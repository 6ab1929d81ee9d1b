"""A rule as a sentence: what a marketer reads before she saves it.

A rule compares money in minor units, as features hold it; she reads it as money, so that a rule of
200 that meant 200.00 is seen to say 2.00.
"""

from datetime import datetime

from foundation.counted_events import Count
from foundation.features import money_features
from foundation.money import MINOR_PER_MAJOR, Currency
from foundation.rules import (
    MEMBER,
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

_NUMBERS: dict[Comparison, str] = {
    "<": "is below",
    "<=": "is at most",
    "=": "is",
    "!=": "is known and not",
    ">=": "is at least",
    ">": "is above",
}
_INSTANTS: dict[Comparison, str] = {
    "<": "is before",
    "<=": "is not after",
    "=": "is",
    "!=": "is known and not",
    ">=": "is not before",
    ">": "is after",
}
_TIMES: dict[Comparison, str] = {
    "<": "fewer than",
    "<=": "at most",
    "=": "exactly",
    "!=": "not exactly",
    ">=": "at least",
    ">": "more than",
}


def sentence(rule: Rule, currency: Currency) -> str:
    """Return a rule in English; parts of parts stand in brackets."""
    match rule:
        case AllOf(parts):
            return " and ".join(_part(part, currency) for part in parts)
        case AnyOf(parts):
            return " or ".join(_part(part, currency) for part in parts)
        case Not(part):
            return f"not ({sentence(part, currency)})"
        case FeatureIs(feature, comparison, value):
            told = _money(value, currency) if feature in money_features() else f"{value:.15g}"
            return f"{feature} {_NUMBERS[comparison]} {told}"
        case SegmentIn(segment, groups):
            if groups == (MEMBER,):
                return f"is in segment {segment}"
            return f"{segment} is {_either(groups)}"
        case AttributeIs(attribute, _, comparison, value):
            return f"{attribute} {_compared(comparison, value)}"
        case AttributeIn(attribute, values):
            return f"{attribute} is {_either(values)}"
        case CountIs(count, comparison, value):
            times = "time" if value == 1 else "times"
            return f"{_event(count)} {_TIMES[comparison]} {value} {times}{_window(count)}"


def _money(minor: float, currency: Currency) -> str:
    if minor == round(minor):
        return currency.show(minor)
    return f"{minor / MINOR_PER_MAJOR:.15g} {currency.code}"


def _part(rule: Rule, currency: Currency) -> str:
    told = sentence(rule, currency)
    several = isinstance(rule, AllOf | AnyOf) and len(rule.parts) > 1
    return f"({told})" if several else told


def _compared(comparison: Comparison, value: float | bool | datetime) -> str:
    if isinstance(value, datetime):
        return f"{_INSTANTS[comparison]} {value.isoformat()}"
    if isinstance(value, bool):
        return f"{_NUMBERS[comparison]} {'true' if value else 'false'}"
    return f"{_NUMBERS[comparison]} {value:.15g}"


def _event(count: Count) -> str:
    verb = "bought" if count.event == "purchase" else f"had '{count.event}'"
    narrowed = " and ".join(f"{name} {_either(values)}" for name, values in count.where)
    if not narrowed:
        return verb
    return f"{verb} {narrowed}" if count.event == "purchase" else f"{verb} for {narrowed}"


def _window(count: Count) -> str:
    if count.days is None:
        return ""
    return " in the last day" if count.days == 1 else f" in the last {count.days} days"


def _either(values: tuple[str, ...]) -> str:
    return " or ".join(values)

"""Attributes: what the retailer knows of a customer beside her events, under one name each."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from foundation.rule_profile import Attribute
from foundation.rules import AttributeKind

COLUMNS: dict[str, AttributeKind] = {
    "household_id": "string",
    "home_store_id": "string",
    "time_zone": "string",
    "joined_at": "instant",
}
DOCUMENTS = ("demographics", "attributes")


def attributes_of(customer: Mapping[str, Any]) -> dict[str, Attribute]:
    """Return a customer's attributes; one she has no value of is absent.

    Args:
        customer: A row of the customers contract. A key of its JSON columns is an attribute under
            the column's name and its own, like `attributes.tier`.
    """
    found: dict[str, Attribute] = {}
    for name in COLUMNS:
        value = customer.get(name)
        if value is not None:
            found[name] = value.astimezone(UTC) if isinstance(value, datetime) else value
    for name in DOCUMENTS:
        document = json.loads(customer.get(name) or "{}")
        # Other JSON than an object has no keys, so no attributes.
        for key, value in document.items() if isinstance(document, dict) else ():
            if isinstance(value, int) and not isinstance(value, bool):
                value = _number(value)
            if isinstance(value, str | float | bool):
                found[f"{name}.{key}"] = value
    return found


def _number(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def kind_of(value: Attribute) -> AttributeKind:
    """Return a value's kind; true is a boolean and no number."""
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case datetime():
            return "instant"
        case _:
            return "number"


def attribute_kinds(
    customers: Iterable[Mapping[str, Attribute]],
) -> dict[str, frozenset[AttributeKind]]:
    """Return the kinds in which each attribute's values come, the contract's columns always."""
    found: dict[str, set[AttributeKind]] = {name: {kind} for name, kind in COLUMNS.items()}
    for attributes in customers:
        for name, value in attributes.items():
            found.setdefault(name, set()).add(kind_of(value))
    return {name: frozenset(kinds) for name, kinds in sorted(found.items())}

"""Names a rule may use: those that exist here, and those of a rule that nothing here bears."""

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from foundation.counted_events import Count
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from foundation.rules import Vocabulary, counts, read_rule
from regulars.jobs.customers import registry
from regulars.jobs.living_segments import definitions, known_attributes
from segmentation.lifecycle import STATES
from segmentation.rfm import GROUPS

# Where the values of a counted event's field stand in the lake.
PLACES = {
    "category": ("products", "category"),
    "subcategory": ("products", "subcategory"),
    "brand": ("products", "brand"),
    # A shop may load receipts alone, without its products.
    "product": ("purchases", "product_id"),
    "store": ("purchases", "store_id"),
    "offer": ("offers", "offer_id"),
    "touchpoint": ("interactions", "touchpoint"),
}
# Too many to read one by one; strangers among them are found all the same.
UNLISTED = ("product", "offer")


def rule_names(lake: Lake) -> dict[str, list[str]]:
    """Return the names that exist: features, groups, segments, attributes, values of fields."""
    fields = {name: _values(lake, name) for name in PLACES if name not in UNLISTED}
    return {
        "feature": [feature.name for feature in registry(lake)],
        "rfm": list(GROUPS),
        "lifecycle": list(STATES),
        "segment": sorted(definitions(lake)),
        "attribute": sorted(known_attributes(lake)),
        **fields,
    }


def strangers(lake: Lake, stored: Any) -> list[str]:
    """Return a line for each value a stored rule counts by that nothing in the lake bears.

    It may be a typing error or a product of tomorrow: a warning, no refusal.
    """
    asked: dict[str, set[str]] = {}
    known = Vocabulary(
        [feature.name for feature in registry(lake)],
        (*SEGMENTATIONS, *definitions(lake)),
        known_attributes(lake),
    )
    for count in counts(read_rule(stored, known)):
        _gather(count, asked)
    return [line for field, values in asked.items() for line in unknown(lake, field, values)]


def unknown(lake: Lake, field: str, values: Collection[str]) -> list[str]:
    """Return a line for each value that nothing in the lake bears, as in "no store here is…".

    Args:
        field: One of PLACES.
    """
    if not values:
        return []
    there = _values(lake, field)
    return [_line(field, value, there) for value in sorted(set(values) - set(there))]


def _gather(count: Count, asked: dict[str, set[str]]) -> None:
    for field, values in count.where:
        if field in PLACES:
            asked.setdefault(field, set()).update(values)


def _values(lake: Lake, field: str) -> list[str]:
    table, column = PLACES[field]
    found = lake.table(table).select(value=column).distinct()
    return sorted(value for value in lake.fetch(found)["value"].to_pylist() if value)


def _line(field: str, value: str, there: Iterable[str]) -> str:
    lower = {name.lower(): name for name in there}
    close = difflib.get_close_matches(value.lower(), lower, 1)
    meant = f"; did you mean {lower[close[0]]!r}?" if close else ""
    return f"no {field} here is called {value!r}{meant}"

"""Data contracts: the tables every part reads and writes, and how a row is judged."""

from foundation.contracts.table import WHOLE_ROW, Column, Fault, Table
from foundation.contracts.tables import (
    ASSUMPTIONS,
    CUSTOMERS,
    DECISIONS,
    INTERACTIONS,
    MEMBERSHIPS,
    OFFERS,
    PRODUCTS,
    PURCHASES,
    QUARANTINE,
    SEGMENT_DEFINITIONS,
    SEGMENTS,
    STORES,
    SURVEYS,
    TABLES,
)

__all__ = [
    "ASSUMPTIONS",
    "CUSTOMERS",
    "DECISIONS",
    "INTERACTIONS",
    "MEMBERSHIPS",
    "OFFERS",
    "PRODUCTS",
    "PURCHASES",
    "QUARANTINE",
    "SEGMENTS",
    "SEGMENT_DEFINITIONS",
    "STORES",
    "SURVEYS",
    "TABLES",
    "WHOLE_ROW",
    "Column",
    "Fault",
    "Table",
]

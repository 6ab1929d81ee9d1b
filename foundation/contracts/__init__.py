"""Data contracts: the tables every part reads and writes, and how a row is judged."""

from foundation.contracts.table import WHOLE_ROW, Column, Fault, Table
from foundation.contracts.tables import (
    ASSUMPTIONS,
    CUSTOMERS,
    DECISIONS,
    INTERACTIONS,
    OFFERS,
    PRODUCTS,
    PURCHASES,
    QUARANTINE,
    SEGMENTS,
    STORES,
    SURVEYS,
    TABLES,
    VALUES,
)

__all__ = [
    "ASSUMPTIONS",
    "CUSTOMERS",
    "DECISIONS",
    "INTERACTIONS",
    "OFFERS",
    "PRODUCTS",
    "PURCHASES",
    "QUARANTINE",
    "SEGMENTS",
    "STORES",
    "SURVEYS",
    "TABLES",
    "VALUES",
    "WHOLE_ROW",
    "Column",
    "Fault",
    "Table",
]

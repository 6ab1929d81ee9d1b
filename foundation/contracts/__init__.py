"""Data contracts: the tables every part reads and writes, and how a row is judged."""

from foundation.contracts.table import WHOLE_ROW, Column, Fault, Table
from foundation.contracts.tables import (
    ASSUMPTIONS,
    CLUSTER_MODELS,
    CONSENTS,
    CUSTOMERS,
    DECISIONS,
    IDENTITIES,
    INTERACTIONS,
    OFFERS,
    PRODUCTS,
    PURCHASES,
    QUARANTINE,
    RECEIPTS,
    SEGMENTS,
    STORES,
    SURVEYS,
    TABLES,
)

__all__ = [
    "ASSUMPTIONS",
    "CLUSTER_MODELS",
    "CONSENTS",
    "CUSTOMERS",
    "DECISIONS",
    "IDENTITIES",
    "INTERACTIONS",
    "OFFERS",
    "PRODUCTS",
    "PURCHASES",
    "QUARANTINE",
    "RECEIPTS",
    "SEGMENTS",
    "STORES",
    "SURVEYS",
    "TABLES",
    "WHOLE_ROW",
    "Column",
    "Fault",
    "Table",
]

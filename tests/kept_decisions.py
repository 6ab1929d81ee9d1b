"""What the database keeps of decisions."""

import time

import psycopg

from adapters.postgres_contacts import PACKED
from foundation.decision import DecisionRecord
from foundation.packed_decision import unpacked

# An answered decision is in the database this soon.
SECONDS = 10.0


def records_in(url: str) -> dict[str, DecisionRecord]:
    """Return all records by decision."""
    with psycopg.connect(url) as connection:
        query = f"SELECT decision_id, {PACKED} FROM decisions"  # noqa: S608
        rows = connection.execute(query.encode()).fetchall()
    return {decision_id: unpacked(decision_id, bytes(kept)) for decision_id, kept in rows}


def record_of(url: str, decision_id: str) -> DecisionRecord:
    """Return the record of an answered decision, once it is there."""
    query = f"SELECT {PACKED} FROM decisions WHERE decision_id = %s"  # noqa: S608
    by = time.monotonic() + SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while (found := connection.execute(query.encode(), [decision_id]).fetchone()) is None:
            assert time.monotonic() < by, f"{decision_id} is not in the database"
            time.sleep(0.01)
    return unpacked(decision_id, bytes(found[0]))

"""Simulated shoppers: marked in the lake, seen by experiments, left out of who customers are.

An experiment on simulated shoppers is there to be compared with its planted truth; that they bought
says nothing of the customers whose names they bear.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import ibis
import pyarrow as arrow

from foundation.lake import Added, Lake, LakeWrite
from foundation.outcome import SIMULATED


def without_simulated(lake: Lake) -> Lake:
    """Return a lake whose purchases, interactions and decisions are real shoppers' alone."""
    return RealShoppers(lake) if simulated_orders(lake) else lake


def simulated_orders(lake: Lake) -> int:
    """Return how many simulated orders a lake holds."""
    return lake.fetch(_told(lake, "order_id").aggregate(n=lambda t: t.count()))["n"][0].as_py()


def no_decision(lake: Lake) -> str:
    """Say why a lake has no decision to look at, and what to do."""
    if isinstance(lake, RealShoppers) and (simulated := lake.left_out("decisions")):
        return (
            f"all {simulated:,} decisions in the lake are of simulated shoppers, which say nothing "
            "of your customers; ask the service for real ones, then run 'regulars ingest'"
        )
    return "no decision is in the lake; run 'regulars ingest' first"


class RealShoppers:
    """See foundation.lake.Lake; what it writes is the whole lake's."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    @property
    def version(self) -> int:
        return self._lake.version

    def pinned(self) -> Lake:
        return RealShoppers(self._lake.pinned())

    def table(self, name: str) -> ibis.Table:
        return self._real(name, self._lake.table(name))

    def added(self, name: str, cursor: str | None) -> Added:
        added = self._lake.added(name, cursor)
        return replace(added, rows=self._real(name, added.rows))

    def derived(self, name: str) -> ibis.Table | None:
        return self._lake.derived(name)

    def memory(self, rows: arrow.Table) -> ibis.Table:
        return self._lake.memory(rows)

    def fetch(self, expression: ibis.Table) -> arrow.Table:
        return self._lake.fetch(expression)

    def stream(self, expression: ibis.Table) -> arrow.RecordBatchReader:
        return self._lake.stream(expression)

    def note(self, name: str) -> str | None:
        return self._lake.note(name)

    def digest(self, tables: Sequence[str]) -> str:
        return self._lake.digest(tables)

    def drop_history(self) -> None:
        self._lake.drop_history()

    def write(self) -> AbstractContextManager[LakeWrite]:
        return self._lake.write()

    def left_out(self, name: str) -> int:
        """Return how many rows of a table are simulated shoppers'."""
        rows = (self._lake.table(name), self.table(name))
        everyone, real = (
            self.fetch(one.aggregate(n=lambda t: t.count()))["n"][0].as_py() for one in rows
        )
        return everyone - real

    def _real(self, name: str, rows: ibis.Table) -> ibis.Table:
        if name == "purchases":
            return rows.anti_join(_told(self._lake, "order_id"), "order_id")
        if name == "decisions":
            return rows.anti_join(_told(self._lake, "decision_id"), "decision_id")
        if name == "interactions":
            return rows.filter(lambda t: (t.text != SIMULATED).fill_null(True))
        return rows


def _told(lake: Lake, key: str) -> ibis.Table:
    """Return the orders or decisions, by `key`, that simulated events name."""
    told = lake.table("interactions").filter(lambda t: t.text == SIMULATED)
    return told.filter(lambda t: t[key].notnull()).select(key).distinct()

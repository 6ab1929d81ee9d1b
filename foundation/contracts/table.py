"""What a table promises: its columns, their types and rules, and which rows break them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

Kind = Literal[
    "string", "int64", "float64", "boolean", "time", "money", "strings", "floats", "json"
]

# The column of a fault that is not about one column, a line with too few values, say.
WHOLE_ROW = "(row)"

TIME = arrow.timestamp("us", tz="UTC")

ARROW_TYPES: dict[str, arrow.DataType] = {
    "string": arrow.string(),
    "int64": arrow.int64(),
    "float64": arrow.float64(),
    "boolean": arrow.bool_(),
    "time": TIME,
    "money": arrow.int64(),
    "strings": arrow.list_(arrow.string()),
    "floats": arrow.list_(arrow.float64()),
    "json": arrow.string(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract.

    `money` is int64 minor units, `time` is aware UTC, `json` is a JSON text, `strings` and
    `floats` are lists. `at_least`, `at_most` and `one_of` are the rules a value must keep.
    """

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    one_of: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None

    @property
    def arrow_type(self) -> arrow.DataType:
        return ARROW_TYPES[self.kind]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The highest value of a column in the rows where another column, `where`, `equals` a word."""

    column: str
    at_most: float
    where: str
    equals: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one row was refused. `row` is its position in the frame that was judged."""

    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Table:
    """A named table. `key` identifies a row.

    An event, once told, never changes: the same key with other content is a fault.
    A record is the newest knowledge of a thing: the same key replaces it.
    """

    name: str
    key: str
    nature: Literal["event", "record"]
    columns: tuple[Column, ...]
    ceilings: tuple[Ceiling, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def arrow_schema(self) -> arrow.Schema:
        return arrow.schema(
            [arrow.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns]
        )

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @cached_property
    def _rules(self) -> pa.DataFrameSchema:
        def checks(column: Column) -> list[pa.Check]:
            found: list[pa.Check] = []
            if column.one_of:
                allowed = ", ".join(column.one_of)
                found.append(pa.Check.isin(column.one_of, error=f"must be one of {allowed}"))
            if column.at_least is not None:
                found.append(
                    pa.Check.ge(column.at_least, error=f"must be at least {column.at_least:g}")
                )
            if column.at_most is not None:
                found.append(
                    pa.Check.le(column.at_most, error=f"must be at most {column.at_most:g}")
                )
            return found

        return pa.DataFrameSchema(
            {
                column.name: pa.Column(nullable=column.nullable, checks=checks(column))
                for column in self.columns
            }
        )

    def faults(self, frame: pd.DataFrame) -> list[Fault]:
        """Return every broken rule of typed rows, at most one a row and column.

        Args:
            frame: Rows with this table's columns, index 0..n-1.
        """
        found: list[Fault] = []
        try:
            self._rules.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            cases = errors.failure_cases
            found = _readable(cases.drop_duplicates(subset=["column", "index"]))
        return found + [fault for one in self.ceilings for fault in _above(one, frame)]

    def to_arrow(self, frame: pd.DataFrame) -> arrow.Table:
        """Return rows in the contract's own types and column order."""
        return arrow.Table.from_pandas(
            frame[list(self.names)], schema=self.arrow_schema, preserve_index=False
        )

    def from_rows(self, rows: Sequence[dict[str, Any]]) -> arrow.Table:
        """Return an arrow table of dictionaries; a missing nullable column is null."""
        return arrow.Table.from_pylist(list(rows), schema=self.arrow_schema)


def _above(ceiling: Ceiling, frame: pd.DataFrame) -> list[Fault]:
    values = frame[ceiling.column]
    above = pd.to_numeric(values, errors="coerce") > ceiling.at_most
    rows = frame.index[above & (frame[ceiling.where] == ceiling.equals)]
    reason = f"must be at most {ceiling.at_most:g} where {ceiling.where} is {ceiling.equals}"
    return [Fault(int(row), ceiling.column, str(values[row]), reason) for row in rows]


def _readable(cases: pd.DataFrame) -> list[Fault]:
    found: list[Fault] = []
    for column, index, value, check in zip(
        cases["column"], cases["index"], cases["failure_case"], cases["check"], strict=True
    ):
        missing = str(check) == "not_nullable"
        found.append(
            Fault(
                row=int(index),
                column=str(column),
                value="" if missing else str(value),
                reason="is missing" if missing else str(check),
            )
        )
    return found

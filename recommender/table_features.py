"""Columns of any table as numbers that trees can split: learned on one table, applied to others.

Nothing here looks at outcomes, so an encoding leaks none. Numbers stay, dates become days, words
become one column a frequent word; what is constant, or differs in nearly every row like an id, is
left out with its reason, and so is what has no single value a row, such as a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from foundation.errors import RegularsError

MOST_WORDS = 20
FEWEST_ROWS = 10
# More distinct words than this share of rows are names of rows, not properties.
ID_SHARE = 0.5
# The same for whole numbers, of which an amount in cents has many, too.
NUMBER_ID_SHARE = 0.9
Kind = Literal["number", "date", "words"]


@dataclass(frozen=True)
class Column:
    """How one column is read; `words` has those with a column of their own."""

    name: str
    kind: Kind
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """Columns in use, and those left out with the reason."""

    columns: tuple[Column, ...]
    left_out: dict[str, str]

    def names(self) -> list[str]:
        """Return the names of the matrix's columns."""
        found: list[str] = []
        for column in self.columns:
            words = [f"{column.name}={word}" for word in column.words]
            found += words if column.kind == "words" else [column.name]
        return found

    def matrix(self, table: pd.DataFrame) -> np.ndarray:
        """Return a table's features, NaN where missing, shape (n, len(names())).

        Raises:
            RegularsError: A column is missing.
        """
        if lacking := [c.name for c in self.columns if c.name not in table.columns]:
            raise RegularsError(
                f"column {lacking[0]!r} is missing from the table, features were learned with it; "
                "give the same columns as in training"
            )
        parts = list(self.by_column(table).values())
        return np.column_stack(parts) if parts else np.empty((len(table), 0))

    def by_column(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return each column's part of the matrix, shape (n, width), by its name."""
        return {column.name: _encoded(table[column.name], column) for column in self.columns}

    def without(self, reasons: Mapping[str, str]) -> "Encoding":
        """Return it without some columns, for the reasons given by name."""
        kept = tuple(column for column in self.columns if column.name not in reasons)
        return Encoding(kept, {**self.left_out, **reasons})


def learn_encoding(table: pd.DataFrame) -> Encoding:
    """Look at each column and decide how it is read."""
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name in table.columns:
        values = table[name]
        if is_nested(values):
            left_out[str(name)] = "holds lists or records, no single value a row"
            continue
        kind = _kind(values)
        if kind == "words":
            words = _words(values)
            counts = words.value_counts()
            if len(counts) > max(ID_SHARE * int(words.notna().sum()), MOST_WORDS):
                left_out[str(name)] = f"{len(counts)} distinct words, like an id"
                continue
            kept = [str(w) for w in counts[counts >= FEWEST_ROWS].index[:MOST_WORDS]]
            # Of two words without gaps one says it all.
            if len(counts) == 2 and not words.isna().any():
                kept = kept[:1]
            columns.append(Column(str(name), kind, tuple(kept)))
        else:
            if kind == "number" and (share := _like_ids(values)) is not None:
                left_out[str(name)] = (
                    f"a whole number of its own in {share:.0%} of rows, like an id"
                )
                continue
            columns.append(Column(str(name), kind))
        if _is_constant(_encoded(values, columns[-1])):
            rare = kind == "words" and _words(values).nunique() > 1
            left_out[str(name)] = f"no word in {FEWEST_ROWS} rows" if rare else "constant"
            columns.pop()
    return Encoding(tuple(columns), left_out)


def is_nested(values: pd.Series) -> bool:
    """Return whether a column holds lists or records, as Parquet may."""
    return values.dtype == object and any(
        isinstance(one, list | dict | set | tuple | np.ndarray) for one in values
    )


def _kind(values: pd.Series) -> Kind:
    if pd.api.types.is_datetime64_any_dtype(values):
        return "date"
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return "number"
    words = _words(values).dropna()
    if len(words) == 0:
        return "number"
    if pd.to_numeric(words, errors="coerce").notna().all():
        return "number"
    # A word with a digit in it may be a date; others would only be guessed at.
    dated = words.str.contains(r"\d[-/.:]\d", regex=True).all()
    return "date" if dated and _days(words).notna().mean() > 0.99 else "words"


def _like_ids(values: pd.Series) -> float | None:
    """Return the share of distinct whole numbers where they name rows, None where they do not."""
    found = _encoded(values, Column("", "number"))[:, 0]
    known = found[~np.isnan(found)]
    if len(known) < FEWEST_ROWS or (known != np.floor(known)).any():
        return None
    share = len(np.unique(known)) / len(known)
    return share if share > NUMBER_ID_SHARE else None


def _words(values: pd.Series) -> pd.Series:
    words = values.astype("object").where(values.notna(), None)
    return words.map(lambda v: None if v is None else str(v).strip()).replace("", None)


def _days(values: pd.Series) -> pd.Series:
    found = pd.to_datetime(values, errors="coerce", utc=True, format="mixed")
    return (found - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def _encoded(values: pd.Series, column: Column) -> np.ndarray:
    if column.kind == "words":
        words = _words(values)
        return np.column_stack(
            [np.empty((len(values), 0)), *((words == w).to_numpy(float) for w in column.words)]
        )
    if column.kind == "date":
        plain = values if pd.api.types.is_datetime64_any_dtype(values) else _words(values)
        return _days(plain).to_numpy(dtype=np.float64)[:, None]
    number = values
    if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
        number = pd.to_numeric(_words(values), errors="coerce")
    found = pd.Series(number).astype("float64").to_numpy(copy=True)
    found[np.isinf(found)] = np.nan
    return found[:, None]


def _is_constant(matrix: np.ndarray) -> bool:
    if matrix.size == 0:
        return True
    same = (matrix == matrix[:1]) | (np.isnan(matrix) & np.isnan(matrix[:1]))
    return bool(same.all())

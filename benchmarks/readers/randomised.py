"""Any file of randomised rows: a CSV as programs write it, or Parquet, and what its columns are.

A treatment is the text that the file has: "007" and "7", or "1e3" and "1000", are two. A number of
a typed file is written in full, so that 1 and 1.0 are the same.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.errors import RegularsError
from recommender.trial import InvalidTrial

MOST_TREATMENTS = 50
# Of an outcome told in words: what happened, and what did not.
PAIRS = (("yes", "no"), ("true", "false"), ("y", "n"), ("t", "f"))
# How such a file begins.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Rows that tell how a file writes its numbers.
LOOKED_AT = 1000


@dataclass(frozen=True)
class Columns:
    """What the columns of a randomised table are."""

    treatment: str
    outcome: str
    control: str
    propensity: str | None = None
    unit: str | None = None
    left_out: tuple[str, ...] = ()

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that are nothing else."""
        known = {self.treatment, self.outcome, self.propensity, self.unit, *self.left_out}
        return table[[name for name in table.columns if name not in known]]


def read_table(path: Path, columns: Columns, *, logged: bool = True) -> pd.DataFrame:
    """Read a CSV (comma, semicolon, tab or bar; UTF-8 or Windows-1252) or Parquet file.

    Args:
        logged: Whether the column of propensities must be there.

    Raises:
        RegularsError: It cannot be read, has no rows, lacks a column or has one twice.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _csv(path, columns)
    except (OSError, ValueError, UnicodeError) as error:
        raise RegularsError(
            f"file {path}: {str(error).splitlines()[0]}; give a CSV with a header, or Parquet"
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    _once(path, list(table.columns))
    asked = [columns.treatment, columns.outcome, columns.unit, *columns.left_out]
    for name in [*asked, columns.propensity] if logged else asked:
        if name is not None and name not in table.columns:
            raise RegularsError(
                f"file {path}: no column is called {name!r}; there are {listed(table.columns)}"
            )
    if table.empty:
        raise RegularsError(f"file {path}: has no rows; give the randomised rows")
    return table


def _csv(path: Path, columns: Columns) -> pd.DataFrame:
    with path.open("rb") as file:
        if file.read(2) in UTF_16:
            raise ValueError("it is written in UTF-16, as Excel's Unicode text; save it as UTF-8")
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        head = file.readline()
    separator = max(",;\t|", key=head.count)
    # pandas would give the second of two a name of its own.
    _once(path, [name.strip() for name in next(csv.reader([head], delimiter=separator), [])])
    written: dict[str, Any] = {"sep": separator, "encoding": encoding}
    plain: dict[str, Any] = {"dtype": "str", "keep_default_na": False}
    sample = pd.read_csv(path, **written, **plain, nrows=LOOKED_AT)
    decimal = "," if separator != "," and _decimal_commas(sample) else "."
    table = pd.read_csv(path, **written, decimal=decimal, low_memory=False)
    words = {columns.treatment, columns.unit}
    # A control called "None" or "NA" is a word, and an id keeps its zeros in front.
    read = pd.read_csv(path, **written, **plain, usecols=lambda name: str(name).strip() in words)
    for name in read.columns:
        table[name] = read[name].mask(read[name].str.strip() == "")
    return table


def _encoding(path: Path) -> str:
    """Return UTF-8 where the whole file is that, else what Windows wrote before it."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _decimal_commas(sample: pd.DataFrame) -> bool:
    """Return whether numbers are written 14,05 and none 14.05."""
    cells = sample.astype("str").stack()
    return bool(
        cells.str.fullmatch(r"\s*[+-]?\d+,\d+\s*").any()
        and not cells.str.fullmatch(r"\s*[+-]?\d+\.\d+\s*").any()
    )


def _once(path: Path, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise RegularsError(
                f"file {path}: {count} columns are called {name!r}; give each a name of its own"
            )


def treatments(table: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the treatments' names, the control first.

    Raises:
        InvalidTrial: There is no control, nothing beside it, or there are too many.
    """
    found = sorted(given(table, columns).unique())
    if len(found) > MOST_TREATMENTS:
        raise InvalidTrial(
            f"column {columns.treatment!r} has {len(found)} distinct values, at most "
            f"{MOST_TREATMENTS} are compared; name the column of the treatment"
        )
    control = _named(columns.control, found)
    if control is None:
        raise InvalidTrial(
            f"control {columns.control!r} does not occur in column {columns.treatment!r}; there "
            f"are {listed(found)}"
        )
    if len(found) < 2:
        raise InvalidTrial(
            f"column {columns.treatment!r} has the control {control!r} alone; rows with a "
            "treatment are needed too"
        )
    return [control, *(name for name in found if name != control)]


def given(table: pd.DataFrame, columns: Columns) -> pd.Series:
    """Return the text of each row's treatment.

    Raises:
        InvalidTrial: It is missing somewhere.
    """
    values = table[columns.treatment]
    if missing := int(values.isna().sum()):
        raise InvalidTrial(
            f"treatment {columns.treatment!r} is missing in {missing} of {len(values)} rows; write "
            "the control's value where nothing was given"
        )
    return values.map(_text)


def codes(table: pd.DataFrame, columns: Columns, names: list[str]) -> np.ndarray:
    """Return the code of each row's treatment among `names`, shape (n,).

    Raises:
        InvalidTrial: One is not among them, or two are the same one of them.
    """
    values = given(table, columns)
    known: dict[str, str] = {}
    for text in sorted(values.unique()):
        name = _named(text, names) if text not in names else text
        if name is None:
            raise InvalidTrial(
                f"treatment {text!r} of the test file does not occur in the data learned from; "
                f"there are {listed(names)}"
            )
        if name in known.values():
            raise InvalidTrial(
                f"several treatments of the test file may be {name!r}, one of them {text!r}; write "
                "them as in the data learned from"
            )
        known[text] = name
    return values.map(known).map({name: code for code, name in enumerate(names)}).to_numpy()


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _named(text: str, names: Sequence[str]) -> str | None:
    """Return the one name that a text means: itself, the same number, or but for capitals."""
    text = text.strip()
    if text in names:
        return text
    same = [name for name in names if _number(name) is not None and _number(name) == _number(text)]
    same = same or [name for name in names if name.casefold() == text.casefold()]
    return same[0] if len(same) == 1 else None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column's numbers, shape (n,); a pair such as yes and no becomes 1 and 0.

    Raises:
        InvalidTrial: Some are none, or missing.
    """
    values = table[name]
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind in "mM":
        raise InvalidTrial(
            f"column {name!r} holds dates or times ({values.dtype}), which are no amounts; name "
            "another column, or write the days (or hours) as a number"
        )
    if values.dtype == object or pd.api.types.is_string_dtype(values):
        told = values.dropna().astype("str").str.strip().str.casefold()
        for happened, did_not in PAIRS:
            if set(told.unique()) <= {happened, did_not}:
                values = told.map({happened: 1, did_not: 0}).reindex(values.index)
    found = pd.to_numeric(values, errors="coerce")
    if wrong := values[found.isna() & values.notna()].tolist():
        pairs = ", ".join("/".join(pair) for pair in PAIRS)
        raise InvalidTrial(
            f"column {name!r} has {wrong[0]!r}, which is no number; write 1 and 0 (or a pair of "
            f"{pairs}), or an amount"
        )
    if missing := int(found.isna().sum()):
        raise InvalidTrial(
            f"column {name!r} is missing in {missing} of {len(table)} rows; write 0 where nothing "
            "happened, and leave out rows of which it is not known"
        )
    return found.to_numpy(dtype=np.float64)


def listed(words: Any) -> str:
    """Return words as a sentence has them."""
    return ", ".join(str(word) for word in words)

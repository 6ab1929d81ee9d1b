"""How a retailer's own file becomes rows of a contract: which column, which unit, which zone."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.contracts.table import Column, Fault, Table
from foundation.contracts.tables import TABLES
from foundation.errors import RegularsError
from foundation.money import MINOR_PER_MAJOR

# Filled from `at` and the local zone where a mapping does not name them.
LOCAL_TIME_COLUMNS = ("local_day", "local_hour")


class SourceColumn(BaseModel):
    """Where one contract column comes from. Several source columns are joined with '-'."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    source: list[str] = Field(alias="from", min_length=1)
    unit: Literal["major", "minor"] = "major"
    time_zone: str | None = None
    format: str | None = None


class Mapping(BaseModel):
    """A mapping file: the contract's columns on the left, the source's on the right."""

    model_config = ConfigDict(extra="forbid")

    table: str
    columns: dict[str, SourceColumn]
    constants: dict[str, Any] = {}
    time_zone: str = "UTC"
    local_time_zone: str | None = None

    @property
    def contract(self) -> Table:
        return TABLES[self.table]

    @property
    def source_names(self) -> list[str]:
        return list(dict.fromkeys(name for c in self.columns.values() for name in c.source))


@dataclass(frozen=True)
class Chunk:
    """Some typed rows of one table, where they stood, and what was already wrong with them.

    `frame` has the contract's columns, index 0..n-1; `lines` gives each row's line in the source.
    """

    table: Table
    frame: pd.DataFrame
    lines: "pd.Series[int]"
    faults: list[Fault]
    source: str


def read_mapping(document: Any, name: str) -> Mapping:
    """Return the mapping that a YAML document describes.

    Raises:
        RegularsError: The document names no contract or column, or lacks a needed column.
    """
    if isinstance(document, dict) and isinstance(document.get("columns"), dict):
        document = {
            **document,
            "columns": {c: _long_form(v) for c, v in document["columns"].items()},
        }
    try:
        mapping = Mapping.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RegularsError(f"mapping {name}: {place}: {first['msg']}") from error
    if mapping.table not in TABLES:
        known = ", ".join(TABLES)
        raise RegularsError(f"mapping {name}: table {mapping.table!r} is none of {known}")
    contract = mapping.contract
    given = {*mapping.columns, *mapping.constants}
    if stray := sorted(given - set(contract.names)):
        raise RegularsError(
            f"mapping {name}: {contract.name} has no column {stray[0]!r}; "
            f"its columns are {', '.join(contract.names)}"
        )
    needed = [c.name for c in contract.columns if not c.nullable and c.name not in given]
    missing = [c for c in needed if not (c in LOCAL_TIME_COLUMNS and "at" in given)]
    missing = [c for c in missing if c not in ("discount", "offer_discount")]
    if missing:
        raise RegularsError(
            f"mapping {name}: column {missing[0]!r} of {contract.name} has no source; "
            f"add it under columns or constants"
        )
    return mapping


def _long_form(value: Any) -> Any:
    if isinstance(value, str):
        return {"from": [value]}
    if isinstance(value, list):
        return {"from": value}
    if isinstance(value, dict) and isinstance(value.get("from"), str):
        return {**value, "from": [value["from"]]}
    return value


def convert(
    raw: pd.DataFrame, mapping: Mapping, local_zone: str
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return typed rows of the mapping's contract, and the values that could not be read.

    Args:
        raw: Source rows, index 0..n-1, with at least the mapping's source columns.
        local_zone: Zone of local days and hours where the mapping names none.

    An unreadable value becomes null and a fault; the row keeps its place.
    """
    faults: list[Fault] = []
    typed: dict[str, Any] = {}
    for column in mapping.contract.columns:
        if column.name in mapping.columns:
            source = mapping.columns[column.name]
            values = _joined(raw, source.source)
            reader = _READERS[column.kind]
            typed[column.name] = reader(values, source, mapping, column, faults)
        elif column.name in mapping.constants:
            typed[column.name] = mapping.constants[column.name]
        elif column.name in ("discount", "offer_discount"):
            # A source without discounts sold at the shelf price.
            typed[column.name] = 0
        else:
            typed[column.name] = None
    frame = pd.DataFrame(typed, index=raw.index, columns=list(mapping.contract.names))
    if "local_day" in frame and "local_day" not in mapping.columns:
        add_local_time(frame, mapping.local_time_zone or local_zone)
    return frame, faults


def add_local_time(frame: pd.DataFrame, zone: str) -> None:
    """Fill `local_day` and `local_hour` from `at`, as the wall clock in `zone` shows it."""
    local = pd.to_datetime(frame["at"], utc=True).dt.tz_convert(zone).dt.tz_localize(None)
    days = (local.dt.normalize() - pd.Timestamp(0)).dt.days
    frame["local_day"] = days.astype("Int64")
    frame["local_hour"] = local.dt.hour.astype("Int64")


def _joined(raw: pd.DataFrame, names: list[str]) -> "pd.Series[Any]":
    first = raw[names[0]]
    for name in names[1:]:
        first = first.astype("string") + "-" + raw[name].astype("string")
    return first


def _mark(
    values: "pd.Series[Any]", bad: "pd.Series[bool]", column: Column, why: str, faults: list[Fault]
) -> None:
    rows: list[int] = bad.index[bad].tolist()
    faults.extend(Fault(row, column.name, str(values.loc[row]), why) for row in rows)


def _present(values: "pd.Series[Any]") -> "pd.Series[bool]":
    return values.notna() & (values.astype("string").str.strip() != "").fillna(False)


def _string(
    values: "pd.Series[Any]",
    _source: SourceColumn,
    _mapping: Mapping,
    _column: Column,
    _faults: list[Fault],
) -> "pd.Series[Any]":
    text = values.astype("string").str.strip()
    return text.where(_present(values), None).astype(object).where(_present(values), None)


def _number(
    values: "pd.Series[Any]",
    _source: SourceColumn,
    _mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    read = pd.to_numeric(values, errors="coerce")
    finite = read.abs() < float("inf")
    _mark(values, _present(values) & ~finite, column, "is not a number", faults)
    return read.where(finite)


def _whole(
    values: "pd.Series[Any]",
    source: SourceColumn,
    mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    read = _number(values, source, mapping, column, faults)
    whole = read.isna() | (read == read.round())
    _mark(values, ~whole, column, "is not a whole number", faults)
    return read.where(whole).astype("Int64")


def _money(
    values: "pd.Series[Any]",
    source: SourceColumn,
    mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    if source.unit == "minor":
        return _whole(values, source, mapping, column, faults)
    scaled = _number(values, source, mapping, column, faults) * MINOR_PER_MAJOR
    exact = scaled.isna() | ((scaled - scaled.round()).abs() < 1e-6)
    _mark(values, ~exact, column, "has more than two decimals", faults)
    return scaled.where(exact).round().astype("Int64")


def _time(
    values: "pd.Series[Any]",
    source: SourceColumn,
    mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    zone = source.time_zone or mapping.time_zone
    pattern = source.format or "ISO8601"
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        read = values
    elif pd.api.types.is_datetime64_any_dtype(values):
        read = _at_home(values, zone)
    else:
        text = values.astype("string")
        offset = text.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$", regex=True).fillna(False)
        naive = pd.to_datetime(text.where(~offset), format=pattern, errors="coerce")
        aware = pd.to_datetime(text.where(offset), format=pattern, errors="coerce", utc=True)
        read = aware.where(offset, _at_home(naive, zone).dt.tz_convert("UTC"))
    _mark(values, _present(values) & read.isna(), column, "is not a time", faults)
    return read.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _at_home(naive: "pd.Series[Any]", zone: str) -> "pd.Series[Any]":
    # The hour that the clocks repeat in autumn is taken the first time, the hour they skip in
    # spring at its end: both keep the row and are wrong by at most an hour.
    first = pd.Series(True, index=naive.index).to_numpy()
    return naive.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")


def _flag(
    values: "pd.Series[Any]",
    _source: SourceColumn,
    _mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    read = values.astype("string").str.strip().str.lower().map(words)
    _mark(values, _present(values) & read.isna(), column, "is neither true nor false", faults)
    return read.astype("boolean")


def _structure(
    values: "pd.Series[Any]",
    _source: SourceColumn,
    _mapping: Mapping,
    column: Column,
    faults: list[Fault],
) -> "pd.Series[Any]":
    def read(value: Any) -> Any:
        if column.kind == "json":
            return json.dumps(json.loads(value)) if isinstance(value, str) else json.dumps(value)
        items = json.loads(value) if isinstance(value, str) else value
        return [str(item) if column.kind == "strings" else float(item) for item in items]

    result: list[Any] = []
    for row, value in enumerate(values):
        empty = value is None or (isinstance(value, float) and pd.isna(value)) or value == ""
        try:
            result.append(None if empty else read(value))
        except (TypeError, ValueError):
            faults.append(Fault(row, column.name, str(value), "is not valid JSON of its kind"))
            result.append(None)
    return pd.Series(result, index=values.index, dtype=object)


_Reader = Callable[["pd.Series[Any]", SourceColumn, Mapping, Column, list[Fault]], "pd.Series[Any]"]
_READERS: dict[str, _Reader] = {
    "string": _string,
    "int64": _whole,
    "float64": _number,
    "money": _money,
    "time": _time,
    "boolean": _flag,
    "json": _structure,
    "strings": _structure,
    "floats": _structure,
}

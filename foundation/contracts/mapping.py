"""How a retailer's own file becomes rows of a contract: which column, which unit, which zone."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as arrow
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from foundation.clock import known_zone
from foundation.contracts.table import Column, Fault, Table
from foundation.contracts.tables import TABLES
from foundation.errors import RegularsError
from foundation.money import LARGEST, NUMBER, InvalidAmount, to_minor

# Filled from `at` and the local zone where a mapping does not name them.
LOCAL_TIME_COLUMNS = ("local_day", "local_hour")

# What an offer holds for is everything where a mapping says nothing; a source without discounts
# sold at the shelf price.
LEFT_OUT: dict[str, Any] = {
    "scope": [],
    "channels": [],
    "placements": [],
    "stores": [],
    "discount": 0,
    "offer_discount": 0,
}

# A number as written with a decimal comma, its thousands perhaps set apart by points.
COMMA_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)?(,\d+)?")

# Beyond it, neighbouring whole numbers are one float.
LARGEST_EXACT_FLOAT = 2**53

ZoneName = Annotated[str, AfterValidator(known_zone)]


class SourceColumn(BaseModel):
    """Where one contract column comes from. Several source columns are joined with '-'."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    source: list[str] = Field(alias="from", min_length=1)
    unit: Literal["major", "minor"] = "major"
    time_zone: ZoneName | None = None
    format: str | None = None


class Mapping(BaseModel):
    """A mapping file: the contract's columns on the left, the source's on the right.

    `delimiter` parts the values of a CSV file, `decimal` the units from their fractions in text.
    """

    model_config = ConfigDict(extra="forbid")

    table: str
    columns: dict[str, SourceColumn]
    constants: dict[str, Any] = {}
    time_zone: ZoneName = "UTC"
    local_time_zone: ZoneName | None = None
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."

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
    lines: pd.Series
    faults: list[Fault]
    source: str


def read_mapping(document: Any, name: str) -> Mapping:
    """Return the mapping that a YAML document describes.

    Raises:
        RegularsError: The document names no contract or column, lacks a needed column, or says
            of a column what its kind does not have.
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
        rule = first["msg"].removeprefix("Value error, ")
        raise RegularsError(f"mapping {name}: {place}: {rule}") from error
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
    if twice := sorted(set(mapping.columns) & set(mapping.constants)):
        raise RegularsError(
            f"mapping {name}: {twice[0]!r} stands under columns and under constants; keep one"
        )
    needed = [c.name for c in contract.columns if not c.nullable and c.name not in given]
    missing = [c for c in needed if not (c in LOCAL_TIME_COLUMNS and "at" in given)]
    missing = [c for c in missing if c not in LEFT_OUT]
    if missing:
        raise RegularsError(
            f"mapping {name}: column {missing[0]!r} of {contract.name} has no source; "
            f"add it under columns or constants"
        )
    if contract.key in mapping.constants:
        raise RegularsError(
            f"mapping {name}: {contract.key!r} tells rows apart and cannot be a constant; "
            f"map it to a column, or to several as a list"
        )
    for column, source in mapping.columns.items():
        _check_source(name, contract.column(column), source)
    _check_constants(name, mapping)
    return mapping


def _long_form(value: Any) -> Any:
    if isinstance(value, str):
        return {"from": [value]}
    if isinstance(value, list):
        return {"from": value}
    if isinstance(value, dict) and isinstance(value.get("from"), str):
        return {**value, "from": [value["from"]]}
    return value


def _check_source(name: str, column: Column, source: SourceColumn) -> None:
    """Refuse what would otherwise be passed over in silence, or fail on every row."""
    told = source.model_fields_set
    for setting, kind in (("unit", "money"), ("time_zone", "time"), ("format", "time")):
        if setting in told and column.kind != kind:
            raise RegularsError(
                f"mapping {name}: {column.name!r} is {column.kind}; {setting} is for {kind} columns"
            )
    if len(source.source) > 1 and column.kind not in ("string", "time"):
        raise RegularsError(
            f"mapping {name}: {column.name!r} is {column.kind} and comes from one column; "
            f"only text and times are joined"
        )
    if source.format is not None:
        sample = datetime(2017, 12, 31, 23, 59, 58, tzinfo=UTC)
        try:
            datetime.strptime(sample.strftime(source.format), source.format).replace(tzinfo=UTC)
        except ValueError as error:
            raise RegularsError(
                f"mapping {name}: {column.name!r} has the format {source.format!r}: {error}; "
                f"write it like %d.%m.%Y %H:%M"
            ) from error


def _check_constants(name: str, mapping: Mapping) -> None:
    for column in mapping.contract.columns:
        if column.name not in mapping.constants:
            continue
        faults: list[Fault] = []
        value = mapping.constants[column.name]
        if column.kind == "json" and not isinstance(value, str):
            raise RegularsError(
                f"mapping {name}: constant {column.name} {value!r} is no text; "
                f"write it as JSON between single quotes"
            )
        zone = mapping.time_zone
        _read(_repeated(value, 1), column, _reader(column, _AS_GIVEN, zone, "."), zone, faults)
        if faults:
            raise RegularsError(
                f"mapping {name}: constant {column.name} {value!r} {faults[0].reason}"
            )


def convert(
    raw: pd.DataFrame, mapping: Mapping, local_zone: str
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return typed rows of the mapping's contract, and the values that could not be read.

    Args:
        raw: Source rows, index 0..n-1, with at least the mapping's source columns.
        local_zone: Zone of local days and hours where the mapping names none.

    A value that is read is exact: no digit, no leading zero and no instant is lost. An unreadable
    one becomes null and a fault; the row keeps its place. Blank text and NaN mean missing.
    """
    faults: list[Fault] = []
    typed: dict[str, Any] = {}
    for column in mapping.contract.columns:
        if column.name in mapping.columns:
            source = mapping.columns[column.name]
            values = _joined(raw, source.source)
        elif column.name in mapping.constants:
            source, values = _AS_GIVEN, _repeated(mapping.constants[column.name], len(raw))
        else:
            otherwise = LEFT_OUT.get(column.name)
            many = isinstance(otherwise, list)
            typed[column.name] = _repeated(otherwise, len(raw)) if many else otherwise
            continue
        zone = source.time_zone or mapping.time_zone
        # A constant is YAML's own number.
        decimal = "." if source is _AS_GIVEN else mapping.decimal
        typed[column.name] = _read(
            values, column, _reader(column, source, zone, decimal), zone, faults
        )
    frame = pd.DataFrame(typed, index=raw.index, columns=list(mapping.contract.names))
    given = {*mapping.columns, *mapping.constants}
    derived = [c for c in LOCAL_TIME_COLUMNS if c in typed and c not in given]
    if derived:
        local = pd.DataFrame({"at": frame["at"]})
        add_local_time(local, mapping.local_time_zone or local_zone)
        frame[derived] = local[derived]
    return frame, faults


def add_local_time(frame: pd.DataFrame, zone: str) -> None:
    """Fill `local_day` and `local_hour` from `at`, as the wall clock in `zone` shows it."""
    local = pd.to_datetime(frame["at"], utc=True).dt.tz_convert(zone).dt.tz_localize(None)
    days = (local.dt.normalize() - pd.Timestamp(0)).dt.days
    frame["local_day"] = days.astype("Int64")
    frame["local_hour"] = local.dt.hour.astype("Int64")


def at_home(wall: pd.Series, zone: str) -> pd.Series:
    """Return the instants, in UTC, at which clocks in `zone` showed these naive times.

    The hour that the clocks repeat in autumn is taken the first time, the hour they skip in
    spring at its end: both keep the row and are wrong by at most an hour.
    """
    first = np.ones(len(wall), dtype=bool)
    local = wall.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


_AS_GIVEN = SourceColumn.model_validate({"from": ["constant"]})


class _Unreadable(ValueError):
    """A value that is not of its column's kind; the message follows the value."""


def _repeated(value: Any, times: int) -> pd.Series:
    return pd.Series([value] * times, dtype=object)


def _joined(raw: Any, names: list[str]) -> pd.Series:
    if len(names) == 1:
        return _one(raw[names[0]])
    # By the same reading as an id: 7.0 beside a null in one piece is 7 in the next.
    parts = [[_part(value) for value in _one(raw[name]).tolist()] for name in names]
    whole = [None if None in row else "-".join(row) for row in zip(*parts, strict=True)]
    return pd.Series(whole, index=raw.index, dtype=object)


def _part(value: Any) -> Any:
    return None if _is_missing(value) else _text(value)


def _one(values: pd.Series) -> pd.Series:
    if values.dtype in ("float32", "float[pyarrow]"):
        # The decimal that was written, not its neighbour in double precision.
        written = [None if _is_missing(v) else float(str(np.float32(v))) for v in values.tolist()]
        return pd.Series(written, index=values.index, dtype="float64")
    return values


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or value is pd.NA or value is pd.NaT


def _read(
    values: pd.Series,
    column: Column,
    reader: Callable[[Any], Any],
    zone: str,
    faults: list[Fault],
) -> pd.Series:
    """Read each distinct value once; a source's columns repeat themselves."""
    try:
        places, found = pd.factorize(values)
        distinct = found.tolist()
    except (TypeError, arrow.ArrowException):
        # Lists and structures cannot be told apart so cheaply.
        distinct, places = values.tolist(), np.arange(len(values))
    read: list[Any] = []
    reasons: dict[int, str] = {}
    for place, value in enumerate(distinct):
        try:
            told = None if _is_missing(value) else reader(value)
            read.append(None if told == "" else told)
        except _Unreadable as error:
            reasons[place] = str(error)
            read.append(None)
    for row in np.flatnonzero(np.isin(places, list(reasons))).tolist():
        place = int(places[row])
        faults.append(Fault(row, column.name, str(distinct[place]), reasons[place]))
    # Place -1 is a missing value.
    whole = _typed([*read, None], column, zone).iloc[places]
    return whole.set_axis(values.index)


def _typed(read: list[Any], column: Column, zone: str) -> pd.Series:
    if column.kind in ("int64", "money"):
        return pd.Series(read, dtype="Int64")
    if column.kind == "float64":
        return pd.Series(read, dtype="float64")
    if column.kind == "boolean":
        return pd.Series(read, dtype="boolean")
    if column.kind == "time":
        aware = [value if value is not None and value.tzinfo else None for value in read]
        naive = [value if value is not None and not value.tzinfo else None for value in read]
        told = pd.Series(aware, dtype="datetime64[us, UTC]")
        return told.where(told.notna(), at_home(pd.Series(naive, dtype="datetime64[us]"), zone))
    return pd.Series(read, dtype=object)


def _reader(column: Column, source: SourceColumn, zone: str, decimal: str) -> Callable[[Any], Any]:
    if column.kind == "time":
        return lambda value: _time(value, source.format, ZoneInfo(zone))
    money = _whole if source.unit == "minor" else _money
    read = money if column.kind == "money" else _READERS[column.kind]
    if decimal == "," and column.kind in ("money", "float64", "int64"):
        return lambda value: read(_pointed(value))
    return read


def _pointed(value: Any) -> Any:
    """Return a number that was written with a decimal comma as one with a point."""
    if not isinstance(value, str):
        return value
    if not COMMA_NUMBER.fullmatch(value.strip()):
        raise _Unreadable("is not a number with a decimal comma")
    return value.replace(".", "").replace(",", ".")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # An integer column with a gap reaches us as floats: 1017.0 was the id 1017.
        if not value.is_integer():
            return repr(value)
        if abs(value) > LARGEST_EXACT_FLOAT:
            raise _Unreadable("is a float too large to be exact; write ids as text or int64")
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError as error:
            raise _Unreadable("is not text in UTF-8") from error
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time):
        return value.isoformat()
    raise _Unreadable("is not text")


def _decimal(value: Any) -> Decimal:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not isinstance(value, str | int | float | Decimal) or not NUMBER.fullmatch(text):
        raise _Unreadable("is not a number")
    return Decimal(text)


def _number(value: Any) -> float:
    read = float(_decimal(value))
    if abs(read) == float("inf"):
        raise _Unreadable("is not a number")
    return read


def _whole(value: Any) -> int:
    read = _decimal(value)
    if read.adjusted() > 18 or abs(read) > LARGEST:
        raise _Unreadable("is more than 64 bits hold")
    if read != read.to_integral_value():
        raise _Unreadable("is not a whole number")
    if isinstance(value, float) and abs(value) > LARGEST_EXACT_FLOAT:
        raise _Unreadable("is a float too large to be exact")
    return int(read)


def _money(value: Any) -> int:
    try:
        return to_minor(value)
    except InvalidAmount as error:
        raise _Unreadable(error.reason) from error


def _time(value: Any, pattern: str | None, zone: ZoneInfo) -> datetime:
    """Return an instant in UTC, or a naive time where the source names no offset."""
    if isinstance(value, str):
        read = _time_text(value.strip(), pattern)
    elif isinstance(value, datetime):
        # Of a pandas instant, which may have nanoseconds, what the lake keeps.
        read = datetime.fromisoformat(value.isoformat(timespec="microseconds"))
    elif isinstance(value, date):
        read = datetime.combine(value, time.min)
    else:
        raise _Unreadable("is not a time")
    try:
        instant = (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError as error:
        raise _Unreadable("is out of the years 1 to 9999 in UTC") from error
    return instant if read.tzinfo else read


def _time_text(text: str, pattern: str | None) -> datetime:
    try:
        if pattern is None:
            return datetime.fromisoformat(text)
        # A pattern without %z reads a wall clock, whose zone the mapping names.
        return datetime.strptime(text, pattern)  # noqa: DTZ007
    except ValueError as error:
        like = pattern or "2017-12-31 23:59:59, with or without an offset"
        raise _Unreadable(f"is not a time like {like}") from error


def _flag(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return words[_text(value).lower()]
    except KeyError as error:
        raise _Unreadable("is neither true nor false") from error


def _json(value: Any) -> str:
    document = _document(value)
    try:
        return json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _Unreadable("is not valid JSON") from error


def _strings(value: Any) -> list[str]:
    return [_text(item) for item in _items(value, "text")]


def _floats(value: Any) -> list[float]:
    return [_number(item) for item in _items(value, "numbers")]


def _items(value: Any, what: str) -> Sequence[Any]:
    document = _document(value)
    if not isinstance(document, list) or any(item is None for item in document):
        raise _Unreadable(f"is not a JSON list of {what}")
    return document


def _document(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        # Arrow hands a map over as its pairs.
        return dict(value)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("is not valid JSON") from error


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int64": _whole,
    "float64": _number,
    "boolean": _flag,
    "json": _json,
    "strings": _strings,
    "floats": _floats,
}

"""CSV and Parquet files of a retailer, read in pieces under a mapping."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import yaml

from foundation.contracts import WHOLE_ROW, Fault
from foundation.contracts.mapping import Chunk, Mapping, convert, read_mapping
from foundation.errors import RegularsError

ROWS_A_PIECE = 500_000

# The product list of one offer is a single value; an unclosed quote must not eat all memory.
LONGEST_VALUE = 16_000_000


@dataclass(frozen=True)
class _Piece:
    """Some rows as the source has them (index 0..n-1), their lines, and rows that are none."""

    raw: pd.DataFrame
    lines: Sequence[int]
    faults: list[Fault]


def read_yaml(path: Path, subject: str, *, as_text: bool = False) -> Any:
    """Return a YAML file's content.

    Args:
        as_text: Leave every value the text it is; YAML by itself makes 7 of 007, False of off.

    Raises:
        RegularsError: No such file, or no YAML; the line begins with the subject.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # Both loaders make plain values only.
        return yaml.load(text, Loader=yaml.BaseLoader if as_text else yaml.SafeLoader)  # noqa: S506
    except OSError as error:
        raise RegularsError(f"{subject} {path}: {error.strerror}; name an existing file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise RegularsError(f"{subject} {path} is not YAML: {line}") from error


def open_mapping(path: Path) -> Mapping:
    """Read a YAML mapping file.

    Raises:
        RegularsError: No such file, no YAML, or a mapping that fits no contract.
    """
    return read_mapping(read_yaml(path, "mapping", as_text=True), str(path))


def read_source(path: Path, mapping: Mapping, local_zone: str) -> Iterator[Chunk]:
    """Yield the file's rows, typed, a piece at a time.

    A line with more or fewer values than the header is a row without values, and a fault.

    Raises:
        RegularsError: The file is missing, empty, of another format, or lacks a mapped column.
    """
    if not path.is_file():
        raise RegularsError(f"source {path} is no file; name a CSV or Parquet file")
    readers = {".csv": _csv_pieces, ".parquet": _parquet_pieces}
    if path.suffix.lower() not in readers:
        raise RegularsError(f"source {path} ends in {path.suffix!r}; load .csv or .parquet")
    # The whole path, so that a file named in two ways is one source in the quarantine.
    source = str(path.resolve())
    rows = 0
    try:
        for piece in readers[path.suffix.lower()](path, mapping):
            frame, faults = convert(piece.raw, mapping, local_zone)
            lines = pd.Series(piece.lines, index=frame.index)
            rows += len(frame)
            yield Chunk(mapping.contract, frame, lines, [*piece.faults, *faults], source)
    except OSError as error:
        raise RegularsError(f"source {path} cannot be read: {error}; check the file") from error
    if rows == 0:
        raise RegularsError(f"source {path} has a header but no rows; nothing was loaded")


def _check_columns(path: Path, mapping: Mapping, found: list[str]) -> None:
    for name in mapping.source_names:
        if name not in found:
            hint = "; does the mapping need another delimiter?" if len(found) == 1 else ""
            raise RegularsError(
                f"source {path} has no column {name!r}; its columns are {', '.join(found)}{hint}"
            )
        if found.count(name) > 1:
            raise RegularsError(
                f"source {path} has {found.count(name)} columns {name!r}; rename all but one"
            )


def _csv_pieces(path: Path, mapping: Mapping) -> Iterator[_Piece]:
    csv.field_size_limit(LONGEST_VALUE)
    with path.open(newline="", encoding="utf-8-sig") as file:
        # Strict, so that an unclosed quote is an error and not one value up to the file's end.
        reader = csv.reader(file, strict=True, delimiter=mapping.delimiter)
        try:
            header = next(reader, [])
            if not header:
                raise RegularsError(f"source {path} is empty; its first line must name the columns")
            _check_columns(path, mapping, header)
            numbered = _numbered(reader)
            while (piece := _csv_piece(islice(numbered, ROWS_A_PIECE), header, mapping)).lines:
                yield piece
        except csv.Error as error:
            raise RegularsError(f"source {path} is not a CSV file: {error}") from error
        except UnicodeDecodeError as error:
            raise RegularsError(
                f"source {path} is not in UTF-8: line {_undecodable(path)}; save it in UTF-8"
            ) from error


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the line each begins on: quoted values may span lines, blank lines none."""
    begins = reader.line_num + 1
    try:
        for row in reader:
            if row:
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"the row that begins on line {begins}: {error}") from error


def _csv_piece(
    rows: Iterable[tuple[int, list[str]]], header: list[str], mapping: Mapping
) -> _Piece:
    lines: list[int] = []
    faults: list[Fault] = []
    # Text, so that an unreadable number stays visible for the quarantine.
    values: dict[str, list[str | None]] = {name: [] for name in mapping.source_names}
    places = [(values[name], header.index(name)) for name in values]
    for line, row in rows:
        whole = len(row) == len(header)
        if not whole:
            why = f"has {len(row)} values where the header has {len(header)}"
            faults.append(Fault(len(lines), WHOLE_ROW, mapping.delimiter.join(row), why))
        lines.append(line)
        for column, place in places:
            column.append(row[place] if whole else None)
    return _Piece(pd.DataFrame(values, dtype=object), lines, faults)


def _undecodable(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


def _parquet_pieces(path: Path, mapping: Mapping) -> Iterator[_Piece]:
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, mapping, file.schema_arrow.names)
            # The header of a CSV file is line 1, so here too the first row stands on line 2.
            line = 2
            for batch in file.iter_batches(ROWS_A_PIECE, columns=mapping.source_names):
                # Arrow's own types: pandas makes floats of whole numbers with a gap.
                raw = batch.to_pandas(types_mapper=pd.ArrowDtype)
                yield _Piece(raw, range(line, line + len(raw)), [])
                line += len(raw)
    except arrow.ArrowException as error:
        told = " ".join(str(error).split())
        raise RegularsError(f"source {path} is not a Parquet file: {told}") from error

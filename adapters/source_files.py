"""CSV and Parquet files of a retailer, read in pieces under a mapping."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import yaml

from foundation.contracts.mapping import Chunk, Mapping, convert, read_mapping
from foundation.errors import RegularsError

ROWS_A_PIECE = 500_000


def open_mapping(path: Path) -> Mapping:
    """Read a YAML mapping file.

    Raises:
        RegularsError: No such file, no YAML, or a mapping that fits no contract.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegularsError(f"mapping {path}: {error.strerror}; name an existing file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegularsError(
            f"mapping {path} is not YAML: {' '.join(str(error).split())}"
        ) from error
    return read_mapping(document, str(path))


def read_source(path: Path, mapping: Mapping, local_zone: str) -> Iterator[Chunk]:
    """Yield the file's rows, typed, a piece at a time.

    Raises:
        RegularsError: The file is missing, of another format, or lacks a mapped column.
    """
    if not path.is_file():
        raise RegularsError(f"source {path} does not exist; name a CSV or Parquet file")
    readers = {".csv": _csv_pieces, ".parquet": _parquet_pieces}
    if path.suffix.lower() not in readers:
        raise RegularsError(f"source {path} ends in {path.suffix!r}; load .csv or .parquet")
    # The header is line 1, so the first row stands on line 2, in Parquet by convention too.
    line = 2
    for raw in readers[path.suffix.lower()](path, mapping):
        frame, faults = convert(raw, mapping, local_zone)
        lines = pd.Series(range(line, line + len(raw)))
        yield Chunk(mapping.contract, frame, lines, faults, str(path))
        line += len(raw)


def _check_columns(path: Path, mapping: Mapping, found: list[str]) -> None:
    missing = [name for name in mapping.source_names if name not in found]
    if missing:
        raise RegularsError(
            f"source {path} has no column {missing[0]!r}; its columns are {', '.join(found)}"
        )


def _csv_pieces(path: Path, mapping: Mapping) -> Iterator[pd.DataFrame]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
        _check_columns(path, mapping, header)
        # Text, so that an unreadable number stays visible for the quarantine.
        pieces = pd.read_csv(
            path,
            dtype=str,
            usecols=mapping.source_names,
            chunksize=ROWS_A_PIECE,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
        )
        for piece in pieces:
            yield piece.reset_index(drop=True)
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise RegularsError(f"source {path} is not a CSV file in UTF-8: {error}") from error


def _parquet_pieces(path: Path, mapping: Mapping) -> Iterator[pd.DataFrame]:
    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise RegularsError(f"source {path} is not a Parquet file: {error}") from error
    with file:
        _check_columns(path, mapping, file.schema_arrow.names)
        for batch in file.iter_batches(ROWS_A_PIECE, columns=mapping.source_names):
            yield batch.to_pandas()

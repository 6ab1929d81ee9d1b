"""Tables handed out as files: CSV or Parquet by the ending, whole or not at all."""

from pathlib import Path

import pyarrow as arrow
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from adapters.durable import replaced
from foundation.errors import RegularsError

WRITERS = {".csv": csv.write_csv, ".parquet": parquet.write_table}


def check_export(path: Path) -> None:
    """Refuse, before any work is done for it, a file that cannot be written.

    Raises:
        RegularsError: Another ending than .csv or .parquet, or no such folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise RegularsError(
            f"--out {path}: ending {path.suffix!r} is none of {', '.join(WRITERS)}; name the file "
            "so"
        )
    if not path.parent.is_dir():
        raise RegularsError(f"--out {path}: folder {path.parent} does not exist; make it first")


def write_export(path: Path, rows: arrow.Table) -> None:
    """Write a table; a file of that name is replaced when the new one is whole.

    Raises:
        RegularsError: As check_export, or the disk refuses.
    """
    check_export(path)
    try:
        with replaced(path) as file:
            WRITERS[path.suffix.lower()](rows, file)
    except OSError as error:
        raise RegularsError(f"--out {path}: {error.strerror}; name another file") from error

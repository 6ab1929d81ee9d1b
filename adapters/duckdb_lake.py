"""The lake on one machine: Parquet files, read by DuckDB, committed by one small JSON file.

A commit lists every file of every table. It appears under the next number by an atomic link, so
a reader sees the old lake or the new one and a killed run leaves only files no commit names,
which the next commit sweeps away. A file is named by its content: writing the same again changes
nothing.
"""

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import duckdb
import ibis
import pyarrow as arrow
import pyarrow.parquet as parquet

from adapters.durable import sync_folder
from foundation.contracts import TABLES, Table
from foundation.errors import RegularsError, StoreUnavailable
from foundation.lake import Added, Merged

# Readers may still hold an older commit; its files stay until this many newer ones exist.
COMMITS_KEPT = 5

BATCH_ROWS = 1_000_000
# Between two looks whether another write has ended.
LOOK_SECONDS = 0.05


@dataclass
class Commit:
    """What the lake holds: the files of each table, and the notes that go with them."""

    version: int = 0
    files: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    notes: dict[str, str] = field(default_factory=dict[str, str])


class DuckDbLake:
    """A folder of Parquet files under commits; see foundation.lake.Lake.

    Args:
        patience: Seconds that a write waits for another one, then it is StoreUnavailable; without
            it, until that has ended.
    """

    def __init__(self, folder: Path, patience: float | None = None) -> None:
        self._folder = folder
        self._patience = patience
        self._pinned: Commit | None = None
        # Holds the commit that is read, so that no sweep takes its files away.
        self._hold: TextIO | None = None
        self._commits = folder / "commits"
        self._commits.mkdir(parents=True, exist_ok=True)
        self._native = _engine()
        self._engine = ibis.duckdb.from_connection(self._native)

    def pinned(self) -> "DuckDbLake":
        pinned = copy(self)
        while True:
            pinned._pinned = self._newest()
            if pinned._pinned.version == 0:
                return pinned
            try:
                # Given back by the kernel when the last reader lets go of it, however it ends.
                pinned._hold = self._commit_file(pinned._pinned.version).open()
                fcntl.flock(pinned._hold, fcntl.LOCK_SH)
            except FileNotFoundError:
                continue  # Swept between the two looks: there is a newer one.
            if os.fstat(pinned._hold.fileno()).st_nlink:
                return pinned

    @property
    def version(self) -> int:
        return self._seen().version

    def table(self, name: str) -> ibis.Table:
        return self._read_files(name, self._seen().files.get(name, []))

    def added(self, name: str, cursor: str | None) -> Added:
        files = self._seen().files.get(name, [])
        # Events only ever add files at the end, so a prefix says all that was seen.
        seen = int((cursor or "0:").partition(":")[0])
        whole = cursor is None or cursor != _cursor(files[:seen])
        rows = self._read_files(name, files if whole else files[seen:])
        return Added(rows, _cursor(files), whole)

    def _read_files(self, name: str, files: Sequence[str]) -> ibis.Table:
        contract = _contract(name)
        if not files:
            # Nullable, as Parquet is read: an empty table joins and unites like a full one.
            columns = [field.with_nullable(True) for field in contract.arrow_schema]
            return self._named(arrow.schema(columns).empty_table())
        # Read by our own path list, never by a glob: uncommitted files must stay unseen.
        read = self._engine.read_parquet(
            [str(self._folder / file) for file in files],
            hive_partitioning=False,
            union_by_name=True,
        )
        # Files of an older version lack the columns that the contract gained since.
        columns = {
            field.name: read[field.name]
            if field.name in read.columns
            else ibis.null(ibis.dtype(field.type))
            for field in contract.arrow_schema
        }
        return read.select(**columns)

    def derived(self, name: str) -> ibis.Table | None:
        files = self._seen().files.get(_derived(name))
        if files is None:
            return None
        return self._engine.read_parquet([str(self._folder / file) for file in files])

    def memory(self, rows: arrow.Table) -> ibis.Table:
        return self._named(rows)

    def fetch(self, expression: ibis.Table) -> arrow.Table:
        return self._engine.to_pyarrow(expression)

    def stream(self, expression: ibis.Table) -> arrow.RecordBatchReader:
        return self._engine.to_pyarrow_batches(expression, chunk_size=BATCH_ROWS)

    def note(self, name: str) -> str | None:
        return self._seen().notes.get(name)

    def digest(self, tables: Sequence[str]) -> str:
        commit = self._seen()
        # Files are named by their content.
        named = json.dumps(
            {name: sorted(commit.files.get(_contract(name).name, [])) for name in sorted(tables)}
        )
        return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()

    @contextmanager
    def write(self) -> Generator["DuckDbWrite"]:
        with (self._folder / "write.lock").open("w") as lock:
            self._await(lock)
            writing = DuckDbWrite(self._folder, self._newest())
            yield writing
            newest = self._newest()
            if (writing.commit.files, writing.commit.notes) != (newest.files, newest.notes):
                self._publish(writing.commit)
            self._sweep(COMMITS_KEPT)

    def drop_history(self) -> None:
        with (self._folder / "write.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # What is to be forgotten is gone for whoever reads it now, too.
            self._sweep(1, though_held=True)

    def _await(self, lock: TextIO) -> None:
        if self._patience is None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        "the lake is being written by a load or a run; try again when it has ended"
                    ) from None
                time.sleep(LOOK_SECONDS)

    def _named(self, rows: arrow.Table) -> ibis.Table:
        return self._engine.create_table(f"memory_{uuid.uuid4().hex}", rows, temp=True)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._commits.glob("*.json"))

    def _seen(self) -> Commit:
        return self._pinned or self._newest()

    def _newest(self) -> Commit:
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else Commit()

    def _read(self, number: int) -> Commit:
        return Commit(**json.loads(self._commit_file(number).read_text()))

    def _commit_file(self, number: int) -> Path:
        return self._commits / f"{number:08}.json"

    def _publish(self, commit: Commit) -> None:
        commit.version += 1
        draft = self._commits / f"{uuid.uuid4().hex}.draft"
        with draft.open("w") as file:
            json.dump(commit.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        # Linking refuses an existing number, where a rename would silently replace it.
        os.link(draft, self._commit_file(commit.version))
        draft.unlink()
        sync_folder(self._commits)

    def _sweep(self, kept: int, *, though_held: bool = False) -> None:
        numbers = self._numbers()
        held = [old for old in numbers[:-kept] if not self._dropped(old, though_held)]
        named = {
            self._folder / file
            for number in [*held, *numbers[-kept:]]
            for files in self._read(number).files.values()
            for file in files
        }
        for path in self._folder.rglob("*.parquet"):
            if path not in named:
                path.unlink()
        for draft in self._folder.rglob("*.draft"):
            draft.unlink()

    def _dropped(self, number: int, though_held: bool) -> bool:
        """Remove a commit, unless somebody reads it."""
        path = self._commit_file(number)
        with path.open() as file:
            if not though_held:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            path.unlink()
        return True


class DuckDbWrite:
    """One commit in the making; see foundation.lake.LakeWrite."""

    def __init__(self, folder: Path, commit: Commit) -> None:
        self._folder = folder
        self.commit = commit

    def merge(self, table: str, rows: arrow.Table, *, by_day: bool = False) -> Merged:
        contract = _contract(table)
        rows = rows.select(list(contract.names)).cast(contract.arrow_schema)
        if rows.num_rows == 0:
            return Merged(0, 0, 0, ())
        with _engine() as engine:
            return self._merge(engine, contract, rows, by_day)

    def _merge(
        self, engine: duckdb.DuckDBPyConnection, contract: Table, rows: arrow.Table, by_day: bool
    ) -> Merged:
        key = f'"{contract.key}"'
        columns = ", ".join(f'"{name}"' for name in contract.names)
        same = " AND ".join(f'i."{n}" IS NOT DISTINCT FROM r."{n}"' for n in contract.names)
        engine.register("incoming", rows.append_column("_row", arrow.array(range(rows.num_rows))))
        files = self._paths(contract.name)
        engine.register("nothing", contract.arrow_schema.empty_table())
        existing = "FROM nothing"
        if files:
            # By name: files of an older version lack the columns that the contract gained since.
            stored = engine.read_parquet(files, hive_partitioning=False, union_by_name=True)
            stored.create_view("stored")
            existing = f"SELECT {columns} FROM (FROM nothing UNION ALL BY NAME FROM stored)"  # noqa: S608
        engine.execute(f"CREATE TEMP VIEW existing AS {existing}")
        # Of one key, an event keeps its first telling and a record its last.
        order = "_row" if contract.nature == "event" else "_row DESC"
        engine.execute(
            f"CREATE TEMP TABLE fresh AS SELECT * EXCLUDE (_turn) FROM (SELECT *, row_number() "  # noqa: S608
            f"OVER (PARTITION BY {key} ORDER BY {order}) AS _turn FROM incoming) WHERE _turn = 1"
        )
        engine.execute(
            f"CREATE TEMP TABLE known AS SELECT {columns} FROM existing "  # noqa: S608
            f"SEMI JOIN fresh USING ({key})"
        )
        new = _count(engine, f"SELECT count(*) FROM fresh ANTI JOIN known USING ({key})")  # noqa: S608
        if contract.nature == "record":
            replaced = self._replaced(engine, contract)
            if new or replaced:
                merged = engine.execute(
                    f"SELECT {columns} FROM existing ANTI JOIN fresh USING ({key}) "  # noqa: S608
                    f"UNION ALL SELECT {columns} FROM fresh ORDER BY {key}"
                ).to_arrow_table()
                self._set(contract.name, [self._store(contract, merged)])
            return Merged(new, rows.num_rows - new - replaced, replaced, ())
        # Each row is held against the first telling of its key, in the lake or in this batch.
        engine.execute(
            f"CREATE TEMP TABLE judged AS SELECT i._row, {same} AS same FROM incoming i JOIN ("  # noqa: S608
            f"SELECT {columns} FROM known UNION ALL "
            f"SELECT {columns} FROM fresh ANTI JOIN known USING ({key})"
            f") r USING ({key})"
        )
        other = engine.execute("SELECT _row FROM judged WHERE NOT same ORDER BY 1").fetchall()
        if new:
            self._append(engine, contract, columns, by_day)
        repeated = rows.num_rows - new - len(other)
        return Merged(new, repeated, 0, tuple(int(row) for (row,) in other))

    def _replaced(self, engine: duckdb.DuckDBPyConnection, contract: Table) -> int:
        """Count rows that tell of their key something else than the telling before them."""
        key = f'"{contract.key}"'
        told = ", ".join(f'"{name}"' for name in contract.names)
        return _count(
            engine,
            f"SELECT count(*) FROM (SELECT told, lag(told) OVER turns AS before, "  # noqa: S608
            f"row_number() OVER turns AS turn FROM ("
            f"SELECT {key} AS key, -1 AS turn, row({told}) AS told FROM known UNION ALL "
            f"SELECT {key}, _row, row({told}) FROM incoming) "
            f"WINDOW turns AS (PARTITION BY key ORDER BY turn)) "
            f"WHERE turn > 1 AND told IS DISTINCT FROM before",
        )

    def _append(
        self, engine: duckdb.DuckDBPyConnection, contract: Table, columns: str, by_day: bool
    ) -> None:
        day = 'CAST("at" AS DATE)' if by_day else "NULL"
        engine.execute(
            f"CREATE TEMP TABLE added AS SELECT *, {day} AS _day FROM fresh "  # noqa: S608
            f'ANTI JOIN known USING ("{contract.key}")'
        )
        days = engine.execute("SELECT DISTINCT _day FROM added ORDER BY 1").fetchall()
        stored: list[str] = []
        for (day,) in days:
            part = engine.execute(
                f"SELECT {columns} FROM added WHERE _day IS NOT DISTINCT FROM ? ORDER BY _row",  # noqa: S608
                [day],
            ).to_arrow_table()
            stored.append(self._store(contract, part, day=day))
        self._set(contract.name, [*self.commit.files.get(contract.name, []), *stored])

    def clear(self, table: str) -> None:
        self._set(_contract(table).name, [])

    def rewrite(self, table: str, change: Callable[[arrow.Table], arrow.Table]) -> None:
        contract, files = _contract(table), list[str]()
        for file in self.commit.files.get(contract.name, []):
            rows = _conformed(contract, parquet.ParquetFile(self._folder / file).read())
            changed = change(rows)
            if changed is rows:
                files.append(file)
            elif changed.num_rows:
                parts = [changed.cast(contract.arrow_schema)]
                files.append(self._store_parts(Path(file).parent, contract.arrow_schema, parts))
        self._set(contract.name, files)

    def derive(self, name: str, rows: arrow.RecordBatchReader) -> None:
        parts = (arrow.Table.from_batches([batch]) for batch in rows)
        self.commit.files[_derived(name)] = [
            self._store_parts(Path(_derived(name)), rows.schema, parts)
        ]

    def remember(self, name: str, value: str) -> None:
        self.commit.notes[name] = value

    def _paths(self, table: str) -> list[str]:
        return [str(self._folder / file) for file in self.commit.files.get(table, [])]

    def _set(self, table: str, files: list[str]) -> None:
        if files:
            self.commit.files[table] = files
        else:
            self.commit.files.pop(table, None)

    def _store(self, contract: Table, rows: arrow.Table, day: Any = None) -> str:
        folder = Path(contract.name) if day is None else Path(contract.name) / f"day={day}"
        return self._store_parts(folder, contract.arrow_schema, [rows.cast(contract.arrow_schema)])

    def _store_parts(self, folder: Path, schema: arrow.Schema, parts: Iterable[arrow.Table]) -> str:
        (self._folder / folder).mkdir(parents=True, exist_ok=True)
        draft = self._folder / folder / f"{uuid.uuid4().hex}.draft"
        with draft.open("w+b") as target:
            with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(part)
            target.flush()
            os.fsync(target.fileno())
            target.seek(0)
            content = hashlib.file_digest(target, lambda: hashlib.blake2b(digest_size=16))
        file = folder / f"{content.hexdigest()}.parquet"
        # Where a file of this name stands already, it is the same to the last byte.
        draft.replace(self._folder / file)
        for parent in (folder, *folder.parents):
            sync_folder(self._folder / parent)
        return file.as_posix()


def _conformed(contract: Table, rows: arrow.Table) -> arrow.Table:
    """Return stored rows with the columns that the contract gained since."""
    for column in contract.arrow_schema:
        if column.name not in rows.column_names:
            rows = rows.append_column(column, arrow.nulls(rows.num_rows, column.type))
    return rows.select(list(contract.names))


def _derived(name: str) -> str:
    return f"derived/{name}"


def _contract(name: str) -> Table:
    if name not in TABLES:
        raise RegularsError(f"table {name!r} is no contract; choose one of {', '.join(TABLES)}")
    return TABLES[name]


def _cursor(files: Sequence[str]) -> str:
    named = hashlib.blake2b("\n".join(files).encode(), digest_size=8).hexdigest()
    return f"{len(files)}:{named}"


def _engine() -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect()
    # Days of timestamps are UTC days whatever the machine's own zone is.
    engine.execute("SET TimeZone = 'UTC'")
    return engine


def _count(engine: duckdb.DuckDBPyConnection, query: str) -> int:
    found = engine.execute(query).fetchone()
    assert found is not None  # noqa: S101  an aggregate always answers one row
    return int(found[0])

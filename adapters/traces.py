"""Traces: where is a customer still named? Every store is searched, and the answer says where.

A value that is her id in a place that names customers is a trace: in a column, or in a field of
JSON, also in files. An id of digits alone is also a product's, an order's or a number of a model:
in any other place it counts as a coincidence that a person may look at, and in columns of numbers
and times, which hold nobody's id, as nothing. Ids that callers make (of events, receipts, answers)
may quote hers as a part: there it is also looked for between any two characters that are neither
letter nor digit.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg import sql

from adapters.lmdb_profiles import snapshots_with
from foundation.decision import encode
from foundation.errors import UnreadableRecord
from foundation.packed_decision import unpacked
from foundation.pseudonym import DRAWN

# Columns and keys whose text is a customer.
NAMING = ("customer_id", "unit", "unit_id", "members", "merged_from")
# Columns of ids that may quote a customer's.
QUOTING = (
    *("event_id", "decision_id", "order_id", "line_id", "returns_line_id", "response_id"),
    *("receipt_key", "use_id"),
)
# What the database and the service count, number and date themselves; an id is text.
NAMELESS = (
    *("boolean", "smallint", "integer", "bigint", "numeric", "real", "double precision"),
    *("date", "timestamp with time zone", "timestamp without time zone", "interval", "xid8"),
)
BYTES_A_LOOK = 1 << 22
# Where files are read piece by piece, a field's name may end one and her id begin the next.
BYTES_BEFORE_ID = 64


@dataclass
class Traces:
    """What was searched, what was found there, and what may be only the same digits."""

    searched: list[str] = field(default_factory=list[str])
    found: list[str] = field(default_factory=list[str])
    coincidences: list[str] = field(default_factory=list[str])

    def add(self, place: str, customer_id: str, named: int, elsewhere: int) -> None:
        """Count what was found in a place: as a customer's name, and as any text."""
        if not customer_id.isdecimal():
            named = max(named, elsewhere)
        if named:
            self.found.append(f"{place}: {named:,}")
        if elsewhere > named:
            self.coincidences.append(f"{place}: {elsewhere - named:,}")


def traces_of(
    customer_id: str,
    url: str,
    lake: Path,
    snapshots: Path,
    home: Path,
    database: Path,
    redis_url: str | None = None,
) -> Traces:
    """Search the database's tables, the lake with all its commits, snapshots and every other file.

    Args:
        home: Searched with everything in it: models, spool, locks, whatever is there.
        database: Folder of the embedded server, which is asked and not read.
        redis_url: Where several nodes share the snapshot.
    """
    told = Traces()
    _search_database(told, customer_id, url)
    search_lake(told, customer_id, lake)
    versions, holding = snapshots_with(snapshots, customer_id)
    told.searched.append(f"snapshots: {', '.join(versions) or 'none'}")
    told.found.extend(f"snapshot {version}" for version in holding)
    if redis_url is not None:
        from adapters.redis_profiles import snapshots_with as shared_with

        versions, holding = shared_with(redis_url, customer_id)
        told.searched.append(f"snapshots in Redis: {', '.join(versions) or 'none'}")
        told.found.extend(f"snapshot {version} in Redis" for version in holding)
    files = list(_files(home, (lake, snapshots, database)))
    told.searched.append(f"other files in {home}: {len(files):,}")
    for path in files:
        _search_file(told, customer_id, path)
    return told


def _search_database(told: Traces, customer_id: str, url: str) -> None:
    # As a value of its own, or as a word of one: 'experiment c-1' and 'run|c-1' hold it too.
    word = _word(customer_id)
    naming = _naming(customer_id)
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            "AND table_schema = current_schema() ORDER BY 1"
        ).fetchall()
        for (table,) in names:
            nameless = [name for name, kind in _columns(connection, table) if kind in NAMELESS]
            named, elsewhere = connection.execute(
                sql.SQL(
                    "SELECT count(*) FILTER (WHERE told ~ %s), count(*) FILTER (WHERE told ~ %s) "
                    "FROM (SELECT (to_jsonb(t) - %s::text[])::text AS told FROM {} t) AS rows"
                ).format(sql.Identifier(table)),
                (naming, word, nameless),
            ).fetchone() or (0, 0)
            elsewhere = max(elsewhere, _quoting_rows(connection, table, customer_id))
            if table == "decisions":
                inside, beside = _packed_rows(connection, customer_id, naming, word)
                named, elsewhere = named + inside, elsewhere + beside
            told.add(f"table {table}", customer_id, named, elsewhere)
    told.searched.append(f"database tables: {', '.join(name for (name,) in names)}")


def _columns(connection: psycopg.Connection, table: str) -> list[tuple[str, str]]:
    """Return a table's columns and their types."""
    return connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name = %s",
        (table,),
    ).fetchall()


def _packed_rows(
    connection: psycopg.Connection, customer_id: str, naming: str, word: str
) -> tuple[int, int]:
    """Count decisions whose packed record names her, and those that hold her id at all."""
    named = elsewhere = 0
    with connection.cursor("packed") as rows:
        rows.execute(
            "SELECT decision_id, packed FROM decisions "
            "WHERE position(convert_to(%s, 'UTF8') IN packed) > 0",
            (customer_id,),
        )
        for decision_id, packed in rows:
            try:
                told = encode(unpacked(decision_id, packed)).decode()
            except UnreadableRecord:
                # Where in it her id stands cannot be said.
                named += 1
                continue
            named += re.search(naming, told) is not None
            elsewhere += re.search(word, told) is not None
    return named, elsewhere


def _quoting_rows(connection: psycopg.Connection, table: str, customer_id: str) -> int:
    """Count rows of others and of nobody in which an id quotes hers."""
    names = {name for name, _ in _columns(connection, table)}
    columns = sorted(names.intersection(QUOTING))
    if not columns or "customer_id" not in names or customer_id.isdecimal():
        return 0
    part = _part(customer_id, "[:alnum:]")
    # Ids that were drawn quote nobody; in ids of somebody whose own quotes hers it is her own.
    either = sql.SQL(" OR ").join(
        sql.SQL("regexp_replace({}, %(drawn)s, '|', 'g') ~ %(part)s").format(sql.Identifier(one))
        for one in columns
    )
    query = sql.SQL(
        "SELECT count(*) FROM {} WHERE ({}) "
        "AND (customer_id = %(hers)s OR NOT customer_id ~ %(part)s)"
    ).format(sql.Identifier(table), either)
    values = {"drawn": _drawn(customer_id), "part": part, "hers": customer_id}
    return (connection.execute(query, values).fetchone() or (0,))[0]


def search_lake(told: Traces, customer_id: str, lake: Path) -> None:
    """Search every file of a lake, also of commits that are no longer the newest."""
    files = sorted(lake.rglob("*.parquet")) if lake.exists() else []
    told.searched.append(f"lake files: {len(files):,}")
    for path in files:
        _search_parquet(told, customer_id, path, f"lake {path.relative_to(lake)}")


def _search_parquet(told: Traces, customer_id: str, path: Path, place: str) -> None:
    with duckdb.connect() as engine:
        rows = engine.read_parquet(str(path), hive_partitioning=False)
        rows.create_view("stored")
        for name, kind in zip(rows.columns, rows.types, strict=True):
            column = '"' + name.replace('"', '""') + '"'
            if str(kind) == "VARCHAR":
                held, value = f"regexp_matches({column}, ?)", _word(customer_id)
            elif str(kind) == "VARCHAR[]":
                held, value = f"list_contains({column}, ?)", customer_id
            else:
                continue
            query = f"SELECT count(*) FROM stored WHERE {held}"  # noqa: S608
            count = (engine.execute(query, [value]).fetchone() or (0,))[0]
            if name in QUOTING and "customer_id" in rows.columns and not customer_id.isdecimal():
                quoting = (
                    f"SELECT count(*) FROM stored WHERE "  # noqa: S608
                    f"regexp_matches(regexp_replace({column}, $1, '|', 'g'), $2) "
                    "AND (customer_id = $3 OR NOT regexp_matches(customer_id, $2))"
                )
                part = _part(customer_id, r"\pL\pN")
                values = [_drawn(customer_id), part, customer_id]
                count = max(count, (engine.execute(quoting, values).fetchone() or (0,))[0])
            keys = name in NAMING or name in ("segment_row_id", "forecast_id", "value_row_id")
            named = count if keys else 0
            if count and not keys and str(kind) == "VARCHAR":
                documents = f"SELECT count(*) FROM stored WHERE regexp_matches({column}, ?)"  # noqa: S608
                values = [_naming(customer_id)]
                named = (engine.execute(documents, values).fetchone() or (0,))[0]
            told.add(f"{place} column {name}", customer_id, named, count)


def _search_file(told: Traces, customer_id: str, path: Path) -> None:
    if path.suffix == ".parquet":
        _search_parquet(told, customer_id, path, str(path))
        return
    naming = re.compile(_naming(customer_id).encode())
    word = re.compile(_word(customer_id, in_files=True).encode())
    named = elsewhere = 0
    for look, seen in _looks(path, len(customer_id.encode()) + BYTES_BEFORE_ID):
        named += sum(found.end() > seen for found in naming.finditer(look))
        elsewhere += sum(found.end() > seen for found in word.finditer(look))
    told.add(str(path), customer_id, named, elsewhere)


def _looks(path: Path, overlap: int) -> Iterator[tuple[bytes, int]]:
    """Yield a file, or what is packed in it, in pieces that overlap, so that no id is cut in two.

    Each comes with how many of its bytes were the end of the piece before.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name), 0
        return
    before = b""
    with path.open("rb") as file:
        while piece := file.read(BYTES_A_LOOK):
            look = before + piece
            yield look, len(before)
            before = look[-overlap:]


def _files(folder: Path, but: Sequence[Path]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file() and not any(path.is_relative_to(other) for other in but):
            yield path


def _naming(customer_id: str) -> str:
    """Return a pattern of a field of JSON that names her, alone or in a list."""
    among = r'\[("([^"\\]|\\.)*", *)*'
    return f'"({"|".join(NAMING)})": *({among})?"({_written(customer_id)})"'


def _written(customer_id: str) -> str:
    # JSON writes some characters otherwise; both ways are looked for.
    written: set[str] = {customer_id, json.dumps(customer_id)[1:-1]}
    return "|".join(re.escape(one) for one in sorted(written))


def _word(customer_id: str, *, in_files: bool = False) -> str:
    """Return a pattern of the id as a word: not as a part of a longer one."""
    either = _written(customer_id)
    if in_files and customer_id.isdecimal():
        return f"[\"'|]({either})[\"'|]"
    return f"(^|[^A-Za-z0-9_.-])({either})($|[^A-Za-z0-9_.-])"


def _part(customer_id: str, letters_and_digits: str) -> str:
    """Return a pattern of the id as a part of another one, see foundation.pseudonym.Quoted."""
    edge = f"[^{letters_and_digits}]"
    before = f"(^|{edge})" if customer_id[:1].isalnum() else ""
    behind = f"($|{edge})" if customer_id[-1:].isalnum() else ""
    return f"{before}{re.escape(customer_id)}{behind}"


def _drawn(customer_id: str) -> str:
    """Return a pattern of ids that were drawn by chance; one that nothing fits where hers is."""
    return "a^" if re.search(DRAWN, customer_id) else DRAWN


def as_rows(told: Traces) -> dict[str, Any]:
    """Return what a search says, for JSON."""
    return {
        "searched": told.searched,
        "found": told.found,
        "coincidences": told.coincidences,
    }

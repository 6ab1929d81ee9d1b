"""A CSV (also gzipped) or Parquet file of an experiment's units, read by DuckDB.

Every value of a CSV file is read as text and made a number here, so that what is none is told with
the value and nothing is guessed. Only the columns that are asked for are read.
"""

import csv
import gzip
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path

import duckdb

from adapters.unit_table import UnitTable, quoted
from experiments.metrics import SIZE, Column, InvalidMetric, Metric, Proportion, columns
from experiments.post_stratification import merged_strata
from foundation.errors import RegularsError

# How files write that there is no value; an empty one is none anyway.
_NONE = "('', 'na', 'n/a', 'nan', 'null', 'none')"
# That there is no variant; "none" may well be one, of those who got nothing.
_NO_VARIANT = "('', 'na', 'n/a', 'nan', 'null')"
_SEPARATORS = ",;\t|"
_LINE_AT_FAULT = re.compile(r"Line: (\d+).*Expected Number of Columns: (\d+) Found: (\d+)")
# What is blank so far has no header.
_GLANCE = 4096
# Whole names, since INTERVAL begins like INTEGER.
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DOUBLE|FLOAT|DECIMAL\(.*\)|BOOLEAN")
# A column of variants that has more is another column.
MOST_VARIANTS = 50
# A column of strata that has more is another column.
MOST_STRATA = 200
# What the column that says who a row is may be called, in any case and with any blanks.
_UNIT_NAMES = ("unitid", "customerid", "customer", "userid", "user")
# The same, where nearly all values differ: else they are of something else, as a currency or a key.
_PERHAPS_UNIT_NAMES = ("unit", "id", "householdid")
_NEARLY_ALL = 0.9
_BETWEEN_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong with the assignment in a file: rows without variant, units in two of them.

    `torn_in` is the column of those in two. `repeated` are units of several rows where that is
    allowed, in clusters.
    """

    rows: int
    unassigned: int
    torn: int
    first_torn: str | None
    torn_in: str | None
    repeated: int


class UnitFile:
    """An open file. `close` it, or use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its columns' names.

        Raises:
            RegularsError: There is no such file, or it is neither CSV nor Parquet.
        """
        self.path = path
        if not path.is_file():
            raise RegularsError(f"data {path} is no file; name a CSV or Parquet file")
        with self._opened() as opened:
            if not opened.read(_GLANCE).strip():
                raise RegularsError(f"data {path} is empty; write a header and one row a unit")
        self._connection = duckdb.connect()
        name = path.name.lower()
        if not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise RegularsError(
                f"data {path} ends in {path.suffix!r}; analyse .csv, .csv.gz or .parquet"
            )
        read = self._connection.read_parquet if name.endswith(".parquet") else self._csv
        try:
            self._source = read(str(path))
        except duckdb.Error as error:
            raise self._unreadable(error) from error
        self.columns: list[str] = list(self._source.columns)
        self._types = dict(zip(self.columns, map(str, self._source.types), strict=True))

    def __enter__(self) -> "UnitFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def check_columns(self, names: Sequence[str]) -> None:
        """Pass names of columns that the file has.

        Raises:
            RegularsError: It has not.
        """
        for name in names:
            if name not in self.columns:
                raise RegularsError(
                    f"data {self.path} has no column {name!r}; its columns are "
                    f"{', '.join(self.columns)}"
                )

    def unit_column(self, others: Collection[str]) -> tuple[str | None, list[str]]:
        """Return the column that says who a row is by its usual names, None where there is none.

        Args:
            others: Columns that say something else.

        Returns:
            The column, and warnings of columns that only look like it.
        """
        plain = {
            _BETWEEN_WORDS.sub("", name).lower(): name
            for name in reversed(self.columns)
            if name not in others
        }
        for usual in _UNIT_NAMES:
            if usual in plain:
                return plain[usual], []
        told: list[str] = []
        for usual in _PERHAPS_UNIT_NAMES:
            if usual not in plain:
                continue
            name = plain[usual]
            different, rows = self._different(name)
            if different >= _NEARLY_ALL * rows:
                return name, told
            told.append(
                f"column {name!r} has {different:,} values in {rows:,} rows, so it is not taken "
                "for the units'; name it with --unit where it is, with --cluster where it was "
                "assigned as a whole"
            )
        return None, told

    def variant_called(self, name: str, variant: str) -> str:
        """Return a variant as the file spells it: True and False may be in any case.

        Args:
            name: As somebody wrote it.
            variant: The column.
        """
        if name.lower() not in ("true", "false"):
            return name
        if self._types[variant] == "BOOLEAN":
            return name.lower()
        text = f"trim(CAST({quoted(variant)} AS VARCHAR))"
        spelled = [
            str(row[0])
            for row in self._source.filter(f"lower({text}) = '{name.lower()}'")
            .aggregate(text)
            .limit(2)
            .fetchall()
        ]
        return spelled[0] if len(spelled) == 1 else name

    def read(
        self,
        variant: str,
        numbers: Sequence[str],
        unit: str | None = None,
        cluster: str | None = None,
        stratum: str | None = None,
        variants: Collection[str] = (),
    ) -> Found:
        """Read the columns and judge the rows; `cap`, `units` and `clusters` then work on them.

        Args:
            variant: Who got what, as text.
            numbers: Columns of metrics.
            unit: Who a row is; one row each, unless clusters are given.
            cluster: What was assigned as a whole.
            stratum: A group known before the experiment; an empty one is a group of its own.
            variants: Those that are known, so that even NULL may be called one.

        Raises:
            InvalidMetric: A number is missing, infinite or none.
            RegularsError: A column or a row is missing, or a unit has several rows.
        """
        named = [variant, *numbers, *(one for one in (unit, cluster, stratum) if one is not None)]
        self.check_columns(named)
        wanted = dict.fromkeys(numbers)
        parts = [f"{self._text(variant, _NO_VARIANT, variants)} AS variant"]
        parts += [f"{self._number(name)} AS {_column(name)}" for name in wanted]
        parts.append(f"CAST({quoted(variant)} AS VARCHAR) AS spelled")
        parts += [
            f"{self._text(name)} AS {role}"
            for role, name in (("unit", unit), ("cluster", cluster), ("stratum", stratum))
            if name is not None
        ]
        # The text of what is no number is kept to be told.
        written = [name for name in wanted if self._types[name] == "VARCHAR"]
        parts += [f"{quoted(name)} AS {_written(name)}" for name in written]
        try:
            # The relation of the file is found by its name in this scope.
            self._source.create_view("source")
            self._connection.execute(
                f"CREATE TEMP TABLE units AS SELECT {', '.join(parts)} FROM source"  # noqa: S608
            )
        except duckdb.Error as error:
            raise self._unreadable(error) from error
        # Threads add up in another order each time: sums would differ in their last digits.
        self._connection.execute("SET threads = 1")
        for name in written:
            self._refuse_words(name)
        total = self._one("SELECT count(*) FROM units")
        if total == 0:
            raise RegularsError(f"data {self.path} has a header but no rows; nothing to analyse")
        for name in wanted:
            self._refuse_gaps(name, total)
        self._refuse_many_variants(variant)
        self._refuse_blanks(variant)
        if unit is not None:
            self._refuse_gaps_of("unit", unit)
        if cluster is not None:
            self._refuse_gaps_of("cluster", cluster)
        return self._assigned(total, unit, cluster)

    def check_shares(self, metrics: Sequence[Metric]) -> None:
        """Pass proportions whose columns are 0 or 1.

        Raises:
            InvalidMetric: One has another value.
        """
        for metric in metrics:
            if isinstance(metric, Proportion):
                name = _column(metric.column.name)
                others = self._one(f"SELECT count(*) FROM units WHERE {name} NOT IN (0, 1)")  # noqa: S608
                if others:
                    raise InvalidMetric(
                        f"column {metric.column.name!r} of a proportion has {others:,} values "
                        "other than 0 and 1; measure its mean instead"
                    )

    def cap(self, name: str, level: float) -> float:
        """Return a quantile of a number over all units together, whichever their variant."""
        found = self._connection.execute(
            f"SELECT quantile_cont({_column(name)}, ?) FROM units",  # noqa: S608
            [level],
        ).fetchone()
        return float(found[0]) if found else 0.0

    def merge_strata(self) -> dict[str, str]:
        """Merge strata that are too small; return how each is called from now on."""
        self._connection.execute("UPDATE units SET stratum = coalesce(stratum, '')")
        counted = self._connection.execute(
            "SELECT stratum, variant, count(*) FROM units WHERE variant IS NOT NULL GROUP BY ALL"
        ).fetchall()
        counts: dict[str, dict[str, int]] = {}
        for stratum, variant, count in counted:
            counts.setdefault(str(stratum), {})[str(variant)] = int(count)
        if len(counts) > MOST_STRATA:
            raise RegularsError(
                f"{len(counts):,} strata are too many, {MOST_STRATA} are the most; stratify by a "
                "column of few groups"
            )
        merged = merged_strata(counts, list(dict.fromkeys(str(row[1]) for row in counted)))
        for stratum, called in merged.items():
            self._connection.execute(
                "UPDATE units SET stratum = ? WHERE stratum = ?", [called, stratum]
            )
        return merged

    def units(self, stratum: bool = False) -> UnitTable:
        """Return the rows as units, with the column STRATUM where they are to have one."""
        named = self._numbers() + (f", stratum AS {quoted(STRATUM)}" if stratum else "")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW singles AS SELECT variant AS {quoted(_VARIANT)}{named} "  # noqa: S608
            "FROM units"
        )
        return UnitTable(self._connection, "singles", _VARIANT)

    def clusters(self, metrics: Sequence[Metric]) -> UnitTable:
        """Return whole clusters as units: sums of the metrics' columns, by their labels."""
        needed = {column.label: column for metric in metrics for column in columns(metric)}
        sums = "".join(
            f", sum({_capped(column)}) AS {quoted(label)}" for label, column in needed.items()
        )
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE clusters AS SELECT variant AS {quoted(_VARIANT)}, "  # noqa: S608
            f"count(*)::DOUBLE AS {quoted(SIZE.name)}{sums} FROM units "
            "WHERE variant IS NOT NULL GROUP BY variant, cluster"
        )
        return UnitTable(self._connection, "clusters", _VARIANT)

    def _opened(self) -> gzip.GzipFile | BufferedReader:
        return gzip.open(self.path) if self.path.suffix.lower() == ".gz" else self.path.open("rb")

    def _csv(self, path: str) -> duckdb.DuckDBPyRelation:
        # Left to itself the reader may take a line for a comment, because it begins with #.
        found = self._connection.read_csv(path, header=True, all_varchar=True, comment="")
        skipped, header = self._header()
        separator = max(_SEPARATORS, key=header.count)
        names = next(csv.reader([header], delimiter=separator), [""])
        if len(found.columns) > 1 and found.columns[0].strip() == names[0].strip():
            return found
        if separator not in header:
            return found
        # Rows of different lengths make it see one column, or another header: read strictly, it
        # names the line.
        strict = self._connection.read_csv(
            path, header=True, auto_detect=False, delimiter=separator, quotechar='"',
            escapechar='"', skiprows=skipped, columns=dict.fromkeys(names, "VARCHAR"),
        )  # fmt: skip
        try:
            strict.aggregate(f"count({quoted(names[-1])})").fetchone()
        except duckdb.Error as error:
            at_fault = _LINE_AT_FAULT.search(" ".join(str(error).split()))
            if at_fault is None:
                raise
            line, expected, many = at_fault.groups()
            more = " or more" if int(many) > int(expected) else ""
            raise RegularsError(
                f"data {self.path}: line {line} has {many} value(s){more}, where the header names "
                f"{expected} columns; write one value a column"
            ) from error
        return strict

    def _header(self) -> tuple[int, str]:
        """Return the first line that has columns, and how many lines come before it."""
        with TextIOWrapper(self._opened(), encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines):
                if any(separator in line for separator in _SEPARATORS):
                    return number, line.strip("\r\n")
        return 0, ""

    def _different(self, name: str) -> tuple[int, int]:
        """Return how many values a column has, and rows."""
        try:
            found = self._source.aggregate(f"count(DISTINCT {quoted(name)}), count(*)").fetchone()
        except duckdb.Error as error:
            raise self._unreadable(error) from error
        return (int(found[0]), int(found[1])) if found else (0, 0)

    def _numbers(self) -> str:
        described = self._connection.execute("DESCRIBE units").fetchall()
        names = [str(row[0]) for row in described if str(row[0]).startswith(_NUMBER)]
        return "".join(
            f", {quoted(name)} AS {quoted(name.removeprefix(_NUMBER))}" for name in names
        )

    def _text(self, name: str, none: str = _NONE, but: Collection[str] = ()) -> str:
        """Return a column as text, NULL where it is one of the words of `none` and not of `but`."""
        column = quoted(name)
        if self._types[name] in ("DOUBLE", "FLOAT"):
            # Whole numbers beside a gap become floats in many tools; they are still 0 and 1.
            whole = f"CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR)"
            return (
                f"CASE WHEN isnan({column}) THEN NULL WHEN {column} = floor({column}) THEN {whole} "
                f"ELSE CAST({column} AS VARCHAR) END"
            )
        text = f"trim(CAST({column} AS VARCHAR))"
        kept = "".join(f" AND {text} <> {_literal(one)}" for one in but)
        return f"CASE WHEN lower({text}) IN {none}{kept} THEN NULL ELSE {text} END"

    def _number(self, name: str) -> str:
        column, kind = quoted(name), self._types[name]
        if kind == "VARCHAR":
            text = f"lower(trim({column}))"
            return (
                f"CASE WHEN {text} IN {_NONE} THEN NULL WHEN {text} = 'true' THEN 1.0::DOUBLE "
                f"WHEN {text} = 'false' THEN 0.0::DOUBLE ELSE TRY_CAST({text} AS DOUBLE) END"
            )
        if not _NUMERIC.fullmatch(kind):
            raise InvalidMetric(f"column {name!r} is of type {kind}, not numeric; convert it")
        return f"CAST({column} AS DOUBLE)"

    def _refuse_words(self, name: str) -> None:
        found = self._connection.execute(
            f"SELECT count(*), min({_written(name)}) FROM units WHERE {_column(name)} IS NULL "  # noqa: S608
            f"AND lower(trim({_written(name)})) NOT IN {_NONE}"
        ).fetchone()
        if found and found[0]:
            raise InvalidMetric(
                f"column {name!r} has {found[0]:,} values that are no numbers, such as "
                f"{found[1]!r}; write numbers with a decimal point"
            )

    def _refuse_gaps(self, name: str, total: int) -> None:
        column = _column(name)
        gaps = self._one(
            f"SELECT count(*) FROM units WHERE {column} IS NULL OR NOT isfinite({column})"  # noqa: S608
        )
        if gaps == total:
            raise InvalidMetric(f"column {name!r} has no value at all; name another")
        if gaps:
            raise InvalidMetric(
                f"column {name!r} is missing or infinite for {gaps:,} of {total:,} units; write 0 "
                "where a unit did nothing"
            )

    def _refuse_gaps_of(self, role: str, name: str) -> None:
        gaps = self._one(f"SELECT count(*) FROM units WHERE {role} IS NULL")  # noqa: S608
        if gaps:
            raise RegularsError(
                f"column {name!r} names no {role} in {gaps:,} rows; fill it in, or leave them out"
            )

    def _refuse_many_variants(self, name: str) -> None:
        many = self._one("SELECT count(DISTINCT variant) FROM units")
        if many > MOST_VARIANTS:
            raise RegularsError(
                f"column {name!r} has {many:,} different values, which are no variants; name the "
                "column that says who got what"
            )
        if many == 0:
            raise RegularsError(f"column {name!r} names no variant in any row; name another")

    def _refuse_blanks(self, name: str) -> None:
        found = self._connection.execute(
            "SELECT min(spelled), max(spelled) FROM units WHERE variant IS NOT NULL "
            "GROUP BY regexp_replace(spelled, '\\s+', '', 'g') "
            "HAVING count(DISTINCT spelled) > 1 ORDER BY 1"
        ).fetchone()
        if found:
            raise RegularsError(
                f"column {name!r} has variants {found[0]!r} and {found[1]!r}, which differ only in "
                "blanks; write each variant in one way"
            )

    def _assigned(self, total: int, unit: str | None, cluster: str | None) -> Found:
        unassigned = self._one("SELECT count(*) FROM units WHERE variant IS NULL")
        torn, first, torn_in = 0, None, None
        for role, name in (("cluster", cluster), ("unit", unit)):
            if name is None:
                continue
            found = self._connection.execute(
                f"SELECT count(*), min({role}) FROM (SELECT {role} FROM units "  # noqa: S608
                f"GROUP BY 1 HAVING count(DISTINCT variant) > 1)"
            ).fetchone()
            if found and found[0]:
                torn, first, torn_in = int(found[0]), str(found[1]), name
                break
        repeated = 0
        if unit is not None and cluster is not None:
            repeated = self._one(
                "SELECT count(*) FROM (SELECT unit FROM units GROUP BY 1 HAVING count(*) > 1)"
            )
        elif unit is not None and not torn:
            self._refuse_repeated(unit)
        return Found(total, unassigned, torn, first, torn_in, repeated)

    def _refuse_repeated(self, unit: str) -> None:
        found = self._connection.execute(
            "SELECT count(*), min(unit) FROM (SELECT unit FROM units GROUP BY 1 "
            "HAVING count(*) > 1)"
        ).fetchone()
        if found and found[0]:
            raise RegularsError(
                f"{found[0]:,} units have more than one row, first {found[1]!r} of column "
                f"{unit!r}; add them up to one row a unit, or analyse rows with --cluster {unit}"
            )

    def _one(self, query: str) -> int:
        found = self._connection.execute(query).fetchone()
        return int(found[0]) if found else 0

    def _unreadable(self, error: duckdb.Error) -> RegularsError:
        told = " ".join(str(error).split())[:300]
        return RegularsError(f"data {self.path} cannot be read: {told}; check the file")


# The strata in a table of units.
STRATUM = "stratum of the unit"
# Columns of the table are prefixed: a file may call its own what it likes.
_NUMBER = "number "
_VARIANT = "variant of the unit"


def _column(name: str) -> str:
    return quoted(f"{_NUMBER}{name}")


def _written(name: str) -> str:
    return quoted(f"written {name}")


def _capped(column: Column) -> str:
    named = _column(column.name)
    return named if column.cap is None else f"least({named}, {float(column.cap)!r}::DOUBLE)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Loading a retailer's files: every row is written or quarantined, and loading again is no news."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.source_files import open_mapping, read_source
from foundation.clock import FixedClock
from foundation.contracts import PRODUCTS, PURCHASES
from foundation.contracts.mapping import Chunk
from foundation.errors import RegularsError
from regulars.jobs.load import LoadReport, TableLoad, load
from regulars.progress import Progress

NOW = datetime(2026, 6, 11, 3, tzinfo=UTC)

SALES = """\
table: purchases
time_zone: Europe/Vienna
local_time_zone: Europe/Vienna
columns:
  line_id: [receipt, line]
  customer_id: card
  order_id: receipt
  product_id: item
  store_id: shop
  at: {from: sold, format: "%d.%m.%Y %H:%M"}
  quantity: pieces
  amount: {from: paid, unit: major}
  discount: {from: off, unit: minor}
  margin: margin
constants:
  channel: store
"""

ITEMS = """\
table: products
columns: {product_id: item, category: group, brand: brand}
"""

HEADER = "receipt,line,card,item,shop,sold,pieces,paid,off,margin"
GOOD = "r1,1,007,p1,s1,10.06.2026 08:00,1,4.50,50,"


def csv(*lines: str, end: str = "\n") -> bytes:
    return end.join([HEADER, *lines, ""]).encode()


Load = Callable[..., LoadReport]


@pytest.fixture
def load_file(tmp_path: Path, lake: DuckDbLake, silent: Progress) -> Load:
    """Load content under a name and a mapping, as `regulars load NAME --mapping` does."""

    def do(content: bytes | pd.DataFrame | arrow.Table, name: str = "sales.csv",
           mapping: str = SALES) -> LoadReport:  # fmt: skip
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        else:
            parquet.write_table(content, path)
        (tmp_path / "map.yaml").write_text(mapping, encoding="utf-8")
        return load(
            lake,
            read_source(path, open_mapping(tmp_path / "map.yaml"), "UTC"),
            FixedClock(NOW),
            silent,
        )

    return do


def purchases(lake: DuckDbLake) -> list[dict[str, Any]]:
    return lake.fetch(lake.table("purchases").order_by("line_id")).to_pylist()


def quarantine(lake: DuckDbLake) -> list[tuple[int, str, str, str]]:
    """Return what was refused: line, column, value, reason."""
    rows = lake.fetch(lake.table("quarantine")).to_pylist()
    return sorted((r["source_line"], r["column"], r["value"], r["reason"]) for r in rows)


# ------------------------------------------------------------------------------- what is accepted


def test_a_csv_row_arrives_as_the_mapping_says_it(load_file: Load, lake: DuckDbLake) -> None:
    report = load_file(csv(GOOD))

    assert report.tables == {"purchases": TableLoad(read=1, new=1)}
    assert purchases(lake) == [
        {
            "line_id": "r1-1",
            # A leading zero is part of an id.
            "customer_id": "007",
            "order_id": "r1",
            "product_id": "p1",
            "store_id": "s1",
            "channel": "store",
            # Vienna has +2 h in June.
            "at": datetime(2026, 6, 10, 6, tzinfo=UTC),
            "local_day": 20_614,
            "local_hour": 8,
            "quantity": 1.0,
            "amount": 450,
            "discount": 50,
            "offer_discount": 0,
            "offer_id": None,
            "funder": None,
            "margin": None,
            "returns_line_id": None,
        }
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + csv(GOOD),
        csv(GOOD, end="\r\n"),
        csv(GOOD).rstrip(b"\n"),
        csv("", GOOD, "", ""),
        csv('"r1","1","007","p1","s1","10.06.2026 08:00","1","4.50","50",""'),
        csv(" r1 , 1,007 , p1,s1, 10.06.2026 08:00 , 1 , 4.50 , 50 , "),
        b"ignored," + HEADER.encode() + b"\n," + GOOD.encode() + b"\n",
    ],
    ids=["BOM", "Windows", "no last line end", "blank lines", "quoted", "spaces", "more columns"],
)
def test_the_ways_to_write_a_csv_file_are_one(
    load_file: Load, lake: DuckDbLake, content: bytes
) -> None:
    load_file(csv(GOOD), "plain.csv")
    version = lake.version

    assert load_file(content).tables["purchases"] == TableLoad(read=1, repeated=1)
    assert lake.version == version


def test_parquet_rows_are_the_same_rows(load_file: Load, lake: DuckDbLake) -> None:
    load_file(csv(GOOD, "r1,2,1017,p1,s1,10.06.2026 08:00,2.5,-1.15,0,0.30"))
    version = lake.version
    typed = arrow.table({
        "receipt": ["r1", "r1"],
        "line": [1, 2],
        "card": ["007", "1017"],
        "item": ["p1", "p1"],
        "shop": arrow.array(["s1", "s1"]).dictionary_encode(),
        "sold": [datetime(2026, 6, 10, 8), datetime(2026, 6, 10, 8)],  # noqa: DTZ001
        "pieces": [1.0, 2.5],
        "paid": [Decimal("4.50"), Decimal("-1.15")],
        "off": [50, 0],
        # 0.30000000000000004, what a float makes of 0.30.
        "margin": [None, 0.1 + 0.2],
    })  # fmt: skip

    report = load_file(typed, "sales.parquet")

    assert report.tables["purchases"] == TableLoad(read=2, repeated=2)
    assert lake.version == version


def test_whole_ids_that_parquet_holds_as_floats_lose_their_point(
    load_file: Load, lake: DuckDbLake
) -> None:
    # pandas writes an integer column with a gap as floats.
    frame = pd.DataFrame({"item": [1017.0, 7.0, None], "group": "A", "brand": [1.0, None, 2.0]})
    assert frame["item"].dtype == "float64"

    report = load_file(frame, "items.parquet", ITEMS)

    assert report.tables["products"] == TableLoad(read=3, new=2, quarantined=1)
    found = lake.fetch(lake.table("products").order_by("product_id")).to_pylist()
    assert [(r["product_id"], r["brand"]) for r in found] == [("1017", "1"), ("7", None)]
    assert quarantine(lake) == [(4, "product_id", "", "is missing")]


def test_int64_ids_with_a_gap_are_exact(load_file: Load, lake: DuckDbLake) -> None:
    # As a double it would be 9007199254740992.
    table = arrow.table({"item": [9_007_199_254_740_993, None], "group": "A", "brand": "b"} | {
        "group": ["A", "B"], "brand": ["b", "b"]})  # fmt: skip

    load_file(table, "items.parquet", ITEMS)

    found = lake.fetch(lake.table("products"))["product_id"].to_pylist()
    assert found == ["9007199254740993"]


def test_a_value_may_span_lines_and_hold_separators(load_file: Load, lake: DuckDbLake) -> None:
    content = b'item,group,brand\n"p,1","two\nlines","say ""x"""\np2,,b\n'

    report = load_file(content, "items.csv", ITEMS)

    assert report.tables["products"] == TableLoad(read=2, new=1, quarantined=1)
    row = lake.fetch(lake.table("products")).to_pylist()[0]
    assert (row["product_id"], row["category"], row["brand"]) == ("p,1", "two\nlines", 'say "x"')
    # The bad row begins on the file's fourth line, not on the second after the header.
    assert quarantine(lake) == [(4, "category", "", "is missing")]


def test_a_scope_of_thousands_of_products_is_one_value(load_file: Load, lake: DuckDbLake) -> None:
    mapping = """\
table: offers
columns: {offer_id: id, scope: scope}
constants: {title: t, kind: percent, reward: 10, min_spend: 0, channels: [], placements: [],
  stores: [], valid_from: 2026-06-01, valid_to: 2026-07-01, cost: 0, priority: 0, combinable: true}
"""
    ids = [f"product-{n}" for n in range(20_000)]
    scope = "[" + ",".join(f'""{i}""' for i in ids) + "]"
    # Longer than the 131,072 characters that Python's csv module takes by default.
    assert len(scope) > 131_072

    load_file(f'id,scope\no1,"{scope}"\n'.encode(), "offers.csv", mapping)

    found = lake.fetch(lake.table("offers")).to_pylist()[0]
    assert found["scope"] == ids
    assert found["valid_from"] == datetime(2026, 6, 1, tzinfo=UTC)


def test_a_percentage_above_the_whole_price_is_quarantined(
    load_file: Load, lake: DuckDbLake
) -> None:
    mapping = """\
table: offers
columns: {offer_id: id, kind: kind, reward: reward}
constants: {title: t, min_spend: 0, channels: [], placements: [], scope: [],
  stores: [], valid_from: 2026-06-01, valid_to: 2026-07-01, cost: 0, priority: 0, combinable: true}
"""
    rows = b"id,kind,reward\nall,percent,100\nmore,percent,101\npoints,points,500\n"

    load_file(rows, "offers.csv", mapping)

    found = lake.fetch(lake.table("offers")).to_pylist()
    assert {row["offer_id"] for row in found} == {"all", "points"}
    assert quarantine(lake) == [(3, "reward", "101.0", "must be at most 100 where kind is percent")]


def test_a_mapping_says_text_also_where_yaml_would_read_a_number_or_a_flag(
    load_file: Load, lake: DuckDbLake
) -> None:
    # In YAML 1.1 unquoted 007 is 7, 1.10 is 1.1, and no, off and y are flags.
    mapping = "table: products\ncolumns: {product_id: no, category: off}\n"
    constants = "constants: {brand: 007, subcategory: 1.10, margin_rate: 0.25}\n"

    load_file(b"no,off\np1,A\n", "items.csv", mapping + constants)

    found = lake.fetch(lake.table("products")).to_pylist()
    assert found == [
        {
            "product_id": "p1",
            "category": "A",
            "subcategory": "1.10",
            "brand": "007",
            "margin_rate": 0.25,
        }
    ]


# -------------------------------------------------------------------------------- what is refused


BAD = [
    # (line, what becomes of it: column, value, reason)
    ("r2,1,,p1,s1,10.06.2026 08:00,1,4.50,0,", ("customer_id", "", "is missing")),
    ("r2,2,c1,   ,s1,10.06.2026 08:00,1,4.50,0,", ("product_id", "", "is missing")),
    (
        'r2,3,c1,p1,s1,10.06.2026 08:00,1,"1,234.50",0,',
        ("amount", "1,234.50", "is not a number"),
    ),
    ("r2,4,c1,p1,s1,10.06.2026 08:00,1,NaN,0,", ("amount", "NaN", "is not a number")),
    ("r2,5,c1,p1,s1,10.06.2026 08:00,1,inf,0,", ("amount", "inf", "is not a number")),
    (
        "r2,6,c1,p1,s1,10.06.2026 08:00,1,4.505,0,",
        ("amount", "4.505", "has more than two decimals"),
    ),
    (
        "r2,7,c1,p1,s1,10.06.2026 08:00,1,92233720368547758.08,0,",
        ("amount", "92233720368547758.08", "is more than 64 bits hold"),
    ),
    ("r2,8,c1,p1,s1,10.06.2026 08:00,1,4.50,-1,", ("discount", "-1", "must be at least 0")),
    ("r2,9,c1,p1,s1,10.06.2026 08:00,1,4.50,0.5,", ("discount", "0.5", "is not a whole number")),
    ("r2,10,c1,p1,s1,10.06.2026 08:00,x,4.50,0,", ("quantity", "x", "is not a number")),
    # A time that is none makes no day and no hour; it is told once.
    (
        "r2,11,c1,p1,s1,2026-06-10 08:00,1,4.50,0,",
        ("at", "2026-06-10 08:00", "is not a time like %d.%m.%Y %H:%M"),
    ),
    ("r2,12,c1,p1,s1,,1,4.50,0,", ("at", "", "is missing")),
    ("r2,,c1,p1,s1,10.06.2026 08:00,1,4.50,0,", ("line_id", "", "is missing")),
    ("r2,13,c1,p1,s1,10.06.2026 08:00,1,4.50,0,?", ("margin", "?", "is not a number")),
    # A comma too many or too few would move every value after it.
    (
        "r2,14,c1,p1,s1,10.06.2026 08:00,1,4,50,0,",
        (
            "(row)",
            "r2,14,c1,p1,s1,10.06.2026 08:00,1,4,50,0,",
            "has 11 values where the header has 10",
        ),
    ),
    (
        "r2,15,c1,p1,s1,10.06.2026 08:00,1,4.50",
        ("(row)", "r2,15,c1,p1,s1,10.06.2026 08:00,1,4.50", "has 8 values where the header has 10"),
    ),
]


def test_every_bad_row_is_in_quarantine_with_its_line_value_and_reason(
    load_file: Load, lake: DuckDbLake
) -> None:
    report = load_file(csv(GOOD, *(line for line, _ in BAD), "r3" + GOOD[2:]))

    # The header is line 1 and the good row line 2.
    assert quarantine(lake) == [(n, *why) for n, (_, why) in enumerate(BAD, start=3)]
    counts = report.tables["purchases"]
    assert counts == TableLoad(read=len(BAD) + 2, new=2, quarantined=len(BAD))
    assert [row["line_id"] for row in purchases(lake)] == ["r1-1", "r3-1"]
    first = lake.fetch(lake.table("quarantine").order_by("source_line")).to_pylist()[0]
    assert first["table"] == "purchases"
    assert Path(first["source"]).is_absolute()
    assert first["at"] == NOW
    assert len(report.examples) == 5
    assert report.examples[0].endswith("sales.csv, line 3: customer_id '' is missing")


def test_a_row_with_two_bad_values_is_one_quarantined_row_with_two_reasons(
    load_file: Load, lake: DuckDbLake
) -> None:
    report = load_file(csv("r2,1,,p1,s1,10.06.2026 08:00,x,4.50,0,"))

    assert report.tables["purchases"] == TableLoad(read=1, quarantined=1)
    assert [(column, value) for _, column, value, _ in quarantine(lake)] == [
        ("customer_id", ""),
        ("quantity", "x"),
    ]


@pytest.mark.parametrize(
    "column", [c.name for c in PURCHASES.columns if not c.nullable]
)  # fmt: skip
def test_a_null_in_any_required_column_costs_that_row_and_no_other(
    lake: DuckDbLake, silent: Progress, column: str
) -> None:
    same = {"channel": "store", "at": NOW, "local_day": 20_614, "local_hour": 8}
    text = dict.fromkeys(("customer_id", "order_id", "product_id"), "x")
    numbers = {"quantity": 1.0, "amount": 1, "discount": 0, "offer_discount": 0}
    rows = [{"line_id": f"l{n}", **same, **text, **numbers} for n in range(3)]
    rows[1][column] = None
    frame = pd.DataFrame(rows, dtype=object).reindex(columns=list(PURCHASES.names))
    frame = frame.astype(object).where(frame.notna(), None)
    chunk = Chunk(PURCHASES, frame, pd.Series([2, 3, 4]), [], "rows")

    report = load(lake, [chunk], FixedClock(NOW), silent)

    assert report.tables["purchases"] == TableLoad(read=3, new=2, quarantined=1)
    assert [row["line_id"] for row in purchases(lake)] == ["l0", "l2"]
    assert quarantine(lake) == [(3, column, "", "is missing")]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("channel", "fax", "must be one of store, app, web, email, push, mail, till, call"),
        ("local_hour", "24", "must be at most 23"),
        ("local_hour", "-1", "must be at least 0"),
    ],
)
def test_a_value_that_breaks_a_rule_of_the_contract_is_refused_with_the_rule(
    load_file: Load, lake: DuckDbLake, column: str, value: str, reason: str
) -> None:
    mapping = SALES.replace("  channel: store\n", "").replace("constants:\n", "")
    mapping += "  channel: how\n  local_hour: hour\n"
    values = {"channel": "store", "local_hour": "8", column: value}
    row = f"{GOOD},{values['channel']},{values['local_hour']}"

    load_file(f"{HEADER},how,hour\n{row}\n".encode(), mapping=mapping)

    assert quarantine(lake) == [(2, column, value, reason)]
    assert purchases(lake) == []


# -------------------------------------------------------------------------------- loading again


def test_loading_twice_changes_nothing(load_file: Load, lake: DuckDbLake) -> None:
    content = csv(GOOD, "r1,2" + GOOD[4:], *(line for line, _ in BAD))
    load_file(content)
    before = (lake.version, lake.digest(["purchases", "quarantine"]), quarantine(lake))

    again = load_file(content)

    assert again.tables["purchases"] == TableLoad(
        read=len(BAD) + 2, repeated=2, quarantined=len(BAD)
    )
    assert (lake.version, lake.digest(["purchases", "quarantine"]), quarantine(lake)) == before


def test_the_same_file_named_another_way_is_the_same_source(
    load_file: Load, lake: DuckDbLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_file(csv(BAD[0][0]))
    version = lake.version
    monkeypatch.chdir(tmp_path)

    mapping = open_mapping(Path("map.yaml"))
    chunks = read_source(Path("sales.csv"), mapping, "UTC")
    load(lake, chunks, FixedClock(NOW), Progress())

    assert lake.version == version


def test_a_purchase_told_again_with_other_content_is_a_conflict(
    load_file: Load, lake: DuckDbLake
) -> None:
    load_file(csv(GOOD), "monday.csv")

    report = load_file(csv(GOOD.replace("4.50", "9.99"), "r9" + GOOD[2:]), "tuesday.csv")

    assert report.tables["purchases"] == TableLoad(read=2, new=1, quarantined=1)
    why = "was loaded before with other content; an event does not change"
    assert quarantine(lake) == [(2, "line_id", "r1-1", why)]
    assert [row["amount"] for row in purchases(lake)] == [450, 450]


def test_a_receipt_line_twice_in_a_file_is_told_apart_by_its_content(
    load_file: Load, lake: DuckDbLake
) -> None:
    report = load_file(csv(GOOD, GOOD, GOOD.replace("4.50", "9.99")))

    assert report.tables["purchases"] == TableLoad(read=3, new=1, repeated=1, quarantined=1)
    assert quarantine(lake)[0][:3] == (4, "line_id", "r1-1")


def test_a_product_is_replaced_by_its_newest_telling(load_file: Load, lake: DuckDbLake) -> None:
    load_file(b"item,group,brand\np1,A,x\np2,A,x\n", "items.csv", ITEMS)

    report = load_file(b"item,group,brand\np1,B,x\np2,A,x\np3,C,\np3,D,\n", "items.csv", ITEMS)

    assert report.tables["products"] == TableLoad(read=4, new=1, repeated=1, replaced=2)
    found = lake.fetch(lake.table("products").order_by("product_id"))["category"].to_pylist()
    assert found == ["B", "A", "D"]


def test_counts_add_up_over_all_pieces(
    load_file: Load, lake: DuckDbLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A small piece, so that keys meet again in another one.
    monkeypatch.setattr("adapters.source_files.ROWS_A_PIECE", 7)
    lines = [
        f"r{n % 40},1,c{n % 40},p1,s1,10.06.2026 08:00,1,{'x' if n % 11 == 0 else n % 3},0,"
        for n in range(100)
    ]

    counts = load_file(csv(*lines)).tables["purchases"]

    assert counts.read == 100
    assert counts.read == counts.new + counts.repeated + counts.replaced + counts.quarantined
    # Told in plain Python: the first readable telling of a key stands.
    stands: dict[int, int] = {}
    refused: list[int] = []
    for n in range(100):
        if n % 11 == 0 or stands.setdefault(n % 40, n % 3) != n % 3:
            refused.append(n + 2)
    assert counts.new == len(stands) == len(purchases(lake))
    assert counts.quarantined == len(refused)
    assert [line for line, *_ in quarantine(lake)] == refused
    whole = (lake.version, lake.digest(["purchases"]))
    load_file(csv(*lines))
    assert (lake.version, lake.digest(["purchases"])) == whole


def test_a_table_loaded_afresh_forgets_what_it_held(
    load_file: Load, lake: DuckDbLake, silent: Progress
) -> None:
    load_file(b"item,group,brand\nold,A,x\n", "items.csv", ITEMS)
    frame = pd.DataFrame({"product_id": ["new"], "category": ["B"]}, dtype=object)
    frame = frame.reindex(columns=list(PRODUCTS.names)).astype(object)
    chunk = Chunk(PRODUCTS, frame.where(frame.notna(), None), pd.Series([2]), [], "rows")

    load(lake, [chunk], FixedClock(NOW), silent, afresh=True)

    assert lake.fetch(lake.table("products"))["product_id"].to_pylist() == ["new"]


# ------------------------------------------------------------------------------- one clear line


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("sales.txt", csv(GOOD), "ends in '.txt'; load .csv or .parquet"),
        ("sales", csv(GOOD), "ends in ''; load .csv or .parquet"),
        ("sales.csv", b"", "is empty; its first line must name the columns"),
        ("sales.csv", csv(), "has a header but no rows; nothing was loaded"),
        ("sales.csv", csv("", ""), "has a header but no rows; nothing was loaded"),
        ("sales.csv", b"a,b\n1,2\n", "has no column 'receipt'; its columns are a, b"),
        (
            "sales.csv",
            csv(GOOD).replace(b",", b";"),
            f"has no column 'receipt'; its columns are {HEADER.replace(',', ';')}",
        ),
        (
            "sales.csv",
            f"{HEADER},paid\n{GOOD},1\n".encode(),
            "has 2 columns 'paid'; rename all but one",
        ),
        ("sales.csv", csv(GOOD, "r2,1,Jos\xe9" + GOOD[8:]).decode().encode("latin-1"),
         "is not in UTF-8: line 3; save it in UTF-8"),
        ("sales.csv", csv(GOOD).decode().encode("utf-16"), "is not in UTF-8: line 1"),
        (
            "sales.csv",
            csv(GOOD, '"r2,1,c1,p1', *[GOOD] * 50),
            "is not a CSV file: the row that begins on line 3: unexpected end of data",
        ),
        ("sales.csv", csv(GOOD, '"r2"x,1' + GOOD[4:]), "the row that begins on line 3:"),
        ("sales.parquet", csv(GOOD), "is not a Parquet file"),
        ("sales.parquet", b"", "is not a Parquet file"),
        ("sales.parquet", arrow.table({"a": [1]}), "has no column 'receipt'; its columns are a"),
        (
            "items.parquet",
            arrow.table({name: arrow.array([], arrow.string()) for name in HEADER.split(",")}),
            "has a header but no rows; nothing was loaded",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_clear_line_and_changes_nothing(
    load_file: Load, lake: DuckDbLake, name: str, content: Any, says: str
) -> None:
    with pytest.raises(RegularsError) as refusal:
        load_file(content, name)

    line = str(refusal.value)
    assert line.startswith("source ")
    assert name in line
    assert says in line
    assert "\n" not in line
    assert lake.version == 0


def test_a_parquet_file_cut_short_is_one_clear_line(load_file: Load, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    parquet.write_table(arrow.table({name: ["1"] * 1000 for name in HEADER.split(",")}), whole)

    with pytest.raises(RegularsError, match="is not a Parquet file"):
        load_file(whole.read_bytes()[:-100], "sales.parquet")


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(SALES)
    mapping = open_mapping(tmp_path / "map.yaml")

    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(RegularsError, match="is no file; name a CSV or Parquet file"):
            next(read_source(path, mapping, "UTC"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"table: [purchases", "is not YAML"),
        (b"\xff\xfe", "is not YAML"),
        (b"", "the whole file"),
        (SALES.replace("paid", "[paid, tax]").encode(), "only text and times are joined"),
    ],
)
def test_a_wrong_mapping_file_is_one_clear_line(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_bytes(text)

    with pytest.raises(RegularsError) as refusal:
        open_mapping(path)

    line = str(refusal.value)
    assert line.startswith(f"mapping {path}")
    assert says in line
    assert "\n" not in line


def test_a_mapping_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match="No such file or directory; name an existing file"):
        open_mapping(tmp_path / "none.yaml")


def test_a_file_that_breaks_off_in_its_midst_leaves_the_lake_as_it_was(
    load_file: Load, lake: DuckDbLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.source_files.ROWS_A_PIECE", 2)
    load_file(csv(GOOD), "monday.csv")
    lines = [f"r{n}" + GOOD[2:] for n in range(10)]

    with pytest.raises(RegularsError, match="the row that begins on line 12"):
        load_file(csv(*lines, '"open'), "tuesday.csv")

    assert lake.version == 1
    assert len(purchases(lake)) == 1
    assert quarantine(lake) == []


def test_a_source_that_fails_in_its_midst_leaves_the_lake_as_it_was(
    lake: DuckDbLake, silent: Progress
) -> None:
    def chunks() -> Iterator[Chunk]:
        frame = pd.DataFrame({"product_id": ["p"], "category": ["A"]}, dtype=object)
        frame = frame.reindex(columns=list(PRODUCTS.names)).astype(object)
        yield Chunk(PRODUCTS, frame.where(frame.notna(), None), pd.Series([2]), [], "rows")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load(lake, chunks(), FixedClock(NOW), silent)

    assert lake.version == 0


COMMAS = """\
table: purchases
delimiter: ";"
decimal: ","
columns:
  line_id: bon
  order_id: bon
  customer_id: karte
  amount: netto
  quantity: stueck
constants: {product_id: p, at: 2026-05-04 12:00, channel: store}
"""


def test_a_file_of_a_country_with_decimal_commas_is_read_to_the_cent(
    load_file: Load, lake: DuckDbLake
) -> None:
    rows = [
        "bon;karte;netto;stueck",
        "B1;007;1.234,50;1,5",
        'B2;007;"-0,05";2',
        "B3;007;4.50;1",
        "B4;007;1234567,8;1.000",
        "B5;007;,;1",
    ]
    report = load_file("\n".join(rows).encode(), "kassa.csv", COMMAS)

    assert [(row["line_id"], row["amount"], row["quantity"]) for row in purchases(lake)] == [
        ("B1", 123_450, 1.5),
        ("B2", -5, 2.0),
        ("B4", 123_456_780, 1_000.0),
    ]
    assert report.tables["purchases"].quarantined == 2
    why = "is not a number with a decimal comma"
    assert quarantine(lake) == [(4, "amount", "4.50", why), (6, "amount", ",", why)]


def test_an_offer_holds_everywhere_where_the_mapping_names_no_place(
    load_file: Load, lake: DuckDbLake
) -> None:
    mapping = """\
table: offers
columns: {offer_id: id}
constants:
  {title: free coffee, kind: gift, reward: 1, min_spend: 0, cost: 0.4, priority: 0,
   valid_from: 2026-11-01, valid_to: 2026-12-01, combinable: true}
"""
    load_file(b"id\no-1\no-2\n", "offers.csv", mapping)

    for row in lake.fetch(lake.table("offers")).to_pylist():
        assert [row[c] for c in ("scope", "channels", "placements", "stores")] == [[]] * 4

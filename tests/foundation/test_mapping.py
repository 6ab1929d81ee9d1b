"""A retailer's values become a contract's, exactly; an unreadable one is a fault with a reason."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
from hypothesis import given
from hypothesis import strategies as some

from foundation.contracts.mapping import convert, read_mapping
from foundation.errors import RegularsError

PURCHASES: dict[str, Any] = {
    "table": "purchases",
    "columns": {
        "line_id": ["receipt", "line"],
        "customer_id": "customer",
        "order_id": "receipt",
        "product_id": "product",
        "at": "sold",
        "quantity": "pieces",
        "amount": "paid",
    },
    "constants": {"channel": "store"},
}

ROW: dict[str, Any] = {
    "receipt": "r1",
    "line": "1",
    "customer": "c1",
    "product": "p1",
    "sold": "2026-06-10 08:00",
    "pieces": "1",
    "paid": "4.50",
}


def purchases(rows: list[dict[str, Any]], **changes: Any) -> tuple[pd.DataFrame, list[str]]:
    """Convert rows like ROW; return typed rows, and the faults as `row column value reason`."""
    mapping = read_mapping({**PURCHASES, **changes}, "m.yaml")
    raw = pd.DataFrame([{**ROW, **row} for row in rows], dtype=object)
    frame, faults = convert(raw, mapping, "UTC")
    return frame, [f"{f.row} {f.column} {f.value} {f.reason}" for f in faults]


def one(table: str, column: str, value: Any, **said: Any) -> tuple[Any, list[str]]:
    """Read one value as a table's column; return what became of it, and why not."""
    needed = {
        "offers": {"offer_id": "id"},
        "stores": {"store_id": "id"},
        "interactions": {"event_id": "id"},
        "customers": {"customer_id": "id"},
    }[table]
    constants: dict[str, Any] = {
        "offers": {
            "title": "t", "kind": "amount", "reward": 1, "min_spend": 0, "scope": [],
            "channels": [], "placements": [], "stores": [], "valid_from": "2026-01-01",
            "valid_to": "2027-01-01", "cost": 1, "priority": 0, "combinable": True,
        },
        "stores": {"time_zone": "UTC", "owner": "own", "participates": True},
        "interactions": {
            "customer_id": "c", "at": "2026-01-01", "channel": "app", "kind": "visit",
        },
        "customers": {},
    }[table]  # fmt: skip
    constants.pop(column, None)
    document = {
        "table": table,
        "columns": {**needed, column: {"from": "value", **said}},
        "constants": constants,
    }
    values = value if isinstance(value, pd.Series) else pd.Series([value], dtype=object)
    raw = pd.DataFrame({"id": [f"i{n}" for n in range(len(values))], "value": values})
    frame, faults = convert(raw, read_mapping(document, "m.yaml"), "UTC")
    return frame[column].iloc[-1], [fault.reason for fault in faults]


# ---------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("007", "007"),
        (" c1 ", "c1"),
        ("1e5", "1e5"),
        ("NaN", "NaN"),
        ("NULL", "NULL"),
        ("Größe", "Größe"),
        (7, "7"),
        (9_007_199_254_740_993, "9007199254740993"),
        (1017.0, "1017"),
        (1.5, "1.5"),
        (b"c1", "c1"),
        (Decimal("7"), "7"),
        (True, "true"),
    ],
)
def test_an_id_keeps_every_character_and_no_decimal_point_it_never_had(
    value: Any, read: str
) -> None:
    assert one("interactions", "customer_id", value) == (read, [])


@pytest.mark.parametrize("blank", ["", "   ", "\t", None, float("nan"), pd.NA, b""])
def test_blank_text_is_missing_not_an_id(blank: Any) -> None:
    assert one("interactions", "customer_id", blank) == (None, [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        # Above 2**53 neighbouring whole numbers are one double: the id is no longer known.
        (2.0**53 + 2, "is a float too large to be exact; write ids as text or int64"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (["a"], "is not text"),
    ],
)
def test_an_id_that_is_not_known_for_certain_is_refused(value: Any, reason: str) -> None:
    values = pd.Series([value], dtype=pd.ArrowDtype(arrow.array([value]).type))
    assert one("interactions", "customer_id", values) == (None, [reason])


def test_whole_ids_of_a_column_with_gaps_stay_whole() -> None:
    # What pandas writes for an integer column with a missing value.
    gaps = pd.Series([np.nan, 1017.0])
    arrows = pd.Series([None, 9_007_199_254_740_993], dtype=pd.ArrowDtype(arrow.int64()))

    assert one("interactions", "customer_id", gaps) == ("1017", [])
    assert one("interactions", "customer_id", arrows) == ("9007199254740993", [])


def test_several_columns_are_joined_each_read_as_an_id_and_a_missing_part_is_a_missing_id() -> None:
    frame, faults = purchases([{"receipt": 17.0, "line": 2}, {"line": None}, {"line": " "}])

    assert frame["line_id"].tolist() == ["17-2", None, None]
    assert faults == []


# ------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "read"),
    [("1.5", 1.5), ("-2", -2.0), ("1e3", 1000.0), (" 7 ", 7.0), (3, 3.0), (Decimal("0.1"), 0.1)],
)
def test_a_number_is_read_as_written(value: Any, read: float) -> None:
    assert one("interactions", "value", value) == (read, [])


@pytest.mark.parametrize(
    "value", ["1,5", "1,234.50", "NaN", "inf", "-Infinity", "1e999", "0x1F", "1_000", "12a", True]
)
def test_what_only_looks_like_a_number_is_refused(value: Any) -> None:
    read, reasons = one("interactions", "value", value)

    assert pd.isna(read)
    assert reasons == ["is not a number"]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("7", 7),
        ("007", 7),
        ("12.0", 12),
        ("1e3", 1000),
        (-3, -3),
        # A double would make 9007199254740992 of it.
        ("9007199254740993", 9_007_199_254_740_993),
        ("9223372036854775807", 9_223_372_036_854_775_807),
    ],
)
def test_a_whole_number_is_exact_to_the_last_of_its_64_bits(value: Any, read: int) -> None:
    assert one("offers", "stock", value) == (read, [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1.5", "is not a whole number"),
        ("9223372036854775808", "is more than 64 bits hold"),
        ("1e400", "is more than 64 bits hold"),
        ("seven", "is not a number"),
        (1e17, "is a float too large to be exact"),
    ],
)
def test_what_is_no_whole_number_of_64_bits_is_refused(value: Any, reason: str) -> None:
    read, reasons = one("offers", "stock", value)

    assert read is pd.NA
    assert reasons == [reason]


# --------------------------------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("value", "unit", "minor"),
    [
        ("4.50", "major", 450),
        ("0.1", "major", 10),
        (0.1 + 0.2, "major", 30),
        ("1e5", "major", 10_000_000),
        ("1234567890.12", "major", 123_456_789_012),
        ("-4.5", "major", -450),
        ("450", "minor", 450),
        ("450.0", "minor", 450),
        (Decimal("4.50"), "major", 450),
    ],
)
def test_money_is_whole_minor_units_of_its_declared_unit(value: Any, unit: str, minor: int) -> None:
    assert one("offers", "budget", value, unit=unit) == (minor, [])


@pytest.mark.parametrize(
    ("value", "unit", "reason"),
    [
        ("1,234.50", "major", "is not a number"),
        ("NaN", "major", "is not a number"),
        ("inf", "major", "is not a number"),
        ("4.505", "major", "has more than two decimals"),
        ("92233720368547758.08", "major", "is more than 64 bits hold"),
        ("4.5", "minor", "is not a whole number"),
    ],
)
def test_what_is_no_money_is_refused(value: Any, unit: str, reason: str) -> None:
    read, reasons = one("offers", "budget", value, unit=unit)

    assert read is pd.NA
    assert reasons == [reason]


def test_single_precision_money_is_the_decimal_that_was_written() -> None:
    # The double next to single precision's 4.99 is 4.989999771118164.
    values = pd.Series([4.99], dtype=pd.ArrowDtype(arrow.float32()))

    assert one("offers", "budget", values) == (499, [])
    assert one("offers", "budget", pd.Series([4.99], dtype="float32")) == (499, [])


def test_a_source_without_discounts_sold_at_the_shelf_price() -> None:
    frame, _ = purchases([{}])

    assert frame["discount"].tolist() == [0]
    assert frame["offer_discount"].tolist() == [0]


# --------------------------------------------------------------------------------------- times


def instant(value: Any, **said: Any) -> str:
    read, reasons = one("interactions", "at", value, **said)
    assert reasons == []
    return read.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2026-06-10 08:00", "2026-06-10T12:00:00Z"),
        ("2026-06-10T08:00:00.123456", "2026-06-10T12:00:00.123456Z"),
        ("2026-01-10 08:00", "2026-01-10T13:00:00Z"),
        ("2026-06-10", "2026-06-10T04:00:00Z"),
        (" 2026-06-10 ", "2026-06-10T04:00:00Z"),
        ("20260610", "2026-06-10T04:00:00Z"),
        # An offset says more than the mapping's zone, row by row.
        ("2026-06-10T08:00Z", "2026-06-10T08:00:00Z"),
        ("2026-06-10T08:00:00+02:00", "2026-06-10T06:00:00Z"),
        ("2026-06-10 08:00:00-0930", "2026-06-10T17:30:00Z"),
        ("2026-06-10T08:00:00+02", "2026-06-10T06:00:00Z"),
        # Before 1970; New York had -5 h in winter then too.
        ("1965-02-03 00:00", "1965-02-03T05:00:00Z"),
        # The end of time of many systems.
        ("9999-12-31 00:00", "9999-12-31T05:00:00Z"),
        (datetime(2026, 6, 10, 8), "2026-06-10T12:00:00Z"),  # noqa: DTZ001
        (datetime(2026, 6, 10, 8, tzinfo=UTC), "2026-06-10T08:00:00Z"),
        (date(2026, 6, 10), "2026-06-10T04:00:00Z"),
    ],
)
def test_a_time_is_the_instant_its_zone_or_its_own_offset_says(value: Any, read: str) -> None:
    assert instant(value, time_zone="America/New_York") == read


# Europe/Vienna, 2026: clocks skip 02:00-03:00 on 29 March at 01:00 UTC and repeat 02:00-03:00 on
# 25 October at 01:00 UTC (Directive 2000/84/EC: last Sundays, 01:00 UTC).
@pytest.mark.parametrize(
    ("wall", "read"),
    [
        ("2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
        ("2026-03-29 02:00:00", "2026-03-29T01:00:00Z"),
        ("2026-03-29 02:30:00", "2026-03-29T01:00:00Z"),
        ("2026-03-29 03:00:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
        ("2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
    ],
)
def test_a_repeated_hour_is_the_first_and_a_skipped_one_its_end(wall: str, read: str) -> None:
    assert instant(wall, time_zone="Europe/Vienna") == read
    assert instant(datetime.fromisoformat(wall), time_zone="Europe/Vienna") == read


def test_a_day_first_format_is_no_offset() -> None:
    # "-2026" has the looks of an offset; the time is a wall clock's all the same.
    read = instant("31-12-2026", format="%d-%m-%Y", time_zone="America/New_York")
    assert read == "2026-12-31T05:00:00Z"


def test_a_format_may_name_the_offset_or_leave_it_to_the_zone() -> None:
    assert instant("10.06.2026 08:00", format="%d.%m.%Y %H:%M") == "2026-06-10T08:00:00Z"
    assert (
        instant("10.06.2026 08:00 +0200", format="%d.%m.%Y %H:%M %z", time_zone="Asia/Tokyo")
        == "2026-06-10T06:00:00Z"
    )


def test_a_column_of_times_with_and_without_offsets_is_read_row_by_row() -> None:
    rows = [{"sold": "2026-06-10 08:00"}, {"sold": "2026-06-10 08:00+00:00"}, {"sold": None}]

    frame, faults = purchases(rows, time_zone="Europe/Vienna")

    told = [None if pd.isna(at) else at.hour for at in frame["at"]]
    assert told == [6, 8, None]
    assert faults == []


def test_typed_times_of_a_parquet_file_are_read_to_the_microsecond() -> None:
    nanoseconds = arrow.array([1_781_078_400_123_456_789], arrow.timestamp("ns"))
    values = pd.Series(nanoseconds, dtype=pd.ArrowDtype(nanoseconds.type))
    zoned = pd.Series(nanoseconds, dtype=pd.ArrowDtype(arrow.timestamp("ns", tz="Asia/Tokyo")))

    # 1781078400 s after 1970 is 2026-06-10 08:00 UTC.
    assert instant(values) == "2026-06-10T08:00:00.123456Z"
    assert instant(values, time_zone="Europe/Vienna") == "2026-06-10T06:00:00.123456Z"
    assert instant(zoned, time_zone="Europe/Vienna") == "2026-06-10T08:00:00.123456Z"


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026",
        "2026-13-01",
        "2026-02-30",
        "10.06.2026",
        "06/10/2026",
        "1781078400",
        1_781_078_400,
        "2026-06-10 25:00",
    ],
)
def test_what_is_no_unmistakable_time_is_refused(value: Any) -> None:
    read, reasons = one("interactions", "at", value)

    assert read is pd.NaT
    assert reasons[0].startswith("is not a time")
    assert len(reasons) == 1


def test_a_time_that_the_calendar_of_utc_does_not_reach_is_refused() -> None:
    _, reasons = one("interactions", "at", "9999-12-31 23:59", time_zone="America/New_York")

    assert reasons == ["is out of the years 1 to 9999 in UTC"]


zones = some.sampled_from(["America/New_York", "Europe/Vienna", "Australia/Lord_Howe", "UTC"])


instants = some.datetimes(
    datetime(1930, 1, 1),  # noqa: DTZ001
    datetime(2060, 1, 1),  # noqa: DTZ001
    timezones=some.just(UTC),
)


@given(instants, zones)
def test_an_instant_written_with_its_offset_survives_any_zone(at: datetime, zone: str) -> None:
    read, reasons = one("interactions", "at", at.isoformat(), time_zone=zone)

    assert (read.to_pydatetime(), reasons) == (at, [])


# ------------------------------------------------------------------------------ local day and hour


def test_local_day_and_hour_are_what_the_wall_clock_shows() -> None:
    rows = [{"sold": "2026-06-11T02:30Z"}, {"sold": "1969-12-31T12:00Z"}]

    frame, _ = purchases(rows, local_time_zone="America/New_York")

    # 2026-06-10 is day 20614 after 1970-01-01 (date.toordinal).
    assert date(2026, 6, 10).toordinal() - date(1970, 1, 1).toordinal() == 20_614
    assert frame["local_day"].tolist() == [20_614, -1]
    assert frame["local_hour"].tolist() == [22, 7]


def test_a_local_day_of_the_source_is_kept_and_only_the_hour_is_derived() -> None:
    columns = {**PURCHASES["columns"], "local_day": "day"}

    frame, _ = purchases([{"day": "5"}], columns=columns)

    assert frame["local_day"].tolist() == [5]
    assert frame["local_hour"].tolist() == [8]


# ------------------------------------------------------------------------------ flags and lists


@pytest.mark.parametrize(
    ("value", "read"),
    [("true", True), ("Yes", True), ("1", True), (1, True), (" no ", False), (0.0, False)],
)
def test_a_flag_is_read_from_the_usual_words(value: Any, read: bool) -> None:
    assert one("stores", "participates", value) == (read, [])


@pytest.mark.parametrize("value", ["maybe", "2", "on", "t"])
def test_any_other_word_is_no_flag(value: str) -> None:
    read, reasons = one("stores", "participates", value)

    assert read is pd.NA
    assert reasons == ["is neither true nor false"]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('["a", "007"]', ["a", "007"]),
        ("[]", []),
        ("[7, 7.0]", ["7", "7"]),
        (["a", "b"], ["a", "b"]),
        (np.array(["a"], dtype=object), ["a"]),
    ],
)
def test_a_list_of_ids_is_a_json_list(value: Any, read: list[str]) -> None:
    assert one("offers", "scope", value) == (read, [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        # Each of these would be taken apart into letters or keys by a careless reader.
        ('"abc"', "is not a JSON list of text"),
        ('{"a": 1}', "is not a JSON list of text"),
        ('["a", null]', "is not a JSON list of text"),
        ("[[1]]", "is not text"),
        ("a, b", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_what_is_no_json_list_is_refused(value: str, reason: str) -> None:
    assert one("offers", "scope", value) == (None, [reason])


def test_a_structure_is_kept_as_valid_json() -> None:
    read, reasons = one("customers", "attributes", '{"kids": 2, "card": "007"}')
    native, _ = one("customers", "attributes", {"kids": 2})

    assert (json.loads(read), reasons) == ({"kids": 2, "card": "007"}, [])
    assert json.loads(native) == {"kids": 2}
    for broken in ("{kids: 2}", '{"kids": NaN}', '{"kids": 1e999}'):
        assert one("customers", "attributes", broken) == (None, ["is not valid JSON"])


# ------------------------------------------------------------------------------- rows and faults


def test_a_fault_names_its_row_and_value_and_leaves_the_other_rows_alone() -> None:
    rows = [{}, {"paid": "4,50"}, {"sold": "soon", "pieces": "x"}, {"paid": "4,50"}, {"paid": "1"}]

    frame, faults = purchases(rows)

    assert sorted(faults) == [
        "1 amount 4,50 is not a number",
        "2 at soon is not a time like 2017-12-31 23:59:59, with or without an offset",
        "2 quantity x is not a number",
        "3 amount 4,50 is not a number",
    ]
    assert frame["amount"].tolist() == [450, pd.NA, 450, pd.NA, 100]
    assert len(frame) == len(rows)


def test_a_constant_is_read_by_the_same_rules_as_a_column() -> None:
    columns = {c: s for c, s in PURCHASES["columns"].items() if c not in ("at", "amount")}
    constants = {"channel": "store", "at": date(2026, 6, 10), "amount": "4.50"}

    frame, faults = purchases([{}], columns=columns, constants=constants, time_zone="Asia/Tokyo")

    assert frame["at"].tolist() == [pd.Timestamp("2026-06-09 15:00", tz="UTC")]
    assert frame["amount"].tolist() == [450]
    assert faults == []


# ------------------------------------------------------------------------------- wrong mappings


def columns(**changes: Any) -> dict[str, Any]:
    return {**PURCHASES, "columns": {**PURCHASES["columns"], **changes}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (None, "the whole file"),
        (["table"], "the whole file"),
        ({}, "table: Field required"),
        ({"table": "sales", "columns": {}}, "table 'sales' is none of customers, identities"),
        ({**PURCHASES, "colums": {}}, "colums: Extra inputs"),
        ({**PURCHASES, "time_zone": "Mars/Base"}, "'Mars/Base' is no IANA time zone"),
        ({**PURCHASES, "local_time_zone": "CEST"}, "'CEST' is no IANA time zone"),
        (columns(price="paid"), "purchases has no column 'price'; its columns are line_id,"),
        (columns(amount=[]), "columns.amount.from: List should have at least 1 item"),
        (columns(amount=5), "columns.amount"),
        (columns(amount={"from": "paid", "unit": "cents"}), "Input should be 'major' or 'minor'"),
        (columns(amount={"from": "paid", "currency": "EUR"}), "currency: Extra inputs"),
        (columns(quantity={"from": "pieces", "unit": "minor"}), "unit is for money columns"),
        (columns(amount={"from": "paid", "format": "%Y"}), "format is for time columns"),
        (columns(order_id={"from": "r", "time_zone": "UTC"}), "time_zone is for time columns"),
        (columns(at={"from": "sold", "format": "%Q"}), "has the format '%Q'"),
        (columns(at={"from": "sold", "time_zone": "EU/Vienna"}), "'EU/Vienna' is no IANA"),
        (columns(amount=["paid", "tax"]), "only text and times are joined"),
        (columns(channel="shop"), "'channel' stands under columns and under constants"),
        ({**PURCHASES, "constants": {}}, "column 'channel' of purchases has no source"),
        (
            {**PURCHASES, "constants": {"channel": "store", "margin": "much"}},
            "constant margin 'much' is not a number",
        ),
        (
            {
                "table": "customers",
                "columns": {"customer_id": "c"},
                "constants": {"attributes": {"kids": "2"}},
            },
            "is no text; write it as JSON between single quotes",
        ),
        (
            {
                "table": "products",
                "columns": {"category": "c"},
                "constants": {"product_id": "p"},
            },
            "'product_id' tells rows apart and cannot be a constant",
        ),
    ],
)
def test_a_wrong_mapping_is_one_line_that_names_the_file_and_the_place(
    document: Any, says: str
) -> None:
    with pytest.raises(RegularsError) as refusal:
        read_mapping(document, "shop.yaml")

    line = str(refusal.value)
    assert line.startswith("mapping shop.yaml: ")
    assert says in line
    assert "\n" not in line

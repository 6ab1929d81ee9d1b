"""A file of purchases is read as its writer meant it, or refused with the option that decides."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.readers.purchases import Columns, Purchases, read_purchases
from foundation.errors import RegularsError

# What each file below says, in the order of its rows.
DAYS = pd.to_datetime(["2021-01-02", "2021-02-28", "2021-12-25", "2021-01-13"])
AMOUNTS = [29.33, 1234.5, 7.0, 0.05]
PLAIN = "c1,2021-01-02,29.33\nc2,2021-02-28,1234.50\nc1,2021-12-25,7\nc3,2021-01-13,0.05\n"
HEAD = "customer_id,date,amount\n"


def as_read(content: str | bytes, folder: Path, wanted: Columns | None = None) -> Purchases:
    path = folder / "purchases.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_purchases(path, wanted)


def file_of(dates: list[str], amounts: list[str], head: str = HEAD, by: str = ",") -> str:
    who = ["c1", "c2", "c1", "c3"]
    rows = [by.join(row) for row in zip(who, dates, amounts, strict=True)]
    return head.replace(",", by) + "\n".join(rows) + "\n"


def dated(form: str) -> list[str]:
    return [day.strftime(form) for day in DAYS]


POINT = ["29.33", "1234.50", "7.00", "0.05"]
WITH_TIME = ["2021-01-02 10:00", "2021-02-28", "2021-12-25T23:30:00Z", "2021-01-13 9:05"]
OFFSETS = [
    "2021-01-02T23:30:00+01:00",
    "2021-02-28 00:10:00-05:00",
    "2021-12-25T01:00:00.000Z",
    "2021-01-13 12:00:00+0200",
]
KINDS = {
    "plain": HEAD + PLAIN,
    "byte order mark": "\ufeff" + HEAD + PLAIN,
    "no header": PLAIN,
    "old line ends": (HEAD + PLAIN).replace("\n", "\r\n"),
    "Customer ID, Order Date, Amount (USD)": "CUSTOMER ID,Order Date,Amount (USD)\n" + PLAIN,
    "CustomerID, InvoiceDate, Total": "CustomerID,InvoiceDate,Total\n" + PLAIN,
    "CustID, transaction_date, monetary_value": "CustID,transaction_date,monetary_value\n" + PLAIN,
    "bars": (HEAD + PLAIN).replace(",", "|"),
    "tabs": (HEAD + PLAIN).replace(",", "\t"),
    "columns of spaces": (HEAD + PLAIN).replace(",", "    "),
    "day first": file_of(dated("%d/%m/%Y"), POINT),
    "day first, short year": file_of(dated("%d/%m/%y"), POINT),
    "month first": file_of(dated("%m/%d/%Y"), POINT),
    "points": file_of(dated("%d.%m.%Y"), POINT),
    "yyyymmdd": file_of(dated("%Y%m%d"), POINT),
    "named months": file_of(dated("%d-%b-%y"), POINT),
    "with and without time": file_of(WITH_TIME, POINT),
    "mixed offsets: the day as written": file_of(OFFSETS, POINT),
    "dollars": file_of(dated("%Y-%m-%d"), ["$29.33", "$1234.50", "$7.00", "$0.05"]),
    "thousands": file_of(
        dated("%Y-%m-%d"), ["29.33", '"1,234.50"', "7.00", "0.05"], "customer,date,amount\n"
    ),
    "thousands without decimals": "customer,date,amount\n"
    'c1,2021-01-02,"29.33"\nc2,2021-02-28,"1,234.5"\nc1,2021-12-25,7\nc3,2021-01-13,.05\n',
    "decimal comma": file_of(
        dated("%d.%m.%Y"), ["29,33", "1.234,50 €", "7", "0,05"], "Kunde,date,amount\n", ";"
    ).replace("Kunde", "customer"),
    "price beside quantity": "id,qty,unit_price,date\n"
    "c1,1,29.33,2021-01-02\nc2,2,617.25,2021-02-28\nc1,7,1.00,2021-12-25\nc3,1,.05,2021-01-13\n",
    "row number beside customer": "id,CustomerID,date,amount\n"
    + "".join(f"{number},{row}\n" for number, row in enumerate(PLAIN.splitlines())),
    "amount first": "amount,date,customer\n"
    + "".join(",".join(reversed(row.split(","))) + "\n" for row in PLAIN.splitlines()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_one_history_are_read_alike(kind: str, tmp_path: Path) -> None:
    found = as_read(KINDS[kind], tmp_path)
    assert found.frame["customer_id"].tolist() == ["c1", "c2", "c1", "c3"]
    assert found.frame["day"].tolist() == [(day - pd.Timestamp(0)).days for day in DAYS]
    assert found.frame["amount"].tolist() == pytest.approx(AMOUNTS)
    assert (found.rows, found.without_customer) == (4, 0)


def test_parquet_and_a_windows_export_are_read(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    frame = pd.DataFrame({"Customer ID": ["a", "b", None], "InvoiceDate": DAYS[:3]})
    frame.assign(Total=[29.33, 1234.5, 7.0]).to_parquet(path)
    found = read_purchases(path)
    assert (found.frame["customer_id"].tolist(), found.without_customer) == (["a", "b"], 1)
    assert found.frame["amount"].tolist() == [29.33, 1234.5]
    content = "customer;date;amount\nMüller;2021-01-02;5 €\n".encode("cp1252")
    assert as_read(content, tmp_path).frame["customer_id"].tolist() == ["Müller"]


def test_a_return_of_a_quantity_is_negative_money(tmp_path: Path) -> None:
    rows = "customer,date,Quantity,Price\na,2021-01-13,3,2.50\na,2021-01-14,-2,2.50\n"
    found = as_read(rows, tmp_path)
    assert found.frame["amount"].tolist() == [7.5, -5.0]
    assert found.columns["amount"] == "Quantity x Price"


def test_rows_without_a_customer_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = HEAD + PLAIN + ",2021-03-01,5.00\nnan,,\n NULL ,2021-03-01,5.00\n"
    found = as_read(rows, tmp_path)
    assert (len(found.frame), found.rows, found.without_customer) == (4, 7, 3)


def test_dates_that_may_be_either_way_round_are_refused_until_their_format_is_given(
    tmp_path: Path,
) -> None:
    rows = HEAD + "a,01/02/21,5\na,03/04/21,6\n"
    with pytest.raises(RegularsError, match=r"%d/%m/%y and %m/%d/%y; say which with --date-format"):
        as_read(rows, tmp_path)
    found = as_read(rows, tmp_path, Columns(date_format="%d/%m/%y"))
    assert found.frame["day"].tolist() == [
        (pd.Timestamp(day) - pd.Timestamp(0)).days for day in ("2021-02-01", "2021-04-03")
    ]
    with pytest.raises(RegularsError, match=r"'01/02/21' is no date written as %Y-%m-%d"):
        as_read(rows, tmp_path, Columns(date_format="%Y-%m-%d"))


def test_named_columns_are_taken_by_name_or_by_position(tmp_path: Path) -> None:
    rows = "klant,id,dag,bedrag\na,1,2021-01-13,5\na,2,2021-01-14,6\n"
    found = as_read(rows, tmp_path, Columns("klant", "dag", "bedrag"))
    assert found.frame["customer_id"].tolist() == ["a", "a"]
    without_head = "1,5,2021-01-13,9,a\n2,6,2021-01-14,9,a\n"
    found = as_read(without_head, tmp_path, Columns("5", "3", "2"))
    assert found.frame["amount"].tolist() == [5.0, 6.0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (HEAD, "has a header and no rows"),
        ("who,date,amount\na,2021-01-01,1\n", "no column is known as its customer.*--customer"),
        ("customer,date,unit_price\na,2021-01-01,1\n", "price of one and no column is a quantity"),
        ("id,date,amount\n1,2021-01-01,1\n2,2021-01-01,1\n", "names rows and not customers"),
        ("customer_id,Customer ID,date,amount\na,b,2021-01-01,1\n", "may both be meant"),
        ("customer,date,amount\na,soon,1\n", "'soon' is no date"),
        ("customer,date,amount\na,2021-01-31,1\nb,31/01/2021,1\n", "not all written one way"),
        ("customer,date,amount\na,44207,1\na,44208,2\n", "days of a spreadsheet"),
        ("customer,date,amount\na,1610496000,1\n", "seconds since 1970"),
        ("customer,date,amount\na,2021-01-01,\n", "1 rows have nothing in 'amount'"),
        ("customer,date,amount\na,,1\n", "1 rows have nothing in 'date'"),
        ("customer,date,amount\na,2021-01-01,inf\n", "'inf' in 'amount' is no amount"),
        ('customer,date,amount\na,2021-01-01,"1.234,5"\na,2021-01-02,1.5\n', "now after a comma"),
        ("customer,date,amount,price\na,2021-01-01,2,9\n", "may count pieces or be money"),
        ("customer;date;amount\na;2021-01-01;1,500\n", "'1,500' may be thousands or decimals"),
        ("customer;date;amount\na;2021-01-01;1.500\na;2021-01-02;900\n", "'1.500' may be"),
        ("PK\x03\x04", "is a spreadsheet or an archive"),
        ("customer,date,amount\n,2021-01-01,1\n", "none of them with a customer"),
        ("customer,date,amount\na,2021-01-01\n", "row 2 has 2 columns"),
        ("00001 19970101 2\n00001 19970102 2 5\n", "3 columns or more"),
        ("1.5,2021-01-01,2.5\n", "which of its 3 columns are customer and amount"),
        ("a,2021-01-01,2021-01-02,5\n", "2 of its 4 columns hold dates"),
    ],
)
def test_a_file_that_cannot_be_told_is_refused_in_one_line(
    content: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(RegularsError, match=says) as refused:
        as_read(content, tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match="No such file"):
        read_purchases(tmp_path / "none.csv")

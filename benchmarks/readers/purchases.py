"""A file of purchases (customer, date, amount, in any order), whoever wrote it.

CSV by comma, semicolon, tab or bar, columns of spaces, or Parquet. With a header, columns are found
by name, else by what is in them; CDNOW's own layout has none (customer, perhaps a second number,
yyyymmdd, number of CDs, dollars). Where a file could be read in two ways it is refused, with the
option that decides. Days are those written in the file, whatever the offset behind them.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.readers.amounts import amounts_of
from benchmarks.readers.days import ReadTwoWays, days_of
from foundation.errors import RegularsError

# Names in small letters and figures alone, currencies left out; the specific before the general.
CUSTOMER = (
    *(
        "customerid",
        "custid",
        "customeruniqueid",
        "customerref",
        "customernumber",
        "customerno",
        "customerkey",
        "customercode",
    ),
    *("clientid", "memberid", "userid", "shopperid", "buyerid", "householdid", "householdkey"),
    *("accountid", "cardid", "visitorid", "personid", "customer", "client", "member", "user"),
    *("household", "shopper", "buyer", "cust", "id"),
)
DATE = (
    *("invoicedate", "orderdate", "purchasedate", "transactiondate", "saledate", "salesdate"),
    *("transdate", "receiptdate", "orderpurchasetimestamp", "orderedat", "purchasedat"),
    *("transactiontimestamp", "transactiontime", "createdat", "date", "datetime", "timestamp"),
    *("day", "at"),
)
AMOUNT = (
    *("totalamount", "netamount", "amountpaid", "totalprice", "ordertotal", "invoicetotal"),
    *("linetotal", "netsales", "salesamount", "salesvalue", "ordervalue", "transactionamount"),
    *("purchaseamount", "orderamount", "totalspend", "totalspent", "totalsales", "totalvalue"),
    *("tranamount", "transamount", "transactionvalue", "purchasevalue", "paymentvalue"),
    *("paymentamount", "monetaryvalue", "amount", "total", "dollars", "spend", "spent"),
    *("revenue", "sales", "turnover", "monetary", "value", "payment", "paid"),
)
UNIT_PRICE = ("unitprice", "priceperunit", "itemprice", "priceeach", "price")
QUANTITY = (
    *("quantity", "qty", "quantityordered", "orderquantity", "units", "unitssold", "items"),
    *("itemcount", "numberofitems", "numitems", "pieces"),
)
# A price that may be that of the whole purchase, where no quantity says otherwise.
PRICE = "price"
# Beside a price it may be a number of pieces.
GENERAL_AMOUNT = "amount"
# Names rows as often as customers.
GENERAL_ID = "id"
CURRENCIES = {"usd", "eur", "gbp", "chf", "cad", "aud", "in"}

UNKNOWN = {"", "nan", "nat", "none", "null", "na", "n/a", "<na>"}
SEPARATORS = ("\t", ";", "|", ",")
FEWEST_COLUMNS = 3
NAME_THEM = "name the columns with --customer, --date and --amount"


@dataclass(frozen=True)
class Columns:
    """Which columns to read: names, or positions from 1 where the file has no header."""

    customer: str | None = None
    date: str | None = None
    amount: str | None = None
    date_format: str | None = None


@dataclass(frozen=True)
class Purchases:
    """What a file says.

    `frame` has customer_id, day (days since 1970-01-01) and amount; `rows` of the file were read,
    of them `without_customer` are left out. `columns` says what was read as what.
    """

    frame: pd.DataFrame
    rows: int
    without_customer: int
    columns: Mapping[str, str]
    date_format: str


@dataclass(frozen=True)
class _Found:
    """Column names by what they are; either `amount`, or `price` and `quantity`."""

    customer: str
    date: str
    amount: str | None = None
    price: str | None = None
    quantity: str | None = None
    told: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        amount = self.amount or f"{self.quantity} x {self.price}"
        told = {"customer": self.customer, "date": self.date, "amount": amount}
        object.__setattr__(self, "told", told)


def read_purchases(path: Path, wanted: Columns | None = None) -> Purchases:
    """Read a file of purchases.

    Raises:
        RegularsError: It cannot be read, its columns or dates cannot be told apart, or a purchase
            has no date or amount.
    """
    wanted = wanted or Columns()
    try:
        table, headed = _table(path)
        found = _columns(table, headed, wanted)
        rows = len(table)
        known = ~table[found.customer].map(_unknown)
        table = table[known]
        if table.empty:
            raise ValueError(f"has {rows:,} rows, none of them with a customer")
        days, date_format = days_of(_text(table, found.date), wanted.date_format)
        amount = _amount(table, found)
    except (OSError, ValueError, csv.Error) as error:
        told = str(error).splitlines()[0]
        raise RegularsError(f"file {path}: {told}") from error
    frame = pd.DataFrame(
        {
            "customer_id": table[found.customer].astype(str).str.strip().to_numpy(),
            "day": days,
            "amount": amount,
        }
    )
    return Purchases(frame, rows, int((~known).sum()), found.told, date_format)


def _table(path: Path) -> tuple[pd.DataFrame, bool]:
    """Return the file's cells, and whether its columns have names of their own."""
    content = path.read_bytes()
    if content[:4] == b"PAR1":
        frame = pd.read_parquet(io.BytesIO(content)).reset_index()
        return frame.rename(columns=str), True
    if content[:4] == b"PK\x03\x04":
        raise ValueError("is a spreadsheet or an archive; save its sheet as CSV")
    rows = [row for row in _rows(_decoded(content)) if any(cell.strip() for cell in row)]
    headed = not any(_starts_with_figure(cell) for cell in rows[0])
    names = [cell.strip() for cell in rows[0]] if headed else _positions(rows[0])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has two columns called {twice!r}; give each its own name")
    body = rows[1:] if headed else rows
    if not body:
        raise ValueError("has a header and no rows; give a file with purchases in it")
    return pd.DataFrame(body, columns=pd.Index(names), dtype=str), headed


def _decoded(content: bytes) -> str:
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            break
    # Every byte of a Windows export means something.
    return content.decode("cp1252", errors="replace")


def _rows(text: str) -> list[list[str]]:
    if not text.strip():
        raise ValueError("is empty; give a file with customer, date and amount of each purchase")
    uneven: list[str] = []
    for separator in SEPARATORS:
        read = csv.reader(io.StringIO(text.lstrip(), newline=None), delimiter=separator)
        head = next(read)
        if len(head) < FEWEST_COLUMNS:
            continue
        found = [head, *(row for row in read if row)]
        wrong = next((i for i, row in enumerate(found) if len(row) != len(found[0])), None)
        if wrong is None:
            return found
        uneven.append(
            f"row {wrong + 1} has {len(found[wrong])} columns by {separator!r}, the first has "
            f"{len(found[0])}"
        )
    spaced = [line.split() for line in text.splitlines() if line.strip()]
    if len(spaced[0]) >= FEWEST_COLUMNS and len({len(row) for row in spaced}) == 1:
        return spaced
    why = uneven[0] if uneven else f"its first line is {text.strip().splitlines()[0][:40]!r}"
    raise ValueError(f"does not fall into 3 columns or more: {why}; give a CSV with a header")


def _positions(row: list[str]) -> list[str]:
    return [str(position) for position in range(1, len(row) + 1)]


def _starts_with_figure(cell: str) -> bool:
    return re.match(r"[\s$€£(+-]*\d", cell) is not None


def _columns(table: pd.DataFrame, headed: bool, wanted: Columns) -> _Found:
    for option in ("customer", "date", "amount"):
        name = getattr(wanted, option)
        if name is not None and name not in table.columns:
            raise ValueError(f"has no column {name!r} (--{option}); it has {_list(table)}")
    if wanted.customer and wanted.date and wanted.amount:
        return _Found(wanted.customer, wanted.date, wanted.amount)
    return _by_name(table, wanted) if headed else _by_content(table, wanted)


def _by_name(table: pd.DataFrame, wanted: Columns) -> _Found:
    customer = wanted.customer or _named(table, CUSTOMER, "customer")
    if wanted.customer is None and _plain(customer) == GENERAL_ID and table[customer].is_unique:
        raise ValueError(
            f"column {customer!r} is another in each row, so it names rows and not customers; it "
            f"has {_list(table)}; name the customer's with --customer"
        )
    date = wanted.date or _named(table, DATE, "date")
    amount = wanted.amount or _first(table, AMOUNT)
    price, quantity = _first(table, UNIT_PRICE), _first(table, QUANTITY)
    unclear = wanted.amount is None and amount is not None and _plain(amount) == GENERAL_AMOUNT
    if unclear and price and not quantity:
        raise ValueError(
            f"column {amount!r} beside {price!r} may count pieces or be money; name what was paid "
            "with --amount"
        )
    if amount is not None:
        return _Found(customer, date, amount)
    if price is not None and quantity is not None:
        return _Found(customer, date, None, price, quantity)
    if price is not None and _plain(price) == PRICE:
        return _Found(customer, date, price)
    if price is not None:
        raise ValueError(
            f"column {price!r} is the price of one and no column is a quantity; it has "
            f"{_list(table)}; name what was paid with --amount"
        )
    return _Found(customer, date, _named(table, AMOUNT, "amount"))


def _by_content(table: pd.DataFrame, wanted: Columns) -> _Found:
    """Tell columns without names apart, or refuse."""
    dates = (
        [wanted.date] if wanted.date else [str(c) for c in table if _dated(table, str(c), wanted)]
    )
    if len(dates) != 1:
        raise ValueError(
            f"has no header and {len(dates)} of its {table.shape[1]} columns hold dates; "
            f"{NAME_THEM}, by position from 1"
        )
    date = dates[0]
    place = table.columns.get_loc(date)
    if table.shape[1] in (4, 5) and place == table.shape[1] - 3:
        customer, amount = table.columns[0], table.columns[-1]
        return _Found(wanted.customer or customer, date, wanted.amount or amount)
    taken = {date, wanted.customer, wanted.amount}
    free = [str(column) for column in table if column not in taken]
    if len(free) == 1:
        return _Found(wanted.customer or free[0], date, wanted.amount or free[0])
    money = [column for column in free if table[column].str.contains(r"[.,$€£]\s*\d").any()]
    if table.shape[1] == FEWEST_COLUMNS and len(free) == 2 and len(money) < 2:
        # Whole amounts look like customers: then the order counts.
        amount = money[0] if money else free[1]
        return _Found(next(column for column in free if column != amount), date, amount)
    raise ValueError(
        f"has no header, and which of its {table.shape[1]} columns are customer and amount is not "
        f"told; {NAME_THEM}, by position from 1"
    )


def _dated(table: pd.DataFrame, column: str, wanted: Columns) -> bool:
    """Whether a column holds dates, be it clear or not which way round."""
    try:
        days_of(table[column].iloc[:200], wanted.date_format)
    except ReadTwoWays:
        return True
    except ValueError:
        return False
    return True


def _named(table: pd.DataFrame, names: tuple[str, ...], subject: str) -> str:
    found = _first(table, names)
    if found is None:
        raise ValueError(
            f"no column is known as its {subject}, it has {_list(table)}; call it "
            f"{subject!r} or name it with --{subject}"
        )
    return found


def _first(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    for name in names:
        found = [str(column) for column in table if _plain(str(column)) == name]
        if len(found) > 1:
            raise ValueError(
                f"columns {' and '.join(map(repr, found))} may both be meant; {NAME_THEM}"
            )
        if found:
            return found[0]
    return None


def _plain(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)", "", name).casefold())
    return "".join(word for word in words if word not in CURRENCIES)


def _list(table: pd.DataFrame) -> str:
    return ", ".join(repr(str(column)) for column in table)


def _unknown(cell: object) -> bool:
    return str(cell).strip().casefold() in UNKNOWN


def _text(table: pd.DataFrame, column: str) -> pd.Series:
    cells = table[column].astype(str).str.strip()
    missing = int(cells.map(_unknown).sum())
    if missing:
        raise ValueError(
            f"{missing:,} rows have nothing in {column!r}; give every purchase a date and an amount"
        )
    return cells


def _amount(table: pd.DataFrame, found: _Found) -> np.ndarray:
    if found.amount is not None:
        return amounts_of(_text(table, found.amount), found.amount)
    price, quantity = str(found.price), str(found.quantity)
    return amounts_of(_text(table, price), price) * amounts_of(_text(table, quantity), quantity)

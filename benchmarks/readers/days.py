"""Dates as people write them: one format for a whole column, or none.

01/02/2021 is a day in January or in February. A column is read only if one format fits all of it,
or all that fit mean the same days; time of day and offset are left aside.
"""

import re
from datetime import date, datetime
from itertools import takewhile

import numpy as np
import pandas as pd

FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d.%m.%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%d%b%Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
TIME = re.compile(
    r"(?:[T ]\s*\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp]\.?[Mm]\.?)?"
    r"\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?|Z|[+-]\d{2}:\d{2})$"
)
NUMBERS = (
    (re.compile(r"[2-6]\d{4}(\.\d+)?"), "days of a spreadsheet"),
    (re.compile(r"\d{9,10}(\.\d+)?"), "seconds since 1970"),
    (re.compile(r"\d{12,13}"), "milliseconds since 1970"),
)
EPOCH = date(1970, 1, 1).toordinal()


class ReadTwoWays(ValueError):
    """Dates that mean other days in another format that fits them as well."""


def days_of(cells: pd.Series, date_format: str | None = None) -> tuple[np.ndarray, str]:
    """Return days since 1970-01-01, shape (n,), and the format they were written in.

    Args:
        cells: Dates as text, shape (n,).
        date_format: As of strptime; by default the one of FORMATS that fits.

    Raises:
        ValueError: No format fits all cells.
        ReadTwoWays: Two do, and mean different days.
    """
    # A format with hours reads cells as they are written; without, a day is read but once.
    whole = date_format is not None and "%H" in date_format
    days = cells if whole else cells.str.replace(TIME, "", n=1, regex=True)
    written, place = np.unique(days.to_numpy(dtype=str), return_inverse=True)
    fitting: dict[str, list[int]] = {}
    for tried in (date_format,) if date_format else FORMATS:
        read = list(takewhile(lambda day: day is not None, (_day(w, tried) for w in written)))
        if len(read) == len(written):
            fitting[tried] = [day for day in read if day is not None]
    if not fitting:
        raise ValueError(_misfit(written, date_format))
    first, *others = fitting
    differing = [other for other in others if fitting[other] != fitting[first]]
    if differing:
        told = " and ".join([first, *differing])
        raise ReadTwoWays(
            f"dates such as {str(written[0])!r} can be read as {told}; say which with --date-format"
        )
    return np.array(fitting[first])[place.reshape(-1)], first


def _day(cell: str, date_format: str) -> int | None:
    # strptime takes one figure for two, so 1997111 would be a day.
    if date_format == "%Y%m%d" and not re.fullmatch(r"\d{8}", cell):
        return None
    try:
        # Only the day is read, so no zone is missed.
        return datetime.strptime(cell, date_format).toordinal() - EPOCH  # noqa: DTZ007
    except ValueError:
        return None


def _misfit(written: np.ndarray, date_format: str | None) -> str:
    if date_format:
        wrong = next(cell for cell in written if _day(cell, date_format) is None)
        return f"{str(wrong)!r} is no date written as {date_format} (--date-format)"
    for shape, meaning in NUMBERS:
        if all(shape.fullmatch(str(cell)) for cell in written):
            return (
                f"dates such as {str(written[0])!r} are numbers ({meaning}, it seems); write them "
                "as yyyy-mm-dd"
            )
    lone = next((cell for cell in written if not _fits_any(cell)), None)
    if lone is not None:
        return f"{str(lone)!r} is no date; write dates as yyyy-mm-dd"
    return (
        f"dates from {str(written[0])!r} to {str(written[-1])!r} are not all written one way; "
        "write them as yyyy-mm-dd"
    )


def _fits_any(cell: str) -> bool:
    return any(_day(cell, tried) is not None for tried in FORMATS)

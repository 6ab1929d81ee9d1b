"""Money as people write it: 29.33, $29.33, 1,234.50, 1.234,50, (29.33), 29,33 €."""

import re

import numpy as np
import pandas as pd

NUMBER = r"[+-]?(\d+([.,]\d+)*|[.,]\d+)([eE][+-]?\d+)?"
# In threes; in India in twos above the first thousand.
THOUSANDS = r"[+-]?\d{1,3}(?:%s\d{2,3})*%s\d{3}"


def amounts_of(cells: pd.Series, column: str) -> np.ndarray:
    """Return the amounts of a column of text, shape (n,).

    The whole column says which of point and comma is the decimal mark: the last one where both
    stand in an amount, the other one where one stands twice. Commas that are all before three
    figures part thousands.

    Raises:
        ValueError: A cell is no number, the marks contradict each other, or may mean either.
    """
    # Currency signs and codes, thin spaces and Swiss thousands say nothing about the number.
    plain = cells.str.replace(r"[\s\u00a0\u202f'’$€£¥]|(?i:usd|eur|gbp|chf)", "", regex=True)
    plain = plain.str.replace(r"^\((.*)\)$", r"-\1", regex=True)
    plain = plain.str.replace(r"^(.*)-$", r"-\1", regex=True)
    wrong = ~plain.str.fullmatch(NUMBER)
    if wrong.any():
        raise ValueError(f"{cells[wrong].iloc[0]!r} in {column!r} is no amount")
    mark = _decimal_mark(plain, column)
    other = "," if mark == "." else "."
    parted = plain[plain.str.contains(other, regex=False)]
    whole = parted.str.split(mark, regex=False).str[0]
    if not whole.str.fullmatch(_thousands(other)).all():
        raise ValueError(
            f"amounts in {column!r} have their decimals now after a point, now after a comma; "
            "write them one way"
        )
    plain = plain.str.replace(other, "", regex=False).str.replace(mark, ".", regex=False)
    return plain.astype(np.float64).to_numpy()


def _decimal_mark(plain: pd.Series, column: str) -> str:
    points, commas = (plain[plain.str.contains(mark, regex=False)] for mark in ".,")
    # A mark that ever stands before another one parts thousands.
    if points.str.contains(r"\..*[.,]").any():
        return ","
    if commas.str.contains(r",.*[.,]").any():
        return "."
    if len(points):
        in_threes = points.str.fullmatch(_thousands(".")).all()
        # 1.5 is not written 1.500 where 900 is written without decimals.
        _refuse_two_ways(points, column, bool(in_threes) and len(points) < len(plain))
        return "."
    in_threes = commas.str.fullmatch(_thousands(",")).all()
    _refuse_two_ways(commas, column, bool(in_threes) and len(commas) == len(plain))
    return "." if in_threes else ","


def _refuse_two_ways(cells: pd.Series, column: str, unclear: bool) -> None:
    if unclear:
        raise ValueError(
            f"amounts in {column!r} such as {cells.iloc[0]!r} may be thousands or decimals; write "
            "all of them with a point and two decimals"
        )


def _thousands(mark: str) -> str:
    return THOUSANDS.replace("%s", re.escape(mark))

"""Are rows to be judged on among those learned from?

A model remembers its own rows, and whoever is judged on them looks as if she could be foretold.
"""

import numpy as np
import pandas as pd
from scipy import stats

from foundation.errors import RegularsError

SURE = 1e-6


class SeenBefore(RegularsError):
    """Rows to be judged on were learned from."""


def refuse_seen_units(learned: pd.Series, judged: pd.Series, name: str) -> None:
    """Refuse rows of units that were learned from.

    Raises:
        SeenBefore: There are such; says how many.
    """
    known, units = set(learned.astype(str)), set(judged.astype(str))
    if shared := len(units & known):
        raise SeenBefore(
            f"{shared:,} of {len(units):,} units of the test file ({name!r}) are in the data "
            "learned from, too; judge on units that were not learned from"
        )


def refuse_seen_rows(learned: pd.DataFrame, judged: pd.DataFrame) -> None:
    """Refuse rows that are, in all columns, those learned from, more of them than by chance.

    Chance is told by how many learned rows have a twin among the others: in a file of few columns
    and values many have.

    Raises:
        SeenBefore: There are such; says how many.
    """
    names = [name for name in learned.columns if name in judged.columns]
    ours, theirs = _digest(learned[names]), _digest(judged[names])
    seen = int(np.isin(theirs, ours).sum())
    _, place, count = np.unique(ours, return_inverse=True, return_counts=True)
    twins = int((count[place] > 1).sum())
    # A twin more and a row more: none of few rows does not say that there is no chance.
    chance = (twins + 1) / (len(ours) + 1)
    if stats.binom.sf(seen - 1, len(theirs), chance) < SURE:
        raise SeenBefore(
            f"{seen:,} of {len(theirs):,} rows of the test file are in the data learned from, too, "
            f"where chance gives about {chance * len(theirs):,.0f}; judge on rows that were not "
            "learned from"
        )


def _digest(table: pd.DataFrame) -> np.ndarray:
    """Return a number for each row; a number is the same whatever type holds it."""
    plain = pd.DataFrame(index=range(len(table)))
    for place, name in enumerate(table.columns):
        values = table[name].reset_index(drop=True)
        numbers = pd.to_numeric(values, errors="coerce")
        words = values.astype("str").str.strip()
        plain[place] = words.where(numbers.isna(), numbers.astype("float64").astype("str"))
    return pd.util.hash_pandas_object(plain, index=False).to_numpy()

"""Rows that were learned from do not judge, and rows that are alike by chance do."""

import numpy as np
import pandas as pd
import pytest

from recommender.overlap import SeenBefore, refuse_seen_rows, refuse_seen_units


def table(n: int, seed: int, values: int | None = None) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=n).round(4) if values is None else draw.integers(0, values, n)
    return pd.DataFrame({"x": x, "y": draw.integers(0, 2, n), "zone": draw.choice(["a", "b"], n)})


def test_rows_learned_from_are_refused_in_any_order_and_type() -> None:
    learned = table(500, 1)
    part = learned.sample(60, random_state=0)[["zone", "y", "x"]].astype({"y": "float64"})
    fresh = table(440, 2)
    with pytest.raises(SeenBefore, match=r"6\d of 500 rows of the test file.*chance gives about"):
        refuse_seen_rows(learned, pd.concat([part, fresh]))
    refuse_seen_rows(learned, fresh)


def test_rows_of_few_values_are_alike_by_chance() -> None:
    for values in (3, 300):
        refuse_seen_rows(table(1000, 3, values), table(1000, 4, values))


def test_units_learned_from_are_refused() -> None:
    with pytest.raises(SeenBefore, match=r"2 of 3 units of the test file \('card'\)"):
        refuse_seen_units(pd.Series([1, 2, 3]), pd.Series([2, 3, 3, 9]), "card")
    refuse_seen_units(pd.Series(["007"]), pd.Series(["7"]), "card")

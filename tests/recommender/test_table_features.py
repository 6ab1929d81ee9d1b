"""Any table's columns become features, and what says nothing is left out with its reason."""

import numpy as np
import pandas as pd
import pytest

from foundation.errors import RegularsError
from recommender.table_features import learn_encoding

N = 60
TABLE = pd.DataFrame(
    {
        "spend": np.r_[np.nan, np.inf, np.arange(N - 2) / 2],
        "told": [str(i % 40) for i in range(N)],
        "joined": ["2024-01-02", "2024-02-01"] * (N // 2),
        "zone": ["town", "country"] * (N // 2),
        "colour": (["red"] * 25 + ["blue"] * 25 + [None] * 9 + ["rare"]),
        "member": [True, False] * (N // 2),
        "always": 7,
        "empty": None,
        "code": [f"c-{i}" for i in range(N)],
        "card": np.r_[np.nan, 1000 + np.arange(N - 1)],
        "till": [f"{7000 + i}" for i in range(N)],
        "street": [f"s-{i % 20}" for i in range(N)],
    }
)


def test_columns_are_read_by_what_they_hold() -> None:
    encoding = learn_encoding(TABLE)
    assert encoding.names() == [
        "spend",
        "told",
        "joined",
        "zone=town",
        "colour=red",
        "colour=blue",
        "member",
    ]
    assert encoding.left_out == {
        "always": "constant",
        "empty": "constant",
        "code": "60 distinct words, like an id",
        "card": "a whole number of its own in 100% of rows, like an id",
        "till": "a whole number of its own in 100% of rows, like an id",
        "street": "no word in 10 rows",
    }
    matrix = encoding.matrix(TABLE)
    assert np.isnan(matrix[:2, 0]).all()
    # A day is a day: 2024-01-02 to 2024-02-01 is 30 of them.
    assert matrix[1, 2] - matrix[0, 2] == 30
    assert matrix[-1, 4:6].tolist() == [0, 0]


def test_another_table_is_read_as_the_first_was() -> None:
    encoding = learn_encoding(TABLE)
    other = TABLE.iloc[:2].assign(zone=["city", "town"], told=["x", "5"])
    matrix = encoding.matrix(other)
    assert matrix[:, 3].tolist() == [0, 1]
    assert np.isnan(matrix[0, 1])
    with pytest.raises(RegularsError, match="column 'zone' is missing"):
        encoding.matrix(TABLE.drop(columns="zone"))


def test_columns_are_taken_out_for_a_reason() -> None:
    less = learn_encoding(TABLE).without({"colour": "known only later"})
    assert "colour=red" not in less.names()
    assert less.left_out["colour"] == "known only later"
    assert less.matrix(TABLE).shape == (N, 5)

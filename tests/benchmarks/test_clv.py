"""The benchmark of value reads both layouts of a file of purchases, or says what is wrong."""

import argparse
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.clv import bars, measure, read_purchases
from foundation.errors import RegularsError
from tests.shoppers_known import known_purchases


@pytest.fixture(scope="module")
def dated() -> pd.DataFrame:
    purchases = known_purchases(800, 400, 3)
    purchases["date"] = pd.Timestamp("2021-03-01") + pd.to_timedelta(purchases["day"], unit="D")
    return purchases


def test_both_layouts_of_one_history_are_read_alike(dated: pd.DataFrame, tmp_path: Path) -> None:
    plain, own = tmp_path / "plain.csv", tmp_path / "own.txt"
    dated[["customer_id", "date", "amount"]].to_csv(plain, index=False)
    own.write_text(
        "".join(
            f" {int(row.customer_id[1:]):05} 0001 {row.date:%Y%m%d}  1  {row.amount:6.2f}\n"
            for row in dated.itertuples()
        )
    )
    one, other = read_purchases(plain), read_purchases(own)
    assert one["day"].tolist() == other["day"].tolist()
    assert one["amount"].tolist() == pytest.approx(other["amount"].tolist())
    assert one["day"].min() == (date(2021, 3, 1) - date(1970, 1, 1)).days
    assert one["customer_id"].nunique() == other["customer_id"].nunique() == 800


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("who,date,amount\na,2021-01-01,1\n", "no column is called customer_id or customer"),
        ("customer,date,amount\na,soon,1\n", "soon"),
        ("customer,date,amount\na,2021-01-01,\n", "rows without a date or an amount"),
        ("00001 19970101 2\n", "3 columns"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(
    content: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(RegularsError, match=says) as refused:
        read_purchases(path)
    assert "\n" not in str(refused.value)


def test_every_model_has_its_held_out_error_beside_the_plain_forecast(
    dated: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "shop.csv"
    dated[["customer_id", "date", "amount"]].to_csv(path, index=False)
    options = argparse.Namespace(data=path, calibration_end=date(2021, 11, 30), seed=7)
    figures = measure(options)
    for model in [*figures["models"].values(), figures["champion"], figures["baseline"]]:
        assert model["mae_low"] < model["mae"] < model["mae_high"]
        assert model["bias_low"] < model["bias"] < model["bias_high"]
    assert all(bar.holds for bar in bars(figures))
    options.calibration_end = date(2025, 1, 1)
    with pytest.raises(RegularsError, match="must lie inside the file's days"):
        measure(options)

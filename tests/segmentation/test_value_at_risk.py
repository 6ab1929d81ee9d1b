from typing import Any

import numpy as np
import pandas as pd
import pytest

from foundation.errors import RegularsError
from segmentation.value_at_risk import value_at_risk

IDS = ["a", "b", "c", "d"]


def surely(probability: Any, ids: list[str]) -> pd.DataFrame:
    """Return forecasts without an error of their own."""
    return pd.DataFrame(dict.fromkeys(("probability", "low", "high"), probability), ids)


def test_a_price_worked_out_by_hand() -> None:
    found = value_at_risk(
        surely([0.5, 0.1, 0.2, 0.0], IDS),
        pd.Series([1000, 500, 100, 700], IDS),
        pd.Series(["gold", "gold", "new", "new"], IDS),
    )

    assert list(found.index) == ["gold", "new"]
    assert found["at_risk"].tolist() == pytest.approx([550, 20])
    assert found["value"].tolist() == [1500, 800]
    assert found["share"].tolist() == pytest.approx([550 / 1500, 20 / 800])
    # 1.96 sqrt(1000^2 .25 + 500^2 .09) = 1022.1; 1.96 sqrt(100^2 .16) = 78.4.
    assert found["high"].tolist() == pytest.approx([1500, 98.4], abs=0.1)
    assert found["low"].tolist() == [0, 0]


def test_the_interval_holds_95_percent_of_simulated_losses() -> None:
    draw = np.random.default_rng(3)
    p, v = draw.beta(1, 5, 400), draw.gamma(2, 5000, 400)
    ids = [f"c-{i}" for i in range(400)]
    one = pd.Series("all", ids)

    found = value_at_risk(surely(p, ids), pd.Series(v, ids), one).loc["all"]

    losses = (draw.random((4000, 400)) < p) @ v
    assert losses.mean() == pytest.approx(found["at_risk"], rel=0.01)
    inside = np.mean((losses >= found["low"]) & (losses <= found["high"]))
    # 4,000 draws of 95 %: a standard error of .0034.
    assert inside == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_a_value_that_is_none_is_refused_by_customer(value: float) -> None:
    with pytest.raises(RegularsError, match="'b' and 0 more"):
        value_at_risk(
            surely([0.5, 0.1], ["a", "b"]),
            pd.Series([1.0, value], ["a", "b"]),
            pd.Series(["x", "x"], ["a", "b"]),
        )


def test_the_interval_holds_losses_also_where_probabilities_share_an_error() -> None:
    draw = np.random.default_rng(4)
    p, v = draw.beta(2, 5, 400) * 0.8, draw.gamma(2, 5000, 400)
    ids = [f"c-{i}" for i in range(400)]
    # All are off by one common part of themselves: 10 % of standard deviation.
    told = pd.DataFrame({"probability": p, "low": p * 0.804, "high": p * 1.196}, ids)

    found = value_at_risk(told, pd.Series(v, ids), pd.Series("all", ids)).loc["all"]

    off = 1 + 0.1 * draw.normal(size=4000)
    losses = (draw.random((4000, 400)) < p * off[:, None]) @ v
    inside = np.mean((losses >= found["low"]) & (losses <= found["high"]))
    assert inside == pytest.approx(0.95, abs=0.012)

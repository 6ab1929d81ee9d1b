import math

import numpy as np
import pytest

from foundation.errors import TooLittleData
from segmentation.movement import ABSENT, drift, migration, overlap_matrix


def test_the_overlap_matrix_counts_who_is_in_both() -> None:
    found = overlap_matrix({"a": {"1", "2", "3"}, "b": {"2", "3", "4", "5"}, "c": set()})

    assert found == {
        "a": {"a": 3, "b": 2, "c": 0},
        "b": {"a": 2, "b": 4, "c": 0},
        "c": {"a": 0, "b": 0, "c": 0},
    }


def test_drift_is_the_population_stability_index_by_hand() -> None:
    # Shares .5/.5 to .6/.4: .1 ln(.6/.5) + .1 ln(.5/.4), the half customers moving it by < 1e-5.
    found = drift({"a": 50_000, "b": 50_000}, {"a": 60_000, "b": 40_000})

    assert found.index == pytest.approx(0.1 * math.log(1.2) + 0.1 * math.log(1.25), abs=1e-5)
    assert found.drifted
    assert drift({"a": 70, "b": 30}, {"a": 70, "b": 30}).index == 0


def test_a_group_that_vanished_is_a_large_drift_and_not_an_infinite_one() -> None:
    found = drift({"a": 500, "b": 500}, {"a": 1_000})

    assert found.drifted
    assert 1 < found.index < math.inf


def test_without_drift_chance_is_exceeded_once_in_twenty() -> None:
    draw = np.random.default_rng(8)
    shares = [0.5, 0.3, 0.15, 0.05]
    exceeded = 0
    for _ in range(2_000):
        runs = (
            dict(zip("abcd", draw.multinomial(n, shares).tolist(), strict=True))
            for n in (1_000, 3_000)
        )
        exceeded += drift(*runs).drifted
    # Binomial around .05 with a standard error of .005.
    assert 0.035 < exceeded / 2_000 < 0.065


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 30, "b": 10}, {"a": 500, "b": 500}, "40 and 1000 customers"),
        ({"a": 100}, {"a": 100}, "1 group"),
    ],
)
def test_drift_of_too_little_is_refused(
    before: dict[str, int], now: dict[str, int], told: str
) -> None:
    with pytest.raises(TooLittleData, match=told):
        drift(before, now)


def test_migration_counts_where_each_groups_customers_went() -> None:
    before = {f"c{i}": "active" for i in range(10)} | {"gone": "lost"}
    now = {f"c{i}": "active" if i < 8 else "lost" for i in range(10)} | {"fresh": "new"}

    found = {(flow.before, flow.now): flow for flow in migration(before, now)}

    assert {pair: flow.customers for pair, flow in found.items()} == {
        ("active", "active"): 8,
        ("active", "lost"): 2,
        ("lost", ABSENT): 1,
        (ABSENT, "new"): 1,
    }
    # Wilson's closed form for 8 in 10.
    z, n, p = 1.959964, 10, 0.8
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    kept = found["active", "active"]
    assert (kept.share, kept.low, kept.high) == pytest.approx((p, centre - half, centre + half))

import math

import numpy as np
import pandas as pd
import pytest

from segmentation.movement import ABSENT, migration, overlap_matrix


def test_the_overlap_matrix_counts_who_is_in_both() -> None:
    members = {"a": "123", "b": "2345", "c": ""}
    found = overlap_matrix(
        {name: np.array([one in held for one in "123456"]) for name, held in members.items()}
    )

    assert found == {
        "a": {"a": 3, "b": 2, "c": 0},
        "b": {"a": 2, "b": 4, "c": 0},
        "c": {"a": 0, "b": 0, "c": 0},
    }


def test_migration_counts_where_each_groups_customers_went() -> None:
    # Ten were active; one is gone, one fresh, and of one neither run knows.
    before = pd.Categorical(["active"] * 10 + ["lost", None, None])
    now = pd.Categorical(["active"] * 8 + ["lost"] * 2 + [None, "new", None])

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

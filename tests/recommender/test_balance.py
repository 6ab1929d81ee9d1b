"""What chance does not do to a treatment is noticed, and what it does is let be."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recommender.balance import LEVEL, drawn_for, imbalance_p, unbalanced
from recommender.trial import trial


def test_without_imbalance_p_is_uniform_whatever_the_column() -> None:
    draw, found = np.random.default_rng(2), dict[str, list[float]]()
    for _ in range(250):
        n = 600
        x = draw.normal(size=n)
        chance = np.where(x > 0, 0.7, 0.3)
        treatment = (draw.random(n) < chance) * 1
        logged = trial(np.zeros((n, 1)), treatment, x, np.where(treatment == 1, chance, 1 - chance))
        shares = trial(np.zeros((n, 1)), draw.integers(0, 3, n), x)
        rare = (draw.random(n) < 0.1) * 1.0
        for name, column, rows in (
            # Treated by x itself: weighted, it is as if it were not.
            ("logged", x, logged),
            ("three treatments", x, shares),
            ("rare word", rare, shares),
        ):
            found.setdefault(name, []).append(imbalance_p(column[:, None], rows))
    for name, p in found.items():
        # Source: a p-value is uniform where nothing is to be found.
        assert stats.kstest(p, "uniform").pvalue > 0.001, name


def test_rows_of_one_unit_count_once() -> None:
    draw = np.random.default_rng(3)
    p: list[float] = []
    for _ in range(200):
        unit = np.repeat(np.arange(150), 4)
        arm, x = draw.integers(0, 2, 150), draw.normal(size=150)
        rows = trial(np.zeros((600, 1)), arm[unit], np.arange(600.0), unit=unit)
        p.append(imbalance_p(x[unit][:, None], rows))
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_column_known_only_after_the_treatment_is_named_and_no_other_one() -> None:
    draw = np.random.default_rng(4)
    n = 3000
    arm = draw.integers(0, 3, n)
    rows = trial(np.zeros((n, 1)), arm, np.arange(float(n)))
    clean = {f"x{place}": draw.normal(size=(n, 1)) for place in range(20)}
    visit = (draw.random((n, 1)) < 0.12 + 0.06 * (arm > 0)[:, None]) * 1.0
    gap = np.where((arm == 1)[:, None] & (draw.random((n, 1)) < 0.1), np.nan, clean["x0"])
    told = np.column_stack([arm == 0, arm == 1]) * 1.0
    found = unbalanced({**clean, "visit": visit, "gap": gap, "told": told}, rows)
    assert set(found) == {"visit", "gap", "told"}


def test_a_clean_file_rarely_loses_a_column() -> None:
    draw = np.random.default_rng(5)
    lost = 0
    for _ in range(200):
        rows = trial(np.zeros((300, 1)), draw.integers(0, 2, 300), np.arange(300.0))
        words = np.eye(8)[draw.integers(0, 8, 300)]
        columns = {str(place): draw.gamma(0.3, size=(300, 1)) for place in range(6)}
        lost += bool(unbalanced({**columns, "words": words}, rows))
    # Of 200 at most LEVEL: more than 7 has a probability of .001.
    assert LEVEL == 0.01
    assert lost <= 7


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_who_shares_a_treatment_is_found_beyond_chance(share: float) -> None:
    draw = np.random.default_rng(6)
    house = np.repeat(np.arange(700), draw.integers(1, 6, 700))
    n, alone = len(house), np.arange(len(house))
    by_house = (draw.random(700) < share) * 1
    by_row = (draw.random(n) < share) * 1
    values = pd.Series(house)
    assert drawn_for(values, by_house[house], alone) == (np.bincount(house) > 1).sum()
    assert drawn_for(values, by_row, alone) == 0
    # Named as the unit, it says nothing more.
    assert drawn_for(values, by_house[house], house) == 0
    # What the treatment itself is called is no unit; ages are none either.
    assert drawn_for(pd.Series(by_row).map({0: "a", 1: "b"}), by_row, alone) == 0
    assert drawn_for(pd.Series(draw.integers(18, 80, n)), by_house[house], alone) == 0

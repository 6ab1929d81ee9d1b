"""How often products meet by chance, against closed forms, enumeration and Fisher's own table."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import TooLittleData
from recommender.basket_chance import basket_chance


@given(st.lists(st.integers(1, 8), min_size=20, max_size=60), st.integers(0, 10**6))
def test_chance_keeps_basket_sizes_and_product_counts(sizes: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    held = np.zeros((len(sizes), 12), dtype=int)
    for row, size in zip(held, sizes, strict=True):
        row[draw.permutation(12)[:size]] = 1
    held = held[:, held.any(axis=0)]
    # Who is everywhere, or nearly, has no finite odds.
    counts = held.sum(axis=0)
    if held.shape[1] < 2 or (counts == len(sizes)).any() or (held.sum(axis=1) == len(counts)).any():
        return
    chance = basket_chance(np.array(sizes), counts)
    assert chance.baskets @ chance.chance == pytest.approx(counts, rel=1e-3)
    assert chance.chance.sum(axis=1) == pytest.approx(np.unique(sizes), rel=1e-3)


def test_alike_products_meet_as_often_as_drawing_without_replacement_says() -> None:
    # 50 products, each in as many baskets: two meet in n (n - 1) / (50 * 49) of baskets of size n.
    sizes = np.repeat([2, 5, 10], [2000, 400, 100])
    counts = np.full(50, sizes.sum() // 50)
    expected, _ = basket_chance(sizes, counts).pairs(np.array([0]), np.array([1]))
    exact = sum(m * n * (n - 1) / (50 * 49) for n, m in ((2, 2000), (5, 400), (10, 100)))
    assert expected[0] == pytest.approx(exact, rel=0.01)


def test_unlike_products_of_baskets_of_three_meet_as_enumeration_says() -> None:
    # Every basket of three of ten products, weighed by the product of odds: conditional Poisson
    # sampling (Chen, Dempster and Liu 1994), which Hájek's factor approximates.
    odds = np.linspace(0.2, 2, 10)
    baskets = list(combinations(range(10), 3))
    weight = np.array([np.prod(odds[list(b)]) for b in baskets])
    weight /= weight.sum()
    both = np.zeros((10, 10))
    for b, w in zip(baskets, weight, strict=True):
        for i in b:
            for j in b:
                both[i, j] += w
    n = 100_000
    chance = basket_chance(np.full(n, 3), np.diag(both) * n)
    first, second = np.triu_indices(10, 1)
    expected, _ = chance.pairs(first, second)
    assert expected / n == pytest.approx(both[first, second], rel=0.1)
    # The plain product of shares is 17 to 70 % too high here.
    assert (np.outer(np.diag(both), np.diag(both))[first, second] > 1.15 * expected / n).all()


def test_baskets_of_one_product_hold_no_pair() -> None:
    expected, _ = basket_chance(np.full(1000, 1), np.full(100, 10)).pairs(
        np.array([0]), np.array([1])
    )
    assert expected[0] == 0


def test_a_single_product_has_nobody_to_meet() -> None:
    with pytest.raises(TooLittleData, match="at least 2"):
        basket_chance(np.ones(10, dtype=int), np.array([10]))

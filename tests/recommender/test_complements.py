"""Complements are found where they were planted, and nowhere else."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, poisson

from foundation.errors import TooLittleData
from recommender import complements as module
from recommender.complements import Baskets, baskets_of, complements


def lines(held: Any, customer: np.ndarray) -> pd.DataFrame:
    """Return a line for each product of each basket."""
    basket, product = np.nonzero(held)
    return pd.DataFrame(
        {
            "customer_id": [f"c{customer[b]}" for b in basket],
            "order_id": [f"o{b}" for b in basket],
            "product": [f"p{p:03}" for p in product],
        }
    )


def independent(seed: int, baskets: int = 4000, products: int = 120, mixed: bool = True) -> Any:
    """Draw baskets whose products know nothing of each other; a fifth of mixed ones are large.

    Each product lies in each basket by its own chance, whose odds are the shopper's appetite times
    the product's popularity.
    """
    draw = np.random.default_rng(seed)
    popular = 1 / np.arange(1, products + 1) ** 0.7
    large = draw.random(baskets) < 0.2
    odds = np.outer(np.where(large, 3.0, 0.15) if mixed else np.full(baskets, 0.4), popular)
    held = (draw.random((baskets, products)) < odds / (1 + odds)).astype(int)
    return held[held.any(axis=1)]


def one_by_one(seed: int, baskets: int = 4000, products: int = 120) -> Any:
    """Draw baskets of 1 to 3 products, and some of 12, by drawing one after the other."""
    draw = np.random.default_rng(seed)
    popular = 1 / np.arange(1, products + 1) ** 0.7
    size = np.where(draw.random(baskets) < 0.8, draw.integers(1, 4, baskets), 12)
    # Without replacement: the first exponential clocks to ring (Efraimidis and Spirakis 2006).
    clocks = draw.exponential(size=(baskets, products)) / popular
    return (clocks.argsort(axis=1).argsort(axis=1) < size[:, None]).astype(int)


def found(held: Any, customer: np.ndarray | None = None) -> set[tuple[str, str]]:
    who = np.arange(len(held)) if customer is None else customer
    rows = complements(baskets_of(lines(held, who))).rows
    return {(a, b) for a, b in zip(rows["product"], rows["other"], strict=True) if a < b}


@pytest.mark.parametrize("drawn", [independent, one_by_one])
def test_independent_products_are_no_complements_however_large_some_baskets_are(drawn: Any) -> None:
    # Under no complement at all the false discovery rate is the chance of any discovery: 5 %.
    false = sum(bool(found(drawn(seed))) for seed in range(20))
    assert false <= 3


def test_the_test_itself_is_level_without_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    # MIN_LIFT would hide a test that finds too much: at a lift of 1 the level must hold as well.
    monkeypatch.setattr(module, "MIN_LIFT", 1.0)
    false = sum(bool(found(independent(seed))) for seed in range(40))
    assert false <= 5


def test_without_basket_sizes_the_same_baskets_would_be_full_of_complements() -> None:
    # What the test above protects from: expected by independence alone.
    held = independent(1)
    known = held[:, held.sum(axis=0) >= module.MIN_BASKETS]
    together = known.T @ known
    share = known.mean(axis=0)
    first, second = np.triu_indices(known.shape[1], 1)
    expected = (np.outer(share, share) * len(known))[first, second]
    p = poisson.sf(together[first, second] - 1, expected)
    assert (false_discovery_control(p) <= 0.05).mean() > 0.5


@pytest.mark.parametrize("mixed", [True, False])
def test_planted_complements_are_found_and_few_others(mixed: bool) -> None:
    held = independent(3, mixed=mixed)
    draw = np.random.default_rng(4)
    planted = {(f"p{i:03}", f"p{i + 50:03}") for i in range(10, 30)}
    for i in range(10, 30):
        follows = (held[:, i] == 1) & (draw.random(len(held)) < 0.5)
        held[follows, i + 50] = 1
    got = found(held)
    assert planted <= got
    # 5 % of discoveries may be false; followers of one leader are few here.
    assert len(got - planted) <= 3


def test_one_customers_habit_is_no_complement() -> None:
    held = independent(5, mixed=False)
    who = np.arange(len(held))
    # One customer in 60 baskets always buys the same two.
    who[:60] = 0
    held[:60, 70] = held[:60, 80] = 1
    assert ("p070", "p080") not in found(held, who)
    # Sixty customers who do it once are one.
    assert ("p070", "p080") in found(held)


def test_customers_with_tastes_of_their_own_do_not_make_complements() -> None:
    # 60 customers, each with her own independent liking of each product: pairs that a customer
    # happens to like come again and again. Baskets taken for independent find hundreds.
    false = 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        who = np.repeat(np.arange(60), 60)
        likes = draw.gamma(0.3, 1, (60, 80)) * 0.2
        held = (draw.random((3600, 80)) < np.minimum(likes, 0.9)[who]).astype(int)
        held = held[held.any(axis=1)], who[held.any(axis=1)]
        false += len(found(*held)) > 0
    assert false <= 2


def test_figures_of_a_small_example_by_hand() -> None:
    # 1000 baskets of two out of {a, b} or of 40 others; a and b are always together, in 50.
    held = np.zeros((1000, 42), dtype=int)
    draw = np.random.default_rng(0)
    held[:50, [0, 1]] = 1
    for row in held[50:]:
        row[2 + draw.permutation(40)[:2]] = 1
    result = complements(baskets_of(lines(held, np.arange(1000))))
    assert result.tested == 42 * 41 // 2
    [row] = result.rows[result.rows["product"] == "p000"].to_dict("records")
    assert (row["other"], row["together"], row["design_effect"]) == ("p001", 50, 1)
    # Of 2000 places a has 50: in a basket of two, chance puts both into 2 * .025**2 / 2 or so.
    assert row["expected"] == pytest.approx(1000 * 0.05 * 0.05 / 2, rel=0.1)
    assert row["lift"] == pytest.approx(50 / row["expected"])
    assert row["p_value"] < poisson.sf(49, module.MIN_LIFT * row["expected"]) * 1.0001
    # Garwood's bounds at the level left to one discovery of 861 tests.
    tail = 0.05 * (len(result.rows) / 2) / result.tested / 2
    assert poisson.sf(49, row["low"] * row["expected"]) == pytest.approx(tail)
    assert poisson.cdf(50, row["high"] * row["expected"]) == pytest.approx(tail)


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(2).random(400) ** 4
    rejected = false_discovery_control(np.r_[p, np.ones(600)])[:400] <= 0.05
    assert ((p <= module._level(p, 1000)) == rejected).all()  # pyright: ignore[reportPrivateUsage]


def test_a_design_effect_is_the_variance_of_customers_counts_over_their_sum() -> None:
    held = independent(6, baskets=400, products=30)
    who = np.random.default_rng(6).integers(0, 25, 400)
    baskets = baskets_of(lines(held, who))
    first, second = np.triu_indices(len(baskets.products), 1)
    got = module._design_effects(baskets, first, second)  # pyright: ignore[reportPrivateUsage]
    dense, sizes = baskets.held.toarray(), baskets.held.sum(axis=1)
    share = np.bincount(baskets.customer, sizes * (sizes - 1)) / (sizes * (sizes - 1)).sum()
    for place in range(0, len(first), 37):
        both = dense[:, first[place]] * dense[:, second[place]]
        counts = np.bincount(baskets.customer, both, minlength=len(share))
        spread = ((counts - share * counts.sum()) ** 2).sum() / max(counts.sum(), 1)
        assert got[place] == pytest.approx(max(spread, 1))


def test_a_product_counts_once_in_an_order_and_orders_are_a_customers_own() -> None:
    told = pd.DataFrame(
        {
            "customer_id": ["ana", "ana", "ana", "bea"],
            "order_id": ["1", "1", "1", "1"],
            "product": ["milk", "milk", "eggs", "milk"],
        }
    )
    baskets = baskets_of(told)
    assert list(baskets.products) == ["eggs", "milk"]
    assert baskets.held.toarray().tolist() == [[1, 1], [0, 1]]
    assert baskets.customer.tolist() == [0, 1]


def test_groups_are_held_once_and_the_ungrouped_are_left_out() -> None:
    baskets = baskets_of(lines(np.array([[1, 1, 0, 1], [0, 0, 1, 0]]), np.arange(2)))
    grouped = baskets.grouped(np.array(["dairy", "dairy", "bread", None], dtype=object))
    assert list(grouped.products) == ["bread", "dairy"]
    assert grouped.held.toarray().tolist() == [[0, 1], [1, 0]]


def test_a_large_block_count_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = independent(3)
    held[:, 70] |= held[:, 20]
    whole = complements(baskets_of(lines(held, np.arange(len(held)) % 500)))
    for name, value in (("BLOCK", 7), ("PAIRS", 11), ("HELD", 50)):
        monkeypatch.setattr(module, name, value)
    parts = complements(baskets_of(lines(held, np.arange(len(held)) % 500)))
    pd.testing.assert_frame_equal(whole.rows, parts.rows)


def test_too_few_purchases_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 2 products in 20 baskets"):
        complements(baskets_of(lines(np.ones((10, 3), dtype=int), np.arange(10))))


def test_no_purchases_are_no_baskets() -> None:
    empty = pd.DataFrame({"customer_id": [], "order_id": [], "product": []}, dtype=object)
    baskets = baskets_of(empty)
    assert isinstance(baskets, Baskets)
    with pytest.raises(TooLittleData):
        complements(baskets)

"""Complements: which products are bought together clearly more often than by chance?

A pair stands in the table only where that is significant among all pairs there are; a lift of 2.3
says that the two were in 2.3 times as many baskets as chance would put them in. It says nothing
of why: products that the same people like are bought together too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammainc, gammaincinv

from foundation.errors import TooLittleData
from recommender.basket_chance import BasketChance, basket_chance

# A product in fewer baskets, or a pair bought together fewer times, tells nothing of its own.
MIN_BASKETS = 20
MIN_TOGETHER = 5
FALSE_DISCOVERIES = 0.05
# Chance is a model too: where shoppers fill baskets one product after the other, popular products
# meet up to 1.2 times as often as it says. Less than that is no complement.
MIN_LIFT = 1.2
# Rows of the count matrix, pairs and baskets looked at at once: memory is bounded by these.
BLOCK = 256
HELD = 100_000
PAIRS = 50_000

COLUMNS = (
    "product",
    "other",
    "together",
    "expected",
    "design_effect",
    "p_value",
    "lift",
    "low",
    "high",
)


@dataclass(frozen=True)
class Baskets:
    """What lay in each basket.

    `held` is 1 where a basket holds a product however often, CSR of shape (baskets, products);
    `products` names its columns; `customer` numbers who bought each basket from 0, shape
    (baskets,).
    """

    held: sparse.csr_array
    products: np.ndarray
    customer: np.ndarray

    def grouped(self, groups: np.ndarray) -> "Baskets":
        """Return which groups of products the baskets hold.

        Args:
            groups: Group of each product; a product without one (None or NaN) is left out.
        """
        group, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
        named = np.flatnonzero(group >= 0)
        member = sparse.csr_array(
            (np.ones(len(named), dtype=np.int32), (named, group[named])),
            shape=(len(group), len(names)),
        )
        held = sparse.csr_array(self.held @ member)
        held.data[:] = 1
        return Baskets(held, np.asarray(names, dtype=object), self.customer)

    def of(self, kept: np.ndarray) -> "Baskets":
        """Return the baskets with some of the products only, without those left empty.

        Args:
            kept: Booleans, shape (products,).
        """
        held = sparse.csr_array(self.held[:, np.flatnonzero(kept)])
        filled = np.flatnonzero(np.diff(held.indptr))
        return Baskets(sparse.csr_array(held[filled]), self.products[kept], self.customer[filled])


@dataclass(frozen=True)
class Complements:
    """Pairs that were tested, and those found.

    `rows` has the columns COLUMNS, a row for each direction of each pair found; `together` are
    baskets, `expected` those by chance, `lift` their ratio with the bounds low and high.
    `tested` counts pairs of products, `level` is the p-value up to which they were found.
    """

    rows: pd.DataFrame
    tested: int
    level: float


def baskets_of(lines: pd.DataFrame) -> Baskets:
    """Return the baskets of bought lines.

    Args:
        lines: customer_id, order_id and product; a product counts once in an order.
    """
    customer, _ = pd.factorize(lines["customer_id"], sort=True)
    order, _ = pd.factorize(lines["order_id"])
    # An order's id may be a store's own: it counts with who bought.
    _, basket = np.unique(customer * (order.max(initial=0) + 1) + order, return_inverse=True)
    column, products = pd.factorize(lines["product"], sort=True)
    n = int(basket.max(initial=-1)) + 1
    held = sparse.csr_array(
        (np.ones(len(lines), dtype=np.int32), (basket, column)), shape=(n, len(products))
    )
    held.sum_duplicates()
    held.data[:] = 1
    buyer = np.zeros(n, dtype=np.int64)
    buyer[basket] = customer
    return Baskets(held, np.asarray(products, dtype=object), buyer)


def complements(baskets: Baskets) -> Complements:
    """Find the pairs of products bought together over MIN_LIFT times as often as by chance.

    Every pair of products in at least MIN_BASKETS baskets is a test, also those that never met;
    the share of false ones among the pairs found is held to FALSE_DISCOVERIES. Baskets of one
    customer are no independent evidence: a pair's count is divided by its design effect.

    Raises:
        TooLittleData: Fewer than two products lie in so many baskets.

    Sources: chance: recommender.basket_chance; false discoveries: Benjamini and Hochberg 1995;
        design effect: Rao and Scott 1981; Poisson bounds: Garwood 1936, at the level that
        allows for the selection of pairs: Benjamini and Yekutieli 2005; a least effect instead of
        none: Murphy and Myors 1999.
    """
    often = baskets.held.sum(axis=0) >= MIN_BASKETS
    if often.sum() < 2:
        raise TooLittleData(
            f"complements need at least 2 products in {MIN_BASKETS} baskets each; there are "
            f"{int(often.sum())} of {len(often)}: load more purchases"
        )
    known = baskets.of(often)
    chance = chance_of(known)
    pairs = pd.concat([_counted(part, chance) for part in met(known, MIN_TOGETHER)])
    k = len(known.products)
    tested = k * (k - 1) // 2
    # A design effect only ever makes a pair less sure: whoever fails without it need not have it.
    pairs = pairs[pairs["p_value"] <= _level(pairs["p_value"].to_numpy(), tested)]
    effect = _design_effects(known, pairs["first"].to_numpy(), pairs["second"].to_numpy())
    pairs = pairs.assign(design_effect=effect)
    pairs["p_value"] = _p_value(pairs)
    level = _level(pairs["p_value"].to_numpy(), tested)
    often_enough = pairs["together"] / pairs["design_effect"] >= MIN_TOGETHER
    found = _bounded(pairs[often_enough & (pairs["p_value"] <= level)], tested)
    return Complements(_both_ways(found[found["low"] > MIN_LIFT], known.products), tested, level)


def chance_of(baskets: Baskets) -> BasketChance:
    """Return the chance that keeps these baskets' sizes and these products' counts."""
    sizes = np.diff(baskets.held.indptr)
    return basket_chance(sizes, np.asarray(baskets.held.sum(axis=0)))


def met(baskets: Baskets, least: int) -> Iterator[pd.DataFrame]:
    """Yield the pairs of products that met at least so often: first, second and together.

    `first` and `second` are places of products, first < second.
    """
    columns = sparse.csc_array(baskets.held)
    for start in range(0, len(baskets.products), BLOCK):
        block = sparse.csr_array(columns[:, start : start + BLOCK].T)
        counts = sparse.coo_array(sparse.csr_array(block @ baskets.held))
        first, second = counts.coords[0] + start, counts.coords[1]
        kept = (first < second) & (counts.data >= least)
        yield pd.DataFrame(
            {"first": first[kept], "second": second[kept], "together": counts.data[kept]}
        )


def _counted(pairs: pd.DataFrame, chance: BasketChance) -> pd.DataFrame:
    """Return the pairs with expected, variance and the p-value of independent baskets."""
    parts = np.array_split(np.arange(len(pairs)), max(1, len(pairs) // PAIRS))
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    found = [chance.pairs(first[part], second[part]) for part in parts]
    expected = np.concatenate([e for e, _ in found])
    variance = np.concatenate([v for _, v in found])
    pairs = pairs.assign(expected=expected, variance=variance, design_effect=1.0)
    return pairs.assign(p_value=_p_value(pairs))


def _p_value(pairs: pd.DataFrame) -> np.ndarray:
    """Return the chance of so many baskets or more at a lift of MIN_LIFT.

    It is a Poisson tail on effective counts.
    """
    # Products' own counts are given, which leaves popular pairs less room than Poisson has.
    narrower = np.minimum(np.asarray(pairs["variance"] / pairs["expected"]), 1)
    per_count = narrower * np.asarray(pairs["design_effect"])
    together, expected = (np.asarray(pairs[name]) for name in ("together", "expected"))
    return gammainc(together / per_count, MIN_LIFT * expected / per_count)


def _level(p_values: np.ndarray, tested: int) -> float:
    """Return the largest p-value that is a discovery, 0 where none is (Benjamini-Hochberg)."""
    ordered = np.sort(p_values)
    bar = FALSE_DISCOVERIES * np.arange(1, len(ordered) + 1) / tested
    return float(ordered[ordered <= bar].max(initial=0.0))


def _design_effects(baskets: Baskets, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return by how much customers' repetition widens each pair's count, at least 1, shape (n,).

    It is the variance of the customers' counts of the pair around their shares of all pairs in
    baskets, over the count: 1 where everybody did it once, n where one customer did it n times.
    """
    if len(first) == 0:
        return np.empty(0)
    sizes = np.diff(baskets.held.indptr)
    share = np.bincount(baskets.customer, weights=sizes * (sizes - 1))
    share = share / share.sum()
    columns = sparse.csc_array(baskets.held)
    counts = np.diff(columns.indptr)
    effects = np.ones(len(first))
    asked = np.unique(first)
    for products in np.split(asked, np.flatnonzero(np.diff(np.cumsum(counts[asked]) // HELD)) + 1):
        place = np.flatnonzero(np.isin(first, products))
        total, squares, shared = _repetition(
            baskets,
            share,
            columns,
            products,
            np.searchsorted(products, first[place]),
            second[place],
        )
        across = squares - 2 * total * shared + total**2 * (share @ share)
        effects[place] = np.maximum(across / np.maximum(total, 1), 1)
    return effects


def _repetition(
    baskets: Baskets,
    share: np.ndarray,
    columns: sparse.csc_array,
    products: np.ndarray,
    row: np.ndarray,
    second: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, over customers, the sums of a pair's counts, of their squares and with the shares.

    Args:
        row: Place in `products` of each pair's first product, shape (n,).
    """
    inside = [columns.indices[columns.indptr[p] : columns.indptr[p + 1]] for p in products]
    basket = np.concatenate([np.empty(0, dtype=np.int32), *inside])
    product = np.repeat(np.arange(len(products)), [len(part) for part in inside])
    # One row for each product and each of its buyers.
    pair, line = np.unique(product * len(share) + baskets.customer[basket], return_inverse=True)
    who = sparse.csr_array(
        (np.ones(len(line)), (line, basket)), shape=(len(pair), len(baskets.customer))
    )
    met_by = sparse.csr_array(who @ baskets.held)
    of_product = np.searchsorted(pair, np.arange(len(products) + 1) * len(share))
    buyers = np.diff(of_product)
    gather = sparse.csr_array(
        (np.ones(len(pair)), (np.repeat(np.arange(len(products)), buyers), np.arange(len(pair))))
    )
    weighted = sparse.csr_array(
        (
            share[pair % len(share)],
            (np.repeat(np.arange(len(products)), buyers), np.arange(len(pair))),
        )
    )
    sums = (gather @ met_by, gather @ met_by.power(2), weighted @ met_by)
    total, squares, shared = (np.asarray(part[row, second]).ravel() for part in sums)
    return total, squares, shared


def _bounded(pairs: pd.DataFrame, tested: int) -> pd.DataFrame:
    """Return the pairs found with their lift and its bounds."""
    # These were chosen for being extreme; at this level 95 % of the chosen bounds hold.
    tail = FALSE_DISCOVERIES * max(len(pairs), 1) / tested / 2
    per_count = pairs["design_effect"].to_numpy()
    count = pairs["together"].to_numpy() / per_count
    low = gammaincinv(count, tail) * per_count
    high = gammaincinv(count + 1, 1 - tail) * per_count
    return pairs.assign(
        lift=pairs["together"] / pairs["expected"],
        low=low / pairs["expected"],
        high=high / pairs["expected"],
    )


def _both_ways(pairs: pd.DataFrame, products: np.ndarray) -> pd.DataFrame:
    first, second = products[pairs["first"]], products[pairs["second"]]
    rows = pd.concat(
        [pairs.assign(product=first, other=second), pairs.assign(product=second, other=first)]
    )
    ordered = rows.sort_values(["product", "low", "other"], ascending=[True, False, True])
    return ordered[list(COLUMNS)].reset_index(drop=True)

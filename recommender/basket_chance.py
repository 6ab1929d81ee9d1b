"""By chance: how often would two products meet in a basket if nothing drew them together?

Large baskets hold everything together and popular products are everywhere. Chance here keeps both
as they are: how large each basket is and in how many baskets each product lies.
"""

from dataclasses import dataclass

import numpy as np

from foundation.errors import RegularsError, TooLittleData

# Sizes up to here are told apart one by one; larger ones within this ratio pass for one size.
EXACT_SIZES = 16
SIZE_RATIO = 1.08
ROUNDS = 2_000
# A product's expected baskets may differ from its own by this part.
TOLERANCE = 1e-6
BEARABLE = 1e-2


@dataclass(frozen=True)
class BasketChance:
    """The chance of each product in a basket of each size, where nothing draws products together.

    `size` is the mean size of each class of baskets, rising, and `baskets` counts them, shape (s,)
    each; `chance` holds the probability of
    each product in one of them, shape (s, k); `spread` is the sum of p (1 - p) in one, shape (s,).
    """

    size: np.ndarray
    baskets: np.ndarray
    chance: np.ndarray
    spread: np.ndarray

    def pairs(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many baskets hold both products by chance, and the variance of that count.

        Two products of a basket of fixed size crowd each other out: by Hájek's factor
        1 - (1 - p)(1 - q) / spread, which is 1 - 1 / size where products are many.

        Args:
            first, second: Places of products, shape (n,).

        Returns:
            Expected baskets and their variance given the products' own counts, shape (n,) each.

        Source: Hájek 1964, Asymptotic theory of rejective sampling, theorem 5.2.
        """
        # In a basket of one product no two can meet.
        several = slice(int(np.searchsorted(self.size, 1, side="right")), None)
        p, q = self.chance[several, first], self.chance[several, second]
        without = (1 - p) * (1 - q)
        both = p * q * np.maximum(1 - without / self.spread[several, None], 0)
        return self.baskets[several] @ both, self.baskets[several] @ (p * q * without)


def basket_chance(sizes: np.ndarray, counts: np.ndarray) -> BasketChance:
    """Fit the chance that keeps basket sizes and products' counts, and knows nothing else.

    The odds of a product in a basket are a factor of the basket's size times one of the product
    (maximum entropy), solved by fixed-point rounds.

    Args:
        sizes: Distinct products of each basket, each at least 1, shape (baskets,).
        counts: Baskets that hold each product, each at least 1, shape (k,); sums to sizes' sum.

    Raises:
        TooLittleData: There are fewer than two products.
        RegularsError: The rounds do not converge.

    Source: Saracco, Di Clemente, Gabrielli and Squartini 2015 (bipartite configuration model);
        for complements in retail Tian, Lautz, Wallis and Lambiotte 2021.
    """
    if len(counts) < 2:
        raise TooLittleData(
            f"products that meet by chance need at least 2 of them; there are {len(counts)}"
        )
    size, baskets = _classes(sizes)
    # Products of the same count have the same chance: solve once for each count.
    count, place, shared = np.unique(counts, return_inverse=True, return_counts=True)
    of_size, of_count = size / np.sqrt(sizes.sum()), count / np.sqrt(sizes.sum())
    off, chance = np.inf, np.empty(0)
    for _ in range(ROUNDS):
        of_size = size / (of_count / (1 + np.outer(of_size, of_count)) @ shared)
        of_count = count / (baskets @ (of_size[:, None] / (1 + np.outer(of_size, of_count))))
        odds = np.outer(of_size, of_count)
        chance = odds / (1 + odds)
        off = float(np.abs(chance @ shared / size - 1).max())
        if off < TOLERANCE:
            break
    if off > BEARABLE:
        raise RegularsError(
            f"the chance of {len(counts)} products in {len(sizes)} baskets is off by {off:.1%} "
            f"after {ROUNDS} rounds, at most {BEARABLE:.0%} will do; leave out products that lie "
            "in nearly every basket"
        )
    spread = np.maximum((chance * (1 - chance)) @ shared, np.finfo(np.float64).tiny)
    return BasketChance(size, baskets, chance[:, place], spread)


def _classes(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean size of each class and how many baskets it has, shape (s,) each."""
    above = np.log(np.maximum(sizes, EXACT_SIZES) / EXACT_SIZES) / np.log(SIZE_RATIO)
    label = np.where(sizes <= EXACT_SIZES, sizes, EXACT_SIZES + 1 + np.floor(above)).astype(int)
    _, place, baskets = np.unique(label, return_inverse=True, return_counts=True)
    return np.bincount(place, weights=sizes) / baskets, baskets.astype(np.float64)

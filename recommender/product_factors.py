"""Factors: which products lie in the same kind of baskets, also where they never met?

Products become vectors whose inner product is about the logarithm of a pair's lift. It says what a
pair that is too rare to count would do, and is no evidence that it does.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from recommender.complements import PAIRS, Baskets, chance_of, met

FACTORS = 64
# Baskets added to both sides of a pair's ratio: lifts of rare pairs are mostly noise.
PRIOR_BASKETS = 5
# Pairs that met less often are left to the factors.
MIN_TOGETHER = 3
BLOCK = 512


@dataclass(frozen=True)
class ProductFactors:
    """Two vectors a product, shape (products, factors) each: `given` and `next`.

    The inner product of one product's `given` and another's `next` is about log lift.
    """

    products: np.ndarray
    given: np.ndarray
    next: np.ndarray


def product_factors(baskets: Baskets, seed: int) -> ProductFactors:
    """Factorise the positive part of shrunk log (together / expected) of all pairs.

    Args:
        baskets: With the products that have enough baskets of their own, only.
        seed: Of the randomised decomposition; the same seed gives the same vectors.

    Raises:
        TooLittleData: As basket_chance.

    Sources: Levy and Goldberg 2014, Neural word embedding as implicit matrix factorization
        (positive PMI and truncated SVD; here by-chance counts keep basket sizes);
        Halko, Martinsson and Tropp 2011 (randomised SVD).
    """
    chance = chance_of(baskets)
    k = len(baskets.products)
    pairs = pd.concat(list(met(baskets, MIN_TOGETHER)))
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    parts = np.array_split(np.arange(len(pairs)), max(1, len(pairs) // PAIRS))
    expected = np.concatenate([chance.pairs(first[part], second[part])[0] for part in parts])
    ratio = (pairs["together"].to_numpy() + PRIOR_BASKETS) / (expected + PRIOR_BASKETS)
    above = ratio > 1
    half = sparse.csr_matrix(
        (np.log(ratio[above]), (first[above], second[above])), shape=(k, k), dtype=np.float64
    )
    # Its "auto" is seven rounds where factors are few and four where they are many.
    left, strengths, right = randomized_svd(half + half.T, min(FACTORS, k - 1), random_state=seed)
    scale = np.sqrt(strengths)
    return ProductFactors(baskets.products, left * scale, right.T * scale)


def nearest(factors: ProductFactors, size: int) -> pd.DataFrame:
    """Return each product's nearest others: product, other and their log lift as the factors say.

    Args:
        size: At most so many others a product, those above 0 only.
    """
    k = len(factors.products)
    size = min(size, k - 1)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, k, BLOCK):
        near = factors.given[start : start + BLOCK] @ factors.next.T
        rows = np.arange(len(near))
        near[rows, rows + start] = -np.inf
        best = np.argpartition(-near, size - 1, axis=1)[:, :size]
        strength = np.take_along_axis(near, best, axis=1)
        product = np.repeat(rows + start, size)
        found.append((product, best.ravel(), strength.ravel()))
    product, other, strength = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = strength > 0
    return pd.DataFrame(
        {
            "product": factors.products[product[kept]],
            "other": factors.products[other[kept]],
            "strength": strength[kept],
        }
    )

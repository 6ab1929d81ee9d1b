"""Do next products guess a later basket better than what everybody buys, or what she always buys?

One product of each later basket is hidden; whoever names it among the first ten has a hit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foundation.errors import TooLittleData
from foundation.scores import Interval, percentiles

TOP = 10
ROUNDS = 1_000
BASKETS = 5_000
MIN_BASKETS = 100
MODEL, POPULAR, FAVOURITES = "next_products", "popular", "favourites"

# Products in the order they are recommended, given who asks and what is in her basket.
Ranker = Callable[[str, frozenset[str]], Sequence[str]]


@dataclass(frozen=True)
class Hidden:
    """A later basket without one of its products."""

    customer_id: str
    basket: frozenset[str]
    product_id: str


@dataclass(frozen=True)
class Guesses:
    """How well rankings guess the hidden products.

    `hit_rate` is the share found among the first TOP; `mrr` the mean of 1 / rank, 0 beyond TOP;
    `gain` the model's hit rate minus each baseline's on the same baskets. Intervals are 95 %,
    over customers.
    """

    baskets: int
    customers: int
    hit_rate: dict[str, Interval]
    mrr: dict[str, Interval]
    gain: dict[str, Interval]

    def verdict(self) -> str:
        """Say in one line whether the model is better than each baseline."""
        words = {
            name: "better than"
            if gain.low > 0
            else "worse than"
            if gain.high < 0
            else "not surely better than"
            for name, gain in self.gain.items()
        }
        told = {POPULAR: "what is popular", FAVOURITES: "her own favourites"}
        return "next products are " + ", ".join(f"{w} {told[name]}" for name, w in words.items())


def hidden_products(lines: pd.DataFrame, seed: int) -> list[Hidden]:
    """Hide one product, drawn at random, of each basket of two or more.

    Args:
        lines: customer_id, order_id and product of later baskets; a sample of at most BASKETS
            baskets is drawn.

    Raises:
        TooLittleData: There are fewer than MIN_BASKETS such baskets.
    """
    lines = lines[["customer_id", "order_id", "product"]].drop_duplicates()
    lines = lines.sort_values(["customer_id", "order_id", "product"])
    baskets = [
        (str(customer), [str(p) for p in products])
        for (customer, _), products in lines.groupby(["customer_id", "order_id"])["product"]
        if len(products) > 1
    ]
    if len(baskets) < MIN_BASKETS:
        raise TooLittleData(
            f"next products are judged on at least {MIN_BASKETS} baskets of two or more products; "
            f"there are {len(baskets)} in the weeks held out: load more purchases"
        )
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(baskets))[:BASKETS]
    found: list[Hidden] = []
    for place in chosen:
        customer, products = baskets[place]
        hidden = products[draw.integers(len(products))]
        found.append(Hidden(customer, frozenset(products) - {hidden}, hidden))
    return found


def popular_ranker(popularity: "pd.Series[float]") -> Ranker:
    """Return the baseline that knows only what everybody buys."""
    ranked = _ranked(popularity)

    def rank(_customer_id: str, basket: frozenset[str]) -> Sequence[str]:
        return _without(ranked, basket)

    return rank


def favourites_ranker(lines: pd.DataFrame, popularity: "pd.Series[float]") -> Ranker:
    """Return the baseline that names what she bought most often before, then what is popular."""
    orders = lines[["customer_id", "order_id", "product"]].drop_duplicates()
    counts = orders.groupby(["customer_id", "product"]).size().reset_index(name="orders")
    counts["popularity"] = counts["product"].map(popularity)
    ordered = counts.sort_values(
        ["customer_id", "orders", "popularity", "product"], ascending=[True, False, False, True]
    )
    hers = {str(who): list(part) for who, part in ordered.groupby("customer_id")["product"]}
    ranked = _ranked(popularity)

    def rank(customer_id: str, basket: frozenset[str]) -> Sequence[str]:
        own = _without(hers.get(customer_id, []), basket)
        return [*own, *_without(ranked, basket | frozenset(own))][:TOP]

    return rank


def guesses(hidden: Sequence[Hidden], rankers: dict[str, Ranker], seed: int) -> Guesses:
    """Return how well each ranking guesses; the gain is of MODEL, where it is one of them."""
    ranks = {
        name: np.array([_rank(ranker(h.customer_id, h.basket), h.product_id) for h in hidden])
        for name, ranker in rankers.items()
    }
    who, _ = pd.factorize(np.array([h.customer_id for h in hidden], dtype=object), sort=True)
    customers = int(who.max()) + 1
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(customers, np.full(customers, 1 / customers), size=ROUNDS)
    baskets = np.bincount(who)

    def interval(values: np.ndarray) -> Interval:
        sums = np.bincount(who, weights=values)
        return percentiles(float(values.mean()), (weights @ sums) / (weights @ baskets))

    hits = {name: np.isfinite(rank).astype(np.float64) for name, rank in ranks.items()}
    return Guesses(
        baskets=len(hidden),
        customers=customers,
        hit_rate={name: interval(hit) for name, hit in hits.items()},
        mrr={name: interval(1 / rank) for name, rank in ranks.items()},
        gain={
            name: interval(hits[MODEL] - hit)
            for name, hit in hits.items()
            if MODEL in hits and name != MODEL
        },
    )


def _rank(ranked: Sequence[str], product_id: str) -> float:
    first = ranked[:TOP]
    return float(first.index(product_id) + 1) if product_id in first else np.inf


def _ranked(popularity: "pd.Series[float]") -> list[str]:
    frame = pd.DataFrame({"product": popularity.index, "share": popularity.to_numpy()})
    ordered = frame.sort_values(["share", "product"], ascending=[False, True])
    return [str(product) for product in ordered["product"]]


def _without(ranked: Sequence[str], basket: frozenset[str]) -> list[str]:
    found: list[str] = []
    for product in ranked:
        if product not in basket:
            found.append(product)
            if len(found) == TOP:
                break
    return found

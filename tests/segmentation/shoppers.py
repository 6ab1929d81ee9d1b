"""Made-up customers of known ways of shopping, for tests of clusters."""

import numpy as np
import pandas as pd

from segmentation.behaviour import TRAITS

# Medians of each planted way of shopping: visits, basket, discount, one store, weekend, evening.
PLANTED = {
    "daily top-up after work": (150, 800, 0.10, 0.9, 0.25, 0.85),
    "big weekend shop": (45, 9000, 0.12, 0.9, 0.85, 0.30),
    "deal hunters in many stores": (60, 2500, 0.45, 0.3, 0.30, 0.30),
    "seldom here": (8, 2500, 0.10, 0.8, 0.30, 0.35),
}


def shoppers(each: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Return `each` customers of every planted way in random order, and which way is whose."""
    random = np.random.default_rng(seed)
    frames: list[pd.DataFrame] = []
    for way, (visits, basket, *shares) in PLANTED.items():
        days = random.poisson(visits, each).clip(4)
        columns = {
            "orders_365d": days,
            "visit_days_365d": days,
            "basket_mean_365d": basket * random.lognormal(0, 0.2, each),
        }
        for trait, share in zip(TRAITS[2:], shares, strict=True):
            columns[trait.feature] = random.beta(40 * share, 40 * (1 - share), each)
        frames.append(pd.DataFrame(columns).assign(way=way))
    frame = pd.concat(frames).sample(frac=1, random_state=seed)
    frame.index = [f"c-{i:05}" for i in range(len(frame))]
    return frame.drop(columns="way"), frame["way"]


def crowd(customers: int, seed: int, correlation: float = 0.0) -> pd.DataFrame:
    """Return one normal cloud: after taking logarithms where the model does, no groups in it."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(customers, 1))
    own = random.normal(size=(customers, len(TRAITS)))
    points = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    frame = pd.DataFrame(points, columns=[trait.feature for trait in TRAITS])
    for trait in TRAITS:
        if trait.kind == "share":
            frame[trait.feature] = 0.5 + 0.1 * frame[trait.feature]
        else:
            frame[trait.feature] = np.expm1(5 + 0.5 * frame[trait.feature])
    # Alike for all, so that shares lean on the typical one alike.
    frame["orders_365d"] = 50
    frame.index = [f"c-{i:05}" for i in range(customers)]
    return frame


def without_purchases(count: int) -> pd.DataFrame:
    """Return customers who bought nothing in the year."""
    frame = pd.DataFrame(
        {"orders_365d": 0, "visit_days_365d": 0}, index=[f"n-{i}" for i in range(count)]
    )
    return frame.reindex(columns=["orders_365d", *(t.feature for t in TRAITS)])


def seldom_shoppers(customers: int, seed: int, most: int = 4) -> pd.DataFrame:
    """Return customers of 1 to `most` orders who all shop by the same lots: no groups among them.

    Every order is drawn alike for everybody: its basket, its discount, one of three stores, the
    day and the hour. Shares of so few orders take few values, which is no way of shopping.
    """
    random = np.random.default_rng(seed)
    orders = random.integers(1, most + 1, customers)
    whose = np.repeat(np.arange(customers), orders)
    n = len(whose)
    lots = pd.DataFrame(
        {
            "basket_mean_365d": random.lognormal(8, 0.6, n),
            "discount_share_365d": np.where(random.random(n) < 0.4, random.uniform(0, 0.4, n), 0.0),
            "weekend_share_365d": (random.random(n) < 0.3).astype(float),
            "evening_share_365d": (random.random(n) < 0.4).astype(float),
        }
    )
    frame = lots.groupby(whose).mean()
    stores = pd.crosstab(whose, random.choice(3, n, p=[0.6, 0.3, 0.1]))
    frame["store_share_365d"] = stores.max(axis=1).to_numpy() / orders
    frame["orders_365d"] = frame["visit_days_365d"] = orders
    frame.index = [f"s-{i:05}" for i in range(customers)]
    return frame

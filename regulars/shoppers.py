"""Simulated shoppers: customers of the lake who respond to offers by a known model.

The response model, for one shopper at one checkout, in money of minor units:

- With probability .8 she buys afterwards in any case, something worth B: B is a gamma variable of
  shape 2 around her own mean basket m (the population's where she has none).
- An offer at rank r is seen with probability 1 / r.
- A seen offer is redeemed with probability p = 1 / (1 + exp(1.8 - z - e)): z is her liking for
  coupons (a standard normal score of her rank in coupon use), e the offer's own appeal (a fixed
  draw from a normal of spread .5).
- A redemption brings extra spend around 1.2 m (gamma, shape 2) with probability .7; else she
  would have bought the same anyway. Each redemption costs the offer's cost.

So the true effect of a slate on her margin is the sum over its offers of
(1 / r) p (.7 x 1.2 m x margin rate - cost), and zero for an empty slate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pandas as pd
from scipy import stats

SHAPE = 2.0
BUYS = 0.8
RELUCTANCE = 1.8
APPEAL_SPREAD = 0.5
EXTRA = 1.2
CAUSED = 0.7


@dataclass(frozen=True)
class Shoppers:
    """The population: for each customer a mean basket (minor units) and a liking for coupons."""

    customer_ids: np.ndarray
    mean_basket: np.ndarray
    liking: np.ndarray


@dataclass(frozen=True, slots=True)
class Redemption:
    """One redeemed offer and the spend it caused, in minor units (0: would have bought anyway)."""

    offer_id: str
    extra: int


@dataclass(frozen=True, slots=True)
class Visit:
    """What a shopper did after seeing a slate; `basket` is 0 where she bought nothing anyway."""

    seen: list[str]
    redemptions: list[Redemption]
    basket: int


def shoppers_from(features: pd.DataFrame) -> Shoppers:
    """Draw up the population from customer features, indexed by customer_id."""
    mean = features["basket_mean_365d"].to_numpy(dtype=np.float64)
    usual = float(np.nanmean(mean)) if np.isfinite(mean).any() else 3_000.0
    rank = features["coupon_lines_365d"].rank(method="average").to_numpy(dtype=np.float64)
    return Shoppers(
        customer_ids=features.index.to_numpy(dtype=object),
        mean_basket=np.where(np.isfinite(mean) & (mean > 0), mean, usual),
        liking=stats.norm.ppf((rank - 0.5) / len(rank)),
    )


def appeal(offer_id: str) -> float:
    """Return an offer's own appeal: a normal draw fixed by its id."""
    digest = blake2b(f"appeal|{offer_id}".encode(), digest_size=8).digest()
    # 52 bits and a half, so that rounding never reaches 0 or 1, whose quantiles are infinite.
    share = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return float(stats.norm.ppf(share)) * APPEAL_SPREAD


def redeem_chance(liking: float, offer_id: str) -> float:
    """Return the probability that she redeems an offer she has seen."""
    return float(1 / (1 + np.exp(RELUCTANCE - liking - appeal(offer_id))))


def true_effect(
    mean_basket: float,
    liking: float,
    slate: Sequence[str],
    costs: Mapping[str, int],
    margin_rate: float,
) -> float:
    """Return what a slate really adds to a shopper's margin, in minor units."""
    return sum(
        redeem_chance(liking, offer_id)
        / rank
        * (CAUSED * EXTRA * mean_basket * margin_rate - costs[offer_id])
        for rank, offer_id in enumerate(slate, start=1)
    )


def visit(
    mean_basket: float, liking: float, slate: Sequence[str], draw: np.random.Generator
) -> Visit:
    """Let a shopper respond to a slate."""
    seen: list[str] = []
    redemptions: list[Redemption] = []
    for rank, offer_id in enumerate(slate, start=1):
        if draw.random() >= 1 / rank:
            continue
        seen.append(offer_id)
        if draw.random() < redeem_chance(liking, offer_id):
            caused = draw.random() < CAUSED
            extra = draw.gamma(SHAPE, EXTRA * mean_basket / SHAPE) if caused else 0.0
            redemptions.append(Redemption(offer_id, round(extra)))
    anyway = draw.gamma(SHAPE, mean_basket / SHAPE) if draw.random() < BUYS else 0.0
    return Visit(seen, redemptions, round(anyway))

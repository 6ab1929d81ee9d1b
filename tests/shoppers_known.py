"""Made-up customers of known truth: they buy at random at a rate of their own until they stop."""

import numpy as np
import pandas as pd

# Rates gamma(.8, 8 weeks), lifetimes of gamma(.7, 12 weeks) rates: the Pareto/NBD's own world.
PLANTED = (0.8, 8.0, 0.7, 12.0)


def known_purchases(
    customers: int, days: int, seed: int, planted: tuple[float, ...] = PLANTED
) -> pd.DataFrame:
    """Return customer_id, day and amount; all first buy in the first twelve weeks."""
    draw = np.random.default_rng(seed)
    r, alpha, s, beta = planted
    first = draw.integers(0, min(84, days), customers)
    rate = draw.gamma(r, 1 / alpha, customers) / 7
    stays = draw.exponential(1 / draw.gamma(s, 1 / beta, customers)) * 7
    seen = np.minimum(stays, days - first)
    again = draw.poisson(rate * seen)
    who = np.repeat(np.arange(customers), again)
    day = first[who] + np.floor(draw.random(len(who)) * seen[who]).astype(int)
    everyone = np.r_[np.arange(customers), who]
    typical = 1 / draw.gamma(4.0, 1 / 15.0, customers)
    return pd.DataFrame(
        {
            "customer_id": np.char.add("c", everyone.astype(str)),
            "day": np.r_[first, day],
            "amount": draw.gamma(6.0, typical[everyone]).round(2) + 0.01,
        }
    )

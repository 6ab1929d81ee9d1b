"""Forecasts for doubly robust values: what does an offer earn at its position, as others tell?

Each customer's forecast is made without her own rows (cross-fitted), so that a log can be its own
reward model. It knows offers and positions alone: where it is poor the weights correct it.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from recommender.off_policy import Direct


def direct_by_offer(
    customer: np.ndarray,
    place: np.ndarray,
    shown: Sequence[str | None],
    reward: np.ndarray,
    chances: Sequence[Mapping[str | None, float]],
) -> Direct:
    """Return what was shown and what the target would choose are expected to earn.

    Args:
        customer, place: Whose row it is, and which position; shape (n,).
        shown: The offer there, None for an empty place, which earns nothing.
        reward: What it earned, shape (n,).
        chances: The target's chance of each offer at that place of that decision.

    Returns:
        Means over the rows of other customers that showed the offer there, with one row's worth
        of the mean over all offers of theirs.
    """
    of_all = _Means(customer, ["" if one is not None else None for one in shown], reward)
    keys = [None if one is None else (int(at), one) for at, one in zip(place, shown, strict=True)]
    of_offer = _Means(customer, keys, reward)

    def forecast(who: str, at: int, offer_id: str | None) -> float:
        if offer_id is None:
            return 0.0
        total, rows = of_all.without(who, "")
        prior = total / rows if rows else 0.0
        total, rows = of_offer.without(who, (at, offer_id))
        return (total + prior) / (rows + 1)

    told = [
        (
            forecast(who, at, offer_id),
            sum(chance * forecast(who, at, one) for one, chance in those.items()),
        )
        for who, at, offer_id, those in zip(
            customer.tolist(), place.tolist(), shown, chances, strict=True
        )
    ]
    found = np.array(told, dtype=np.float64).reshape(-1, 2)
    return Direct(found[:, 0], found[:, 1])


class _Means:
    """Sums and numbers of rewards by key, of all and of each customer; None is no key."""

    def __init__(
        self, customer: np.ndarray, keys: Sequence[Hashable | None], reward: np.ndarray
    ) -> None:
        self._sums: defaultdict[Hashable, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for who, key, earned in zip(customer.tolist(), keys, reward.tolist(), strict=True):
            if key is not None:
                for one in (key, (who, key)):
                    self._sums[one][0] += earned
                    self._sums[one][1] += 1

    def without(self, who: str, key: Hashable) -> tuple[float, float]:
        """Return the sum and number of the rows of others."""
        nothing = [0.0, 0.0]
        total, rows = self._sums.get(key, nothing)
        hers, her_rows = self._sums.get((who, key), nothing)
        return total - hers, rows - her_rows

"""The basket at the till: what only a request knows of a customer and offers."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from foundation.profile import Profile
from recommender.affinity import BASKET, NAMES
from recommender.next_products import basket_affinities
from serving.profiles import ProfileStore


def with_basket(profile: Profile, basket: Iterable[str], snapshot: ProfileStore) -> Profile:
    """Return a profile whose affinities know how well each offer goes with a basket.

    Args:
        basket: Products in it.
        snapshot: The one that the profile is of.
    """
    facts = snapshot.facts()
    shape = (0 if facts is None else len(facts.offers), len(NAMES))
    known = len(profile.affinity) > 0
    near = profile.affinity.copy() if known else np.full(shape, np.nan, dtype=np.float32)
    # A snapshot of before baskets were known has a column less: no model of today scores with it.
    if near.shape != shape:
        return profile
    near[:, BASKET] = basket_affinities(basket, shape[0], snapshot.product, snapshot.group)
    return replace(profile, affinity=near)

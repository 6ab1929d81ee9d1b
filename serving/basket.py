"""The basket at the till: what only a request knows of a customer and offers."""

from collections.abc import Collection

import numpy as np

from foundation.profile import Profile
from recommender.affinity import BASKET, NAMES
from recommender.next_products import NextProducts, basket_affinities
from serving.messages import DecisionRequest
from serving.profiles import ProfileStore


async def profile_for(
    request: DecisionRequest, snapshot: ProfileStore, by: float
) -> Profile | None:
    """Return what is known of a customer and of her basket; None of whom nothing is known.

    Args:
        by: When it has to be there, on the loop's clock.

    Raises:
        StoreUnavailable: The profile store does not answer in time.
    """
    if request.context.basket is None:
        return await snapshot.fetch(request.customer_id, by)
    basket = [line.product_id for line in request.context.basket]
    # Before the wait below, after which another snapshot may be live.
    facts = snapshot.facts()
    profile, goods = await snapshot.fetch_with_basket(request.customer_id, basket, by)
    if profile is None or facts is None:
        return None
    return with_basket(profile, basket, goods, len(facts.offers))


def with_basket(
    profile: Profile, basket: Collection[str], goods: NextProducts, offers: int
) -> Profile:
    """Return a profile whose affinities know how well each offer goes with a basket.

    Args:
        basket: Products in it.
        goods: What goes with them.
        offers: How many the profile's snapshot has.
    """
    shape = (offers, len(NAMES))
    near = profile.affinity
    near = near.copy() if len(near) else np.full(shape, np.nan, dtype=np.float32)
    # A snapshot of before baskets were known has a column less: no model of today scores with it.
    if near.shape != shape:
        return profile
    # Without a word of any of its products, a basket goes with no offer.
    near[:, BASKET] = (
        basket_affinities(basket, offers, goods.products.get, goods.groups.get)
        if goods.products
        else 0.0
    )
    return profile.with_affinity(near)

"""What is left of an offer, and whether anything is: two questions, one answer."""

from hypothesis import given
from hypothesis import strategies as st

from foundation.uses import Held, Limits, exhausted, uses_left

# More than any limit drawn here.
MANY = 20

few = st.integers(0, 4)
limit = st.none() | few
stores = st.none() | st.dictionaries(st.sampled_from(["s-1", "s-2"]), few)


@given(
    limits=st.builds(
        Limits,
        cost=few,
        total_cap=limit,
        budget=st.none() | st.integers(0, 12),
        stock=limit,
        store_stock=stores,
    ),
    held=st.builds(Held, uses=few, cost=st.integers(0, 12), by_store=stores.map(lambda s: s or {})),
)
def test_so_many_uses_are_left_as_can_be_taken_before_an_offer_is_exhausted(
    limits: Limits, held: Held
) -> None:
    left = uses_left(limits, held)

    taken = 0
    places = [None] if limits.store_stock is None else list(limits.store_stock)
    while taken < MANY:
        open_at = [store for store in places if exhausted(limits, held, store) is None]
        if not open_at:
            break
        held.take(open_at[0], limits.cost)
        taken += 1
    assert taken == (MANY if left is None else left)

"""What a model keeps of its inputs: counts by hand, and what must hold of any."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.reference import (
    BINS,
    MISSING,
    OTHER,
    Reference,
    distribution,
    once_each,
    reference_of,
)

NAN = float("nan")


def test_each_customer_counts_once_however_often_she_was_shown_an_offer() -> None:
    weight = once_each(np.array(["a", "a", "a", "a", "b"]))

    # Three quarters of a's exposures had 1.
    found = distribution(np.array([1.0, 1.0, 1.0, NAN, 2.0]), weight)

    assert found.customers == {"1.0": 0.75, "2.0": 1.0, MISSING: 0.25}
    assert found.edges is None


def test_many_values_are_parted_at_their_deciles() -> None:
    found = distribution(np.arange(1_000.0), np.ones(1_000))

    assert found.edges is not None
    assert list(found.customers.values()) == [100.0] * BINS
    # Beyond what was seen counts with the outermost.
    beyond = found.like(np.array([-1e9, 1e9, NAN]), np.ones(3))
    assert (beyond["0"], beyond["9"], beyond[MISSING]) == (1, 1, 1)


def test_a_value_that_a_constant_input_never_had_is_seen() -> None:
    before = distribution(np.zeros(100), np.ones(100))

    assert before.like(np.array([0.0, 3.0, 4.0]), np.ones(3)) == {"0.0": 1.0, OTHER: 2.0}


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.floats(-1e6, 1e6) | st.just(NAN)), min_size=1, max_size=60
    )
)
def test_customers_add_up_and_the_same_values_are_told_alike(rows: list[tuple[int, float]]) -> None:
    customers = np.array([customer for customer, _ in rows])
    values, weight = np.array([value for _, value in rows]), once_each(customers)

    found = distribution(values, weight)

    assert sum(found.customers.values()) == pytest.approx(len(set(customers)))
    assert found.like(values, weight) == found.customers
    at = datetime(2026, 1, 1, tzinfo=UTC)
    kept = Reference({"x": found}, found, at, at)
    assert reference_of(kept.to_text()) == kept

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.shared_cap import InvalidCap, arm_exhausted, split_cap
from foundation.uses import Arm, Held, Limits

WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.floats(1e-6, 1e6), min_size=1)


def test_largest_remainders_get_what_is_left():
    # Source: the standard example of Hamilton's method (votes 47, 16, 15.8, 12, 6.1, 3.1 for ten
    # seats): 5, 2, 1, 1, 1, 0.
    votes = {"y": 47.0, "w": 16.0, "r": 15.8, "g": 12.0, "b": 6.1, "p": 3.1}
    assert split_cap(10, votes) == {"y": 5, "w": 2, "r": 1, "g": 1, "b": 1, "p": 0}


def test_of_equal_remainders_the_first_listed_gets_it():
    assert split_cap(100, {"b": 1.0, "a": 1.0, "c": 1.0}) == {"b": 34, "a": 33, "c": 33}


@given(st.integers(0, 10**15), WEIGHTS)
def test_parts_sum_to_the_cap_and_are_within_one_of_their_share(total, weights):
    parts = split_cap(total, weights)
    assert sum(parts.values()) == total
    assert list(parts) == list(weights)
    for name, part in parts.items():
        share = total * weights[name] / sum(weights.values())
        assert abs(part - share) < 1 + 1e-12 * total


@pytest.mark.parametrize(
    ("total", "weights", "words"),
    [
        (-1, {"a": 1.0}, "a cap of -1"),
        (5, {}, "no variant shows the offer"),
        (5, {"a": 1.0, "b": 0.0}, "'b' has weight 0.0"),
        (5, {"a": float("nan")}, "'a' has weight nan"),
        (5, {"a": float("inf")}, "'a' has weight inf"),
    ],
)
def test_a_cap_that_cannot_be_split_is_refused(total, weights, words):
    with pytest.raises(InvalidCap, match=words) as refusal:
        split_cap(total, weights)
    assert "\n" not in str(refusal.value)


@given(st.integers(0, 60), st.integers(0, 20), st.lists(st.sampled_from("ab-"), max_size=120))
def test_no_arm_ever_takes_what_is_the_others(total, before, asked):
    weights = {"a": 0.7, "b": 0.3}
    limits, held = Limits(cost=10, total_cap=total), Held(uses=min(before, total))
    for name in asked:
        if name == "-":
            continue
        if arm_exhausted(Arm(name, weights), limits, held) is None:
            held.take(None, 10, 1, name)
    parts = split_cap(total - min(before, total), weights)
    for name, part in parts.items():
        used = held.by_arm.get(name, Held()).uses
        # All that she asked for and its part has room for, and no more.
        assert used == min(part, asked.count(name))


def test_a_budget_and_stock_are_split_too():
    weights = {"a": 0.5, "b": 0.5}
    for limits, reason, uses in (
        (Limits(cost=30, budget=200), "budget_spent", 3),  # 100 an arm, 30 a use
        (Limits(cost=30, stock=5), "out_of_stock", 3),  # the odd piece goes to the first
        (Limits(cost=30), None, 9),
    ):
        held, taken = Held(), 0
        while taken < 9 and arm_exhausted(Arm("a", weights), limits, held) is None:
            held.take(None, 30, 1, "a")
            taken += 1
        assert taken == uses
        assert arm_exhausted(Arm("a", weights), limits, held) == reason

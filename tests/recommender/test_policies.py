from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from math import perm
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foundation.decision import Policy
from recommender.policies import Drawn, Eligible, draw_slate, slot_probabilities

A, B, C, D = Eligible("a"), Eligible("b"), Eligible("c"), Eligible("d")
SCORES = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def ids(drawn: Drawn) -> tuple[str, ...]:
    return tuple(offer.offer_id for offer in drawn.offers)


# ------------------------------------------------------- every way chance can go, with its weight


class Script(Random):
    """A source of chance that walks one given path and writes down what it was asked.

    A coin below `explore` weighs `explore`, a choice among n weighs 1/n: the two facts about
    `random.Random` that a propensity rests on.
    """

    def __init__(self, path: Sequence[int], explore: float) -> None:
        super().__init__(0)
        self.path = list(path)
        self.explore = Fraction(explore)
        self.options: list[int] = []
        self.weight = Fraction(1)

    def _turn(self, options: int) -> int:
        taken = self.path[len(self.options)] if len(self.options) < len(self.path) else 0
        self.options.append(options)
        return taken

    def random(self) -> float:
        explores = self._turn(2) == 0
        self.weight *= self.explore if explores else 1 - self.explore
        return 0.0 if explores else 1 - 2**-53

    def randrange(self, start: int, *_: Any) -> int:
        self.weight /= start
        return self._turn(start)


def every_draw(
    policy: Policy, eligible: Sequence[Eligible], scores: dict[str, float], limit: int
) -> tuple[dict[tuple[str, ...], Fraction], dict[tuple[str, ...], Drawn]]:
    """Return the exact distribution of slates over all paths of chance, and what was recorded."""
    weights: Counter[tuple[str, ...]] = Counter()
    recorded: dict[tuple[str, ...], Drawn] = {}
    path: list[int] = []
    while True:
        chance = Script(path, policy.exploration)
        drawn = draw_slate(policy, eligible, scores, limit, chance)
        weights[ids(drawn)] += chance.weight
        known = recorded.setdefault(ids(drawn), drawn)
        # The record says the same, whichever way the slate came about.
        assert known == drawn
        path = [*path, *[0] * (len(chance.options) - len(path))]
        while path and path[-1] + 1 == chance.options[len(path) - 1]:
            path.pop()
        if not path:
            return dict(weights), recorded
        path[-1] += 1


OFFERS = st.lists(
    st.builds(
        Eligible,
        st.sampled_from("abcde"),
        st.integers(0, 1),
        st.sampled_from([None, None, "coffee", "bakery"]),
    ),
    max_size=5,
    unique_by=lambda offer: offer.offer_id,
)
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 1e-9])
RANKED = st.sampled_from(["response", "popular"])


@settings(deadline=None)
@given(RANKED, SHARES, OFFERS, st.integers(0, 4), st.data())
def test_recorded_propensities_are_the_exact_chances_over_all_paths(
    kind: Any, exploration: float, eligible: list[Eligible], limit: int, data: st.DataObject
) -> None:
    scores = {o.offer_id: data.draw(st.sampled_from([0.1, 0.2, 0.3])) for o in eligible}

    weights, recorded = every_draw(Policy(kind, exploration), eligible, scores, limit)

    assert sum(weights.values()) == 1
    assert sum(drawn.slate_propensity for drawn in recorded.values()) == pytest.approx(1)
    for slate, drawn in recorded.items():
        assert drawn.slate_propensity == pytest.approx(float(weights[slate]), rel=1e-9)
        # A slot's own chance: of the slates that agree above it, the share that agrees in it too.
        for slot, propensity in enumerate(drawn.slot_propensities):
            above = sum(w for s, w in weights.items() if s[:slot] == slate[:slot])
            with_it = sum(w for s, w in weights.items() if s[: slot + 1] == slate[: slot + 1])
            assert propensity == pytest.approx(float(with_it / above), rel=1e-9)


@settings(deadline=None)
@given(SHARES.filter(bool), OFFERS, st.integers(0, 4))
def test_exploration_can_show_every_allowed_slate_and_no_other(
    exploration: float, eligible: list[Eligible], limit: int
) -> None:
    scores = {offer.offer_id: 0.5 for offer in eligible}

    weights, _ = every_draw(Policy("response", exploration), eligible, scores, limit)

    # Source: all orders of all offers, each cut down to what the rules of a slate leave.
    allowed = set()
    for order in permutations(eligible):
        slate: list[Eligible] = []
        for offer in order:
            groups = {o.exclusive_group for o in slate} - {None}
            if len(slate) < limit and offer.exclusive_group not in groups:
                slate.append(offer)
        allowed.add(tuple(offer.offer_id for offer in slate))
    assert set(weights) == allowed


@given(SHARES, OFFERS, st.integers(0, 4), st.integers())
def test_slot_propensities_multiply_to_the_slates(
    exploration: float, eligible: list[Eligible], limit: int, seed: int
) -> None:
    scores = {offer.offer_id: float(ord(offer.offer_id)) for offer in eligible}

    drawn = draw_slate(Policy("popular", exploration), eligible, scores, limit, Random(seed))

    product = 1.0
    for propensity in drawn.slot_propensities:
        assert 0 < propensity <= 1
        product *= propensity
    assert drawn.slate_propensity == pytest.approx(product)
    assert len(drawn.slot_propensities) == len(drawn.offers)


def test_the_chances_of_two_slots_worked_out_by_hand() -> None:
    weights, recorded = every_draw(Policy("response", 0.3), [A, B, C], SCORES, 2)

    # Six slates at 0.3 / 6 each, and the ranking's own at 0.7 on top.
    assert {slate: float(weight) for slate, weight in weights.items()} == pytest.approx(
        {
            ("a", "b"): 0.75,
            ("a", "c"): 0.05,
            ("b", "a"): 0.05,
            ("b", "c"): 0.05,
            ("c", "a"): 0.05,
            ("c", "b"): 0.05,
        }
    )
    # First slot a: .75 + .05. Then b: .75 / .8. After any other start both rest alike.
    assert recorded[("a", "b")].slot_propensities == pytest.approx([0.8, 0.75 / 0.8])
    assert recorded[("a", "c")].slot_propensities == pytest.approx([0.8, 0.05 / 0.8])
    assert recorded[("b", "a")].slot_propensities == pytest.approx([0.1, 0.5])


def test_an_exclusive_group_narrows_the_next_slot_and_its_chances() -> None:
    one, other = Eligible("a", 0, "coffee"), Eligible("b", 0, "coffee")

    weights, recorded = every_draw(Policy("response", 0.6), [one, other, C], SCORES, 3)

    # At random: a then c (1/3 x 1), b then c (1/3 x 1), c then a or b (1/3 x 1/2 each).
    assert {slate: float(weight) for slate, weight in weights.items()} == pytest.approx(
        {("a", "c"): 0.4 + 0.2, ("b", "c"): 0.2, ("c", "a"): 0.1, ("c", "b"): 0.1}
    )
    assert recorded[("b", "c")].slot_propensities == pytest.approx([0.2, 1.0])


# ------------------------------------------------------------------------ with real random numbers


@pytest.mark.parametrize(
    ("policy", "eligible", "limit"),
    [
        (Policy("response", 0.2), [A, B, C, D], 2),
        (Policy("response", 0.7), [Eligible("a", 0, "x"), Eligible("b", 0, "x"), C, D], 3),
        (Policy("random", 1.0), [A, B, C, D], 2),
        (Policy("popular", 0.5), [A, B, C, D], 1),
    ],
)
def test_frequencies_over_many_seeds_match_the_recorded_propensities(
    policy: Policy, eligible: list[Eligible], limit: int
) -> None:
    n = 20_000
    drawn = [draw_slate(policy, eligible, SCORES, limit, Random(seed)) for seed in range(n)]

    slates = Counter(ids(one) for one in drawn)
    expected = {ids(one): one.slate_propensity for one in drawn}
    assert sum(expected.values()) == pytest.approx(1)
    found = stats.chisquare(
        [slates[slate] for slate in expected], [p * n for p in expected.values()]
    )
    assert found.pvalue > 0.001
    # Each slot given the slots above it: 1 / propensity counts every allowed offer once.
    for slot in range(limit):
        for above in {slate[:slot] for slate in expected}:
            following = {
                one.offers[slot].offer_id: one.slot_propensities[slot]
                for one in drawn
                if ids(one)[:slot] == above and len(one.offers) > slot
            }
            counts = Counter(
                ids(one)[slot]
                for one in drawn
                if ids(one)[:slot] == above and len(one.offers) > slot
            )
            if len(following) < 2:
                continue
            shown = stats.chisquare(
                [counts[offer] for offer in following],
                [p * counts.total() for p in following.values()],
            )
            assert shown.pvalue > 0.0005, (slot, above)


def test_the_same_seed_draws_the_same_slate_whatever_the_order_of_the_offers() -> None:
    offers = [A, B, Eligible("c", 0, "x"), Eligible("d", 0, "x")]

    for seed in range(50):
        drawn = {
            ids(draw_slate(Policy("response", 0.8), order, SCORES, 3, Random(seed)))
            for order in permutations(offers)
        }
        assert len(drawn) == 1


@pytest.mark.parametrize(
    ("kind", "exploration", "seed", "slate", "slots", "whole"),
    [
        (
            "response",
            0.05,
            1,
            ("o5", "o1", "o6"),
            [0.9555555555555555, 0.9949127906976745, 0.9993738912657831],
            0.9500992063492063,
        ),
        (
            "response",
            0.05,
            31,
            ("o1", "o4", "o6"),
            [0.005555555555555556, 0.125, 0.16666666666666666],
            0.00011574074074074075,
        ),
        (
            "popular",
            0.3,
            2,
            ("o5", "o1", "o6"),
            [0.7333333333333333, 0.9602272727272727, 0.9949281487743027],
            0.700595238095238,
        ),
        (
            "popular",
            0.3,
            1,
            ("o1", "o3", "o5"),
            [0.03333333333333333, 0.125, 0.16666666666666666],
            0.0006944444444444444,
        ),
        ("response", 0.0, 3, ("o5", "o1", "o6"), [1.0, 1.0, 1.0], 1.0),
        (
            "random",
            1.0,
            4,
            ("o2", "o3", "o5"),
            [0.1111111111111111, 0.125, 0.16666666666666666],
            0.0023148148148148147,
        ),
    ],
)
def test_a_seed_draws_what_it_always_drew_to_the_last_bit(
    kind: Any,
    exploration: float,
    seed: int,
    slate: tuple[str, ...],
    slots: list[float],
    whole: float,
) -> None:
    # Source: draws of the version that first stored records, which are replayed by their seed.
    offers = [Eligible(f"o{n}", n % 2, "x" if n in (3, 4) else None) for n in range(9)]
    scores = {offer.offer_id: (n * 7 % 9) / 10 for n, offer in enumerate(offers)}

    drawn = draw_slate(Policy(kind, exploration), offers, scores, 3, Random(seed))

    assert (ids(drawn), drawn.slot_propensities, drawn.slate_propensity) == (slate, slots, whole)


@given(RANKED, SHARES, OFFERS, st.integers(0, 4), st.integers(), st.data())
def test_a_drawn_slate_has_the_chances_that_are_computed_of_any_slate(
    kind: Any,
    exploration: float,
    eligible: list[Eligible],
    limit: int,
    seed: int,
    data: st.DataObject,
) -> None:
    policy = Policy(kind, exploration)
    scores = {o.offer_id: data.draw(st.sampled_from([0.1, 0.2, 0.3])) for o in eligible}

    drawn = draw_slate(policy, eligible, scores, limit, Random(seed))

    *prefixes, whole = slot_probabilities(policy, eligible, scores, limit, ids(drawn))
    above = [1.0, *prefixes]
    assert drawn.slot_propensities == [p / b for p, b in zip(prefixes, above, strict=False)]
    assert drawn.slate_propensity == whole


def test_other_seeds_draw_other_slates() -> None:
    policy = Policy("random", 1.0)
    drawn = {ids(draw_slate(policy, [A, B, C, D], SCORES, 2, Random(s))) for s in range(200)}

    assert len(drawn) == 12


# ------------------------------------------------------------------------------------ the ranking


def test_ties_go_to_the_higher_priority_then_to_the_id() -> None:
    offers = [Eligible("z", 5), Eligible("y", 1), Eligible("x", 1), Eligible("w", 9)]
    scores = {"z": 0.5, "y": 0.5, "x": 0.5, "w": 0.4}

    drawn = draw_slate(Policy("response"), offers, scores, 4, Random(1))

    assert ids(drawn) == ("z", "x", "y", "w")


@given(RANKED, OFFERS, st.integers(0, 4), st.integers())
def test_without_exploration_the_best_are_shown_for_sure(
    kind: Any, eligible: list[Eligible], limit: int, seed: int
) -> None:
    scores = {offer.offer_id: 1 / ord(offer.offer_id) for offer in eligible}

    drawn = draw_slate(Policy(kind), eligible, scores, limit, Random(seed))

    best: list[Eligible] = []
    for offer in sorted(eligible, key=lambda o: o.offer_id):
        groups = {o.exclusive_group for o in best if o.exclusive_group}
        if len(best) < limit and offer.exclusive_group not in groups:
            best.append(offer)
    assert drawn == Drawn(best, [1.0] * len(best), 1.0)


def test_full_exploration_is_the_random_policy() -> None:
    for seed in range(20):
        eligible = [A, B, C, D]
        explored = draw_slate(Policy("response", 1.0), eligible, SCORES, 2, Random(seed))
        random = draw_slate(Policy("random", 1.0), eligible, SCORES, 2, Random(seed))
        assert explored == random
        # 4 x 3 slates, all alike.
        assert explored.slate_propensity == pytest.approx(1 / 12)
        assert explored.slot_propensities == pytest.approx([1 / 4, 1 / 3])
    # A random policy explores fully, whatever share it was given.
    assert draw_slate(Policy("random"), [A, B], SCORES, 1, Random(1)).slate_propensity == 0.5


def test_a_holdout_is_shown_nothing_for_sure() -> None:
    for seed in range(20):
        drawn = draw_slate(Policy("none"), [A, B], SCORES, 3, Random(seed))
        assert drawn == Drawn([], [], 1.0)


@pytest.mark.parametrize("kind", ["response", "popular", "random"])
def test_nothing_to_show_or_nowhere_to_show_it_is_an_empty_slate_for_sure(kind: Any) -> None:
    for eligible, limit in (([], 3), ([A, B], 0)):
        drawn = draw_slate(Policy(kind, 0.5), eligible, SCORES, limit, Random(1))
        assert drawn == Drawn([], [], 1.0)


def test_a_single_allowed_offer_is_certain_although_chance_was_asked() -> None:
    drawn = draw_slate(Policy("response", 0.4), [A], SCORES, 3, Random(1))

    assert drawn == Drawn([A], [1.0], 1.0)


def test_a_long_slate_of_many_offers_keeps_a_positive_propensity() -> None:
    offers = [Eligible(f"o-{n:04}") for n in range(1_000)]
    scores = {offer.offer_id: 0.5 for offer in offers}

    drawn = draw_slate(Policy("response", 1.0), offers, scores, 20, Random(3))

    # 1 / (1000 x 999 x ... x 981), in whole numbers.
    assert drawn.slate_propensity == pytest.approx(float(Fraction(1, perm(1_000, 20))), rel=1e-9)


# ------------------------------------------------------------------------------ the policy itself


@pytest.mark.parametrize("share", [-0.1, 1.0001, float("nan"), float("inf")])
def test_a_share_of_exploration_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="exploration is a share from 0 to 1"):
        Policy("response", share)


def test_a_policy_of_a_record_keeps_the_rule_too() -> None:
    with pytest.raises(msgspec.ValidationError, match="exploration is a share"):
        msgspec.json.decode(b'{"kind":"response","exploration":2}', type=Policy)
    with pytest.raises(msgspec.ValidationError, match="needs posteriors"):
        msgspec.json.decode(b'{"kind":"thompson"}', type=Policy)

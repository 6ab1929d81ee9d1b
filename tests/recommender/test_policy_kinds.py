"""Rule, uplift, Thompson and mixture: the chance of every slate, exactly."""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foundation.decision import Policy, Posterior
from foundation.errors import RegularsError
from recommender.policies import Eligible, draw_slate, slot_probabilities
from recommender.position_chances import position_chances
from recommender.thompson import best_chances

IDS = "abcd"
BELIEFS = {i: Posterior("beta", 1.0 + n, 9.0 - n) for n, i in enumerate(IDS)}
OFFERS = st.lists(
    st.builds(
        Eligible,
        st.sampled_from(IDS),
        st.integers(0, 1),
        st.sampled_from([None, None, "coffee", "bakery"]),
    ),
    max_size=4,
    unique_by=lambda offer: offer.offer_id,
)
SHARES = st.sampled_from([0.0, 0.1, 0.5, 1.0])
PLAIN = st.one_of(
    st.builds(Policy, st.sampled_from(["uplift", "random"]), SHARES),
    st.builds(Policy, st.just("rule"), SHARES, order=st.permutations(IDS).map(tuple)),
    st.builds(Policy, st.just("thompson"), SHARES, posteriors=st.just(BELIEFS)),
    st.just(Policy("none")),
)
POLICIES = st.one_of(
    PLAIN,
    st.builds(
        lambda one, other, share, weight: Policy(
            "mixture", share, parts=(one, other), weights=(weight, 1 - weight)
        ),
        PLAIN,
        PLAIN,
        SHARES,
        st.sampled_from([0.25, 0.5, 0.9]),
    ),
)
SCORES = st.fixed_dictionaries({i: st.sampled_from([-2.0, 0.0, 1.0, 3.0]) for i in IDS})


def every_slate(eligible: list[Eligible], limit: int) -> list[tuple[str, ...]]:
    """All ordered choices of up to `limit` offers, allowed or not."""
    ids = [offer.offer_id for offer in eligible]
    return [slate for n in range(limit + 1) for slate in permutations(ids, n)]


def whole_chance(
    policy: Policy,
    eligible: list[Eligible],
    scores: dict[str, float],
    limit: int,
    slate: Sequence[str],
) -> float:
    return slot_probabilities(policy, eligible, scores, limit, slate)[-1]


@settings(deadline=None, max_examples=150)
@given(POLICIES, OFFERS, SCORES, st.integers(0, 3))
def test_the_chances_of_all_slates_sum_to_1(
    policy: Policy, eligible: list[Eligible], scores: dict[str, float], limit: int
) -> None:
    chances = {
        slate: whole_chance(policy, eligible, scores, limit, slate)
        for slate in every_slate(eligible, limit)
    }

    assert sum(chances.values()) == pytest.approx(1, abs=1e-9)
    # A position's chances are those of the slates that have the offer there.
    for place, found in enumerate(position_chances(policy, eligible, scores, limit)):
        assert sum(found.values()) == pytest.approx(1, abs=1e-9)
        for offer in eligible:
            with_it = sum(
                c for s, c in chances.items() if len(s) > place and s[place] == offer.offer_id
            )
            assert found.get(offer.offer_id, 0.0) == pytest.approx(with_it, abs=1e-9)


@settings(deadline=None, max_examples=150)
@given(POLICIES, OFFERS, SCORES, st.integers(0, 3), st.integers(0, 2**53))
def test_a_drawn_slate_bears_the_chance_that_evaluation_gives_it(
    policy: Policy, eligible: list[Eligible], scores: dict[str, float], limit: int, seed: int
) -> None:
    drawn = draw_slate(policy, eligible, scores, limit, Random(seed))
    ids = [offer.offer_id for offer in drawn.offers]

    whole = whole_chance(policy, eligible, scores, limit, ids)
    assert drawn.slate_propensity == pytest.approx(whole)
    assert 0 < drawn.slate_propensity <= 1 + 1e-12
    slots = slot_probabilities(policy, eligible, scores, limit, ids)[:-1]
    assert np.cumprod(drawn.slot_propensities) == pytest.approx(slots)
    # Through JSON the policy is the same, and so is its draw.
    again = msgspec.json.decode(msgspec.json.encode(policy), type=Policy)
    assert draw_slate(again, eligible[::-1], scores, limit, Random(seed)) == drawn


@settings(deadline=None, max_examples=60)
@given(POLICIES.filter(lambda p: p.exploration > 0), OFFERS.filter(bool), SCORES)
def test_the_floor_holds_for_each_eligible_offer(
    policy: Policy, eligible: list[Eligible], scores: dict[str, float]
) -> None:
    candidates = len(eligible) + (policy.scored == "uplift")
    for offer in eligible:
        first = slot_probabilities(policy, eligible, scores, 1, [offer.offer_id])[0]
        assert first >= policy.exploration / candidates - 1e-12
    if policy.scored == "uplift":
        empty = whole_chance(policy, eligible, scores, 1, [])
        assert empty >= policy.exploration / candidates - 1e-12


GROUPED = [Eligible("a", 0, "x"), Eligible("b", 1, "x"), Eligible("c"), Eligible("d", 2)]
VALUES = {"a": 3.0, "b": -1.0, "c": 1.0, "d": 0.0}


@pytest.mark.parametrize(
    "policy",
    [
        Policy("uplift", 0.4),
        Policy("rule", 0.3, order=("c", "a")),
        Policy("thompson", 0.1, posteriors=BELIEFS),
        Policy(
            "mixture",
            0.2,
            parts=(Policy("uplift", 0.1), Policy("thompson", posteriors=BELIEFS), Policy("none")),
            weights=(0.5, 0.3, 0.2),
        ),
    ],
)
def test_frequencies_over_seeds_match_the_chances(policy: Policy) -> None:
    n = 6_000
    drawn = Counter(
        tuple(o.offer_id for o in draw_slate(policy, GROUPED, VALUES, 2, Random(seed)).offers)
        for seed in range(n)
    )

    chances = {s: whole_chance(policy, GROUPED, VALUES, 2, s) for s in every_slate(GROUPED, 2)}
    assert set(drawn) <= {slate for slate, chance in chances.items() if chance > 0}
    possible = [slate for slate, chance in chances.items() if chance > 0]
    found = stats.chisquare([drawn[s] for s in possible], [chances[s] * n for s in possible])
    assert found.pvalue > 0.001


def test_no_offer_outranks_what_earns_nothing() -> None:
    drawn = draw_slate(Policy("uplift"), GROUPED, VALUES, 4, Random(1))

    assert [o.offer_id for o in drawn.offers] == ["a", "c"]
    assert drawn.slate_propensity == 1.0
    losing = dict.fromkeys("abcd", -1.0)
    assert draw_slate(Policy("uplift"), GROUPED, losing, 4, Random(1)).offers == []
    # At random "no offer" is one of five, then of three or four.
    random = Policy("uplift", 1.0)
    assert whole_chance(random, GROUPED, VALUES, 2, []) == pytest.approx(1 / 5)
    assert whole_chance(random, GROUPED, VALUES, 2, ["a"]) == pytest.approx(1 / 5 / 3)
    assert whole_chance(random, GROUPED, VALUES, 2, ["c"]) == pytest.approx(1 / 5 / 4)


def test_a_rule_shows_its_order_then_the_rest_by_priority() -> None:
    eligible = [Eligible("a", 1), Eligible("b", 9), Eligible("c"), Eligible("d", 1)]
    scores = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}

    shown = draw_slate(Policy("rule", order=("c", "a")), eligible, scores, 4, Random(1)).offers
    assert [o.offer_id for o in shown] == ["c", "a", "b", "d"]
    by_priority = draw_slate(Policy("rule"), eligible, scores, 4, Random(1)).offers
    assert [o.offer_id for o in by_priority] == ["b", "a", "d", "c"]


def test_a_strange_offer_makes_a_slate_impossible_from_there_on() -> None:
    policy = Policy("response")
    assert slot_probabilities(policy, GROUPED, VALUES, 2, ["a", "z"]) == [1.0, 0.0, 0.0]
    # a and b are of one group; three do not fit on two slots.
    assert whole_chance(Policy("random"), GROUPED, VALUES, 2, ["a", "b"]) == 0.0
    assert whole_chance(Policy("random"), GROUPED, VALUES, 2, ["a", "c", "d"]) == 0.0


@pytest.mark.parametrize(
    "beliefs",
    [
        [Posterior("beta", 1, 1), Posterior("beta", 500, 50_000), Posterior("beta", 510, 50_000)],
        [Posterior("beta", 1, 1_000), Posterior("beta", 5, 3_000), Posterior("beta", 2, 900)],
        [Posterior("normal", 1, 0.5), Posterior("normal", 1.2, 0.1), Posterior("normal", 0, 2)],
    ],
)
def test_thompson_chances_are_those_of_sampling(beliefs: list[Posterior]) -> None:
    found = best_chances(dict(zip("abc", beliefs, strict=False)), "abc")

    draw, n = np.random.default_rng(1), 400_000
    sampled = np.stack(
        [getattr(draw, belief.family)(belief.first, belief.second, n) for belief in beliefs]
    )
    assert found == pytest.approx(
        np.bincount(sampled.argmax(axis=0), minlength=3) / n, abs=4 * np.sqrt(0.25 / n)
    )


def test_two_normal_beliefs_have_a_closed_form() -> None:
    beliefs = {"a": Posterior("normal", 1.0, 0.3), "b": Posterior("normal", 1.2, 0.4)}

    # P(a > b) = Phi((1.0 - 1.2) / .5).
    assert best_chances(beliefs, ["a", "b"])[0] == pytest.approx(stats.norm.cdf(-0.4), abs=1e-4)


def test_an_offer_without_a_posterior_is_named() -> None:
    with pytest.raises(RegularsError, match="no posterior for offer 'z'"):
        best_chances(BELIEFS, ["a", "z"])


def test_too_many_sets_of_offers_are_refused() -> None:
    beliefs = {f"o-{n}": Posterior("beta", 1.0, 2.0) for n in range(40)}
    eligible = [Eligible(offer_id) for offer_id in beliefs]
    with pytest.raises(RegularsError, match="evaluate its first position instead"):
        position_chances(
            Policy("thompson", posteriors=beliefs), eligible, dict.fromkeys(beliefs, 0.0), 4
        )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "response", "order": ["a"]}, "takes nothing that a rule has"),
        ({"kind": "thompson"}, "needs posteriors"),
        ({"kind": "mixture"}, "a weight for each part"),
        (
            {"kind": "mixture", "parts": [{"kind": "none"}], "weights": [0.5]},
            "sum to 1",
        ),
        (
            {
                "kind": "mixture",
                "parts": [{"kind": "response"}, {"kind": "popular"}],
                "weights": [0.5, 0.5],
            },
            "one kind of score",
        ),
        (
            {
                "kind": "thompson",
                "posteriors": {"a": {"family": "beta", "first": 0, "second": 1}},
            },
            "two counts above 0",
        ),
    ],
)
def test_a_policy_that_cannot_draw_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert(fields, Policy)


def test_records_written_before_still_read() -> None:
    old = b'{"kind":"response","exploration":0.1}'
    assert msgspec.json.decode(old, type=Policy) == Policy("response", 0.1)

"""Is a decision the same again when it is made from its record alone?"""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.decision import DecisionRecord, Policy, Posterior, decode_record, encode
from serving.decide import Knowledge
from serving.replay import replayed, slates_of
from serving.scoring import Scorer
from tests.serving.test_decide import SNAPSHOT as THEN
from tests.serving.test_decide import decided, knowing, offer, shown, trees

IDS = [f"o-{n}" for n in range(8)]
POLICIES = [
    Policy("response", 0.3),
    Policy("popular", 0.1),
    Policy("rule", 0.2, order=("o-3", "o-5")),
    Policy("random", 1.0),
    Policy("none"),
    Policy("thompson", 0.1, posteriors={i: Posterior("beta", 2.0, 5.0) for i in IDS}),
    Policy(
        "mixture",
        0.1,
        parts=(Policy("response"), Policy("random", 1.0)),
        weights=(0.6, 0.4),
    ),
]

drawn_offers = st.builds(
    lambda priorities, groups, placed, popularity: [
        offer(
            offer_id,
            priority=priorities[n],
            exclusive_group=groups[n],
            placements=frozenset(placed[n]),
            popularity=popularity[n],
        )
        for n, offer_id in enumerate(IDS)
    ],
    st.lists(st.integers(-1, 1), min_size=8, max_size=8),
    st.lists(st.sampled_from([None, None, "g", "h"]), min_size=8, max_size=8),
    st.lists(st.sets(st.sampled_from(["home", "checkout"])), min_size=8, max_size=8),
    # Ties, too: priorities decide them.
    st.lists(st.sampled_from([0.1, 0.2]), min_size=8, max_size=8),
)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("response@7", trees(), THEN)


def again(record: DecisionRecord) -> DecisionRecord:
    """The record as it comes back from disk."""
    return decode_record(encode(record))


@given(drawn_offers, st.sampled_from(POLICIES), st.booleans(), st.integers(0, 2**53 - 1))
def test_a_record_gives_the_slates_that_were_shown_whatever_the_catalogue_was(
    scorer: Scorer, offers: list[Any], policy: Policy, known: bool, seed: int
) -> None:
    placements = [{"name": "home", "limit": 2}, {"name": "checkout", "limit": 4}]
    knowledge = knowing(scorer if known else None, offers, policy=policy)
    record = again(decided(knowledge, seed=seed, placements=placements))

    answer = replayed(record, knowledge)

    assert answer.same
    assert answer.gone == []
    assert [[o.offer_id for o in p.offers] for p in answer.placements] == shown(record)
    assert [s.slate_propensity for s in slates_of(record)] == pytest.approx(
        [s.slate_propensity for s in record.slates], rel=1e-12
    )


def test_what_is_not_live_any_more_is_told_and_the_slate_is_the_same(scorer: Scorer) -> None:
    offers = [offer(i, priority=n % 3) for n, i in enumerate(IDS)]
    then = knowing(scorer, offers)
    record = again(decided(then))
    later = knowing(None, offers[:-2])
    now = replace(later, catalogue=replace(later.catalogue, version=15), snapshot="2026-11-21.0001")

    answer = replayed(record, now)

    assert answer.same
    assert answer.gone == [
        "catalogue 14, 15 is live",
        "offers o-6, o-7",
        "snapshot 2026-11-20.0001, 2026-11-21.0001 is live",
        "model response@7, none is live",
    ]
    assert replayed(record, None).gone == ["nothing is live: the catalogue is not loaded yet"]


@pytest.mark.parametrize("changed", ["slate", "chance"])
def test_a_record_that_contradicts_itself_is_not_called_the_same(
    scorer: Scorer, changed: str
) -> None:
    known: Knowledge = knowing(scorer)
    record = decided(known)
    [slate] = record.slates
    if changed == "slate":
        slate = msgspec.structs.replace(slate, offers=slate.offers[::-1])
    else:
        slate = msgspec.structs.replace(slate, slate_propensity=slate.slate_propensity / 2)
    assert replayed(record, known).same
    assert not replayed(msgspec.structs.replace(record, slates=[slate]), known).same

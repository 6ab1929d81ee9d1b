"""A packed decision is the record it was made of, and smaller; what was JSON is read as before."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.decision import (
    Assignment,
    BasketLine,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Posterior,
    Shown,
    Slate,
    Terms,
    Versions,
    encode,
)
from foundation.errors import UnreadableRecord
from foundation.packed_decision import packed, unpacked

NAMES = st.text(min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POLICIES = st.sampled_from(
    [
        Policy("popular"),
        Policy("response", 0.1),
        Policy("rule", order=("b", "a")),
        Policy("thompson", posteriors={"a": Posterior("beta", 1.0, 2.0)}),
        Policy("mixture", parts=(Policy("none"), Policy("random")), weights=(0.5, 0.5)),
    ]
)
RECORDS = st.builds(
    DecisionRecord,
    decision_id=NAMES,
    customer_id=NAMES,
    at=st.datetimes(timezones=st.just(UTC)),
    channel=NAMES,
    placements=st.lists(st.builds(Placement, NAMES, st.integers(0, 20)), max_size=2),
    context=st.builds(
        Context,
        st.none() | NAMES,
        st.none() | st.lists(st.builds(BasketLine, NAMES, NUMBERS, st.integers(-9, 9)), max_size=2),
    ),
    known=st.booleans(),
    vector=st.none() | st.lists(st.none() | NUMBERS, max_size=5),
    assignments=st.lists(st.builds(Assignment, NAMES, NAMES, NAMES), max_size=2),
    policy=POLICIES,
    scores=st.dictionaries(NAMES, NUMBERS, max_size=5),
    refusals=st.dictionaries(NAMES, NAMES, max_size=5),
    slates=st.lists(
        st.builds(
            Slate,
            NAMES,
            st.lists(st.builds(Shown, NAMES, st.integers(1, 9), NUMBERS, NUMBERS), max_size=2),
            NUMBERS,
            st.booleans(),
        ),
        max_size=2,
    ),
    seed=st.integers(0, 2**53 - 1),
    propensity_valid=st.booleans(),
    causes=st.lists(NAMES, max_size=2),
    versions=st.builds(Versions, st.integers(0, 9), st.none() | NAMES, st.none() | NAMES),
    affinity=st.none() | st.binary(max_size=20),
    levers=st.dictionaries(NAMES, NUMBERS, max_size=2),
    terms=st.dictionaries(
        NAMES, st.builds(Terms, st.integers(-9, 9), st.none() | NAMES, st.lists(NAMES, max_size=2))
    ),
)


@given(RECORDS)
def test_comes_back_as_it_was(record: DecisionRecord) -> None:
    kept = packed(record)
    assert (kept.decision_id, kept.customer_id, kept.at) == (
        record.decision_id,
        record.customer_id,
        record.at,
    )
    assert unpacked(record.decision_id, kept.packed) == record


@given(RECORDS)
def test_of_json_comes_back_as_json_says(record: DecisionRecord) -> None:
    assert unpacked(record.decision_id, encode(record)) == record


@given(st.lists(RECORDS, min_size=2, max_size=4))
def test_of_one_lineup_is_told_from_another_that_shares_its_refusals(
    records: list[DecisionRecord],
) -> None:
    # Which is what is kept of a lineup: another's offers and terms must not come with it.
    refusals = records[0].refusals
    for record in [msgspec.structs.replace(one, refusals=refusals) for one in records]:
        assert unpacked(record.decision_id, packed(record).packed) == record


def test_of_a_hundred_offers_takes_half_of_its_json() -> None:
    draw = np.random.default_rng(0)
    offers = [f"offer-{n}" for n in range(100)]
    record = DecisionRecord(
        decision_id="01a205a9-c7b0-7a23-8bc6-29ff5d186bd6",
        customer_id="c-1",
        at=datetime(2026, 5, 4, tzinfo=UTC) + timedelta(microseconds=1),
        channel="app",
        placements=[Placement("checkout", 3)],
        context=Context("s-1", [BasketLine("p-1", 1.0, 450)]),
        known=True,
        vector=draw.lognormal(size=40).tolist(),
        assignments=[],
        policy=Policy("response", 0.1),
        scores=dict(zip(offers[:75], draw.random(75).tolist(), strict=True)),
        refusals=dict.fromkeys(offers[75:], "not_eligible"),
        slates=[],
        seed=1,
        propensity_valid=True,
        causes=[],
        versions=Versions(1, "response@1", "2026-05-04.0001", "hash"),
        affinity=draw.random((75, 7)).astype("<f4").tobytes(),
        terms={offer: Terms(1) for offer in offers[:50]},
    )
    assert len(packed(record).packed) < len(encode(record)) / 2


@pytest.mark.parametrize("kept", [b"", b"{}", b"\x90", b"\xff\x00", b"\x93\x01\x02\x03"])
def test_that_is_damaged_says_so(kept: bytes) -> None:
    with pytest.raises(UnreadableRecord, match="'d-1' cannot be read"):
        unpacked("d-1", kept)


def test_that_was_cut_off_says_so() -> None:
    [kept] = [
        packed(
            DecisionRecord(
                "d-1", "c-1", datetime(2026, 1, 1, tzinfo=UTC), "app", [], Context(), False, None,
                [], Policy("popular"), {"o-1": 0.5}, {}, [], 1, False, [], Versions(1, None, None),
            )
        ).packed
    ]  # fmt: skip
    for end in range(len(kept)):
        with pytest.raises(UnreadableRecord):
            unpacked("d-1", kept[:end])

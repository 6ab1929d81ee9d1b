"""Reasons are read, not computed; without what they rest on there are none."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from foundation.profile import Explanation, Profile, SnapshotFacts
from serving.reasons import Reasons

NAMES = ("orders_30d", "recency_days", "tenure_days")
FACTS = SnapshotFacts(
    "v",
    datetime(2026, 11, 20, tzinfo=UTC),
    NAMES,
    "91bc",
    1,
    offers=("o-1", "o-2"),
    explanation=Explanation("response@7", ("lately", "bought", "gone"), ("coffee", "")),
)
NEAR = np.array([[0.5, 7, 1.5, 1, np.nan, 0.0, np.nan]] * 2, dtype=np.float32)
CODES = np.array([[2, 1, 3], [1, 0, 0]], dtype=np.uint8)
HER = Profile("ana", None, None, np.array([4.0, 2.5, 30.0]), {}, affinity=NEAR, reasons=CODES)


def test_codes_become_sentences_of_her_own_figures() -> None:
    # A topic that this software does not know any more is passed over.
    assert Reasons(FACTS).of(HER, ["o-1", "o-2"]) == {
        "o-1": ["bought 7 items of coffee in the last year", "shopped 2 days ago"],
        "o-2": ["shopped 2 days ago"],
    }


def test_an_offer_younger_than_the_snapshot_has_none() -> None:
    assert Reasons(FACTS).of(HER, ["o-9"]) == {}


def test_a_profile_without_reasons_has_none() -> None:
    unexplained = replace(HER, reasons=np.empty((0, 0), dtype=np.uint8))
    assert Reasons(FACTS).of(unexplained, ["o-1"]) == {}
    assert Reasons(replace(FACTS, explanation=None)).model is None

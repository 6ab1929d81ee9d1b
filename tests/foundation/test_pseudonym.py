"""Is her id found inside other ids, and nothing else taken for it?"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.outcome import LONGEST_ID, BoughtLine, Outcome
from foundation.pseudonym import Quoted, new_pseudonym, pseudonymous_outcome

NEW = "erased-0"
DRAWN = "019ad2e4-5c00-7a11-8c1d-3f2a91bc0d42"


@pytest.mark.parametrize(
    ("text", "owner", "told"),
    [
        ("c-1", "c-1", "erased-0"),
        ("c-1:visit", "c-1", "erased-0:visit"),
        ("visit_c-1.9", "c-1", "visit_erased-0.9"),
        ("c-1/c-1", "c-1", "erased-0/erased-0"),
        # A referral of somebody else's.
        ("c-2 brought c-1", "c-2", "c-2 brought erased-0"),
        ("c-12", "c-12", "c-12"),
        ("xc-1", "c-1", "xc-1"),
        ("éc-1", "c-1", "éc-1"),
        # Hers who is called so, and no sign that the other is meant.
        ("c-1-2:9", "c-1-2", "c-1-2:9"),
        ("c-1-2:9", "c-1", "erased-0-2:9"),
    ],
)
def test_an_id_is_quoted_as_a_word(text: str, owner: str, told: str) -> None:
    assert Quoted({"c-1": NEW}).replaced(text, owner) == told


def test_digits_alone_are_hers_only_in_her_own() -> None:
    quoted = Quoted({"7": NEW})
    assert quoted.replaced("2026-7-1", "8") == "2026-7-1"
    assert quoted.replaced("7-visit", "7") == "erased-0-visit"


def test_an_id_that_was_drawn_by_chance_quotes_nobody_but_its_own() -> None:
    assert Quoted({"7a11": NEW}).replaced(DRAWN, "7a11") == DRAWN
    assert Quoted({DRAWN: NEW}).replaced(f"{DRAWN}:1", DRAWN) == "erased-0:1"


def test_of_two_the_one_with_the_longer_id_is_meant() -> None:
    quoted = Quoted({"c-1": "erased-1", "c-1-2": "erased-2"})
    assert quoted.replaced("c-1-2:c-1", "c-1-2") == "erased-2:c-1"
    assert quoted.replaced("c-1-2:c-1", "c-9") == "erased-2:erased-1"


def test_what_grows_too_long_for_an_id_stays_one_and_itself() -> None:
    name = new_pseudonym()
    quoted = Quoted({"a": name})
    texts = [":".join(["a"] * 99 + [end]) for end in ("x", "y")]
    told = [quoted.replaced(text, "a") for text in texts]
    assert told == [quoted.replaced(text, "a") for text in texts]
    assert len(set(told)) == 2
    assert max(map(len, told)) <= LONGEST_ID
    # What quotes nobody stays, however long.
    assert quoted.replaced("b" * 999, "b") == "b" * 999


@given(
    her=st.text(st.sampled_from("ab1-_ü. "), min_size=1, max_size=4),
    parts=st.lists(st.text(st.sampled_from("ab1-_ü.: "), max_size=6), min_size=1, max_size=4),
)
def test_no_word_of_hers_is_left_and_different_ids_stay_different(
    her: str, parts: list[str]
) -> None:
    quoted = Quoted({her: "Z" * 39})
    told = [quoted.replaced(part, her) for part in parts]
    assert [quoted.replaced(one, her) for one in told] == told
    assert len(set(told)) == len(set(parts))


def test_an_outcome_keeps_its_receipt_together() -> None:
    line = BoughtLine("till-c-1-l2", "p-1", 1.0, 3.0, returns_line_id="till-c-1-l1")
    outcome = Outcome(
        "c-1:9", "c-1", datetime.now(UTC), "till", "return", order_id="till-c-1", lines=[line],
        decision_id=DRAWN, store_id="c-1",
    )  # fmt: skip
    told = pseudonymous_outcome(outcome, NEW)
    assert (told.event_id, told.order_id, told.decision_id) == (
        "erased-0:9",
        "till-erased-0",
        DRAWN,
    )
    assert (told.lines[0].line_id, told.lines[0].returns_line_id) == (
        "till-erased-0-l2", "till-erased-0-l1",
    )  # fmt: skip
    # A store is no customer.
    assert told.store_id == "c-1"
